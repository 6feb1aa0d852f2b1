//! What a container with `--link`s on the default bridge sees of the other ones: names and variables, as Docker writes them.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::registry::Snapshot;
use knarr_network::network::DEFAULT_NETWORK;
use knarr_network::{Endpoint, Link, Protocol};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Links {
    /// For the hosts file.
    pub peers: Vec<(IpAddr, Vec<String>)>,
    environment: Vec<String>,
}

/// Of a container that is gone nothing is left; one that does not run is an error.
pub(super) fn open(engine: &Inner, container: &Container) -> Result<Links> {
    let mut links = Links::default();
    for link in container.host_config.links.iter().filter_map(|text| Link::parse(text)) {
        let Ok(found) = engine.containers.resolve(&link.name) else { continue };
        let other = &found.snapshot;
        if !other.is_live() {
            let (other, own, alias) = (&other.container.name, &container.name, &link.alias);
            let text = format!("Cannot link to a non running container: /{other} AS /{own}/{alias}");
            return Err(Error::Conflict(text));
        }
        let endpoints = engine.networks.endpoints(other.id()).map_err(Error::Networking)?;
        let Some(endpoint) = endpoints.iter().find(|e| e.network_name == DEFAULT_NETWORK) else { continue };
        links.peers.extend(endpoint.addresses().map(|ip| (ip, names(other, &link.alias))));
        links.environment.extend(environment(container, other, &link.alias, endpoint)?);
    }
    Ok(links)
}

fn names(other: &Snapshot, alias: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in [alias, other.container.hostname(), &other.container.name] {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn environment(own: &Container, other: &Snapshot, alias: &str, endpoint: &Endpoint) -> Result<Vec<String>> {
    let Some(ip) = endpoint.addresses().next() else { return Ok(Vec::new()) };
    let prefix = alias.to_ascii_uppercase().replace('-', "_");
    let mut ports = super::network::exposed_ports(&other.container)?;
    ports.sort_by_key(|p| (p.port, p.protocol != Protocol::Tcp, p.protocol));
    let mut all = Vec::new();
    if let Some(first) = ports.first() {
        all.push(format!("{prefix}_PORT={}://{ip}:{}", first.protocol, first.port));
    }
    for p in &ports {
        let name = format!("{prefix}_PORT_{}_{}", p.port, p.protocol.as_str().to_ascii_uppercase());
        all.push(format!("{name}={}://{ip}:{}", p.protocol, p.port));
        all.push(format!("{name}_ADDR={ip}"));
        all.push(format!("{name}_PORT={}", p.port));
        all.push(format!("{name}_PROTO={}", p.protocol));
    }
    all.push(format!("{prefix}_NAME=/{}/{alias}", own.name));
    for variable in &other.container.config.env {
        let Some((name, value)) = variable.split_once('=') else { continue };
        // What every image has says nothing about the service.
        if name != "HOME" && name != "PATH" {
            all.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
    Ok(all)
}

impl Links {
    /// The container as its process sees it: its own variables win.
    pub fn seen_by(&self, container: &Container) -> Option<Container> {
        if self.environment.is_empty() {
            return None;
        }
        let mut seen = container.clone();
        let own = |variable: &str| {
            let name = variable.split('=').next();
            container.config.env.iter().any(|v| v.split('=').next() == name)
        };
        let mut all: Vec<String> = self.environment.iter().filter(|v| !own(v)).cloned().collect();
        all.extend(container.config.env.iter().cloned());
        seen.config.env = all.into();
        Some(seen)
    }
}
