//! Starting a container: a table of steps, each with its undo. After an exit or a failure the table is undone backwards.
//!
//! Invariant: each undo is safe to repeat and safe when its step never ran, since after a crash nobody knows.
mod clean;
mod config_file;
mod files;
mod image_mount;
mod joined;
mod launch;
mod links;
mod network;
mod rootfs;
mod user_namespace;
mod volumes;

pub(crate) use clean::{clean, freeze, kill_leftovers, remove};

pub(crate) use config_file::{gather_facts, resolve_user};
pub(crate) use files::{joined, left, resolver_choice};
pub(crate) use image_mount::{IMAGES, open as open_image_mount};
pub(crate) use joined::names as joined_names;
pub(crate) use launch::{Failed, Launched, launch};
pub(crate) use network::{
    check_requests, namespace as network_namespace, parse_port, ports as published_ports,
    request as endpoint_request,
};
pub(crate) use rootfs::view;
pub(crate) use user_namespace::live as live_id_maps;
pub(crate) use volumes::bind as check_bind;

/// Whether the ports asked for can be understood.
pub(crate) fn check_ports(container: &crate::record::Container) -> crate::error::Result<()> {
    network::ports(container).map(drop)
}
