//! Namespaces, and what is set inside of them.
use super::{Draft, Input};
use crate::record::IdMaps;
use knarr_oci::runtime::{Namespace, NamespaceType};
use std::path::PathBuf;

pub(super) fn namespaces(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let list = &mut draft.linux.namespaces;
    list.push(Namespace::new(NamespaceType::Mount));
    // `container:` comes as a descriptor, too: the path in the specification stays empty.
    if host.network_mode != "host" {
        list.push(Namespace::new(NamespaceType::Network));
    }
    if host.uts_mode != "host" {
        list.push(Namespace::new(NamespaceType::Uts));
    }
    let of = |pid: i32, name: &str| PathBuf::from(format!("/proc/{pid}/ns/{name}"));
    match (host.pid_mode.as_str(), input.joined.pid) {
        ("host", _) => {}
        (_, Some(pid)) => list.push(Namespace::joined(NamespaceType::Pid, of(pid, "pid"))),
        _ => list.push(Namespace::new(NamespaceType::Pid)),
    }
    match (host.ipc_mode.as_str(), input.joined.ipc) {
        ("host", _) => {}
        (_, Some(pid)) => list.push(Namespace::joined(NamespaceType::Ipc, of(pid, "ipc"))),
        _ => list.push(Namespace::new(NamespaceType::Ipc)),
    }
    if let Some(maps) = input.id_maps {
        list.push(Namespace::new(NamespaceType::User));
        draft.linux.uid_mappings.clone_from(&maps.users);
        draft.linux.gid_mappings.clone_from(&maps.groups);
    }
    let list = &mut draft.linux.namespaces;
    if input.private_cgroupns {
        list.push(Namespace::new(NamespaceType::Cgroup));
    }
}

pub(super) fn hostname(input: &Input, draft: &mut Draft) {
    if input.container.host_config.uts_mode == "host" {
        return;
    }
    draft.spec.hostname = Some(super::process::hostname(input).to_owned());
    let domain = &input.container.config.domainname;
    draft.spec.domainname = (!domain.is_empty()).then(|| domain.clone());
}

pub(super) fn sysctls(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let sysctl = &mut draft.linux.sysctl;
    if !host.network_mode.starts_with("container:") && host.network_mode != "host" {
        if input.facts.port_start_sysctl {
            sysctl.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        }
        if input.facts.ping_range_sysctl {
            // All groups that there are.
            let last = input.id_maps.map_or(i32::MAX.unsigned_abs(), IdMaps::last_group);
            sysctl.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {last}"));
        }
    }
    sysctl.extend(host.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
}
