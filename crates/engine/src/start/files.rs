//! Directories and files of one run: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.
use super::network::Network;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::spec::Files;
use knarr_network::hosts_file::{HostsFile, loopback_has_ipv6, parse_extra_host};
use knarr_network::resolv_conf::{self, Choice, Reach};
use knarr_oci::rootfs::RootfsMount;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// An empty run directory: what an earlier run left is of no more use.
pub(super) fn make_run_directory(engine: &Inner, container: &Container) -> Result<()> {
    let run = engine.paths.run(&container.id);
    match fs::remove_dir_all(&run) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::path("clear", &run)(e)),
        _ => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(Error::path("make", &run))?;
    match &container.rootfs {
        RootfsMount::Overlay { work, volatile: true, .. } => clear_work(work),
        _ => Ok(()),
    }
}

/// The kernel leaves a mark in the work directory of a mount that was not synced, and refuses the next one while it is there.
fn clear_work(work: &Path) -> Result<()> {
    let inner = work.join("work");
    match fs::remove_dir_all(&inner) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::path("clear", &inner)(e)),
        _ => Ok(()),
    }
}

/// Writes the files; a container that shares another's network shares its files too.
pub(super) fn write(engine: &Inner, container: &Container, network: &Network) -> Result<Files> {
    let own = engine.paths.container(&container.id);
    fs::create_dir_all(&own).map_err(Error::path("make", &own))?;
    let hostname = put(&own, "hostname", &format!("{}\n", shown_hostname(engine, container)))?;
    if let Some(other) = &network.shared_with {
        let other = engine.paths.container(other);
        return Ok(Files {
            hostname: Some(other.join("hostname")),
            hosts: Some(other.join("hosts")),
            resolv_conf: Some(other.join("resolv.conf")),
        });
    }
    let hosts = put(&own, "hosts", &hosts_text(engine, container, network)?)?;
    let resolv_conf = put(&own, "resolv.conf", &resolv_text(engine, container)?)?;
    Ok(Files { hostname: Some(hostname), hosts: Some(hosts), resolv_conf: Some(resolv_conf) })
}

fn shown_hostname(engine: &Inner, container: &Container) -> String {
    let host = &container.host_config;
    let shares = host.uts_mode == "host" || host.network_mode == "host";
    if shares && container.config.hostname.is_empty() {
        engine.host.hostname.clone()
    } else {
        container.hostname().to_owned()
    }
}

fn put(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::path("write", &path))?;
    Ok(path)
}

fn hosts_text(engine: &Inner, container: &Container, network: &Network) -> Result<String> {
    let gateway = engine.networks.host_gateway();
    let extra = container.host_config.extra_hosts.iter().map(|text| parse_extra_host(text, gateway));
    let extra = extra.collect::<Result<Vec<_>, _>>().map_err(|e| Error::Invalid(e.to_string()))?;
    if container.host_config.network_mode == "host" {
        // The host's own names are meant; without a file of the host there is the default.
        if let Ok(mut text) = fs::read_to_string("/etc/hosts") {
            for (name, address) in &extra {
                text.push_str(&format!("{address}\t{name}\n"));
            }
            return Ok(text);
        }
    }
    let file = HostsFile {
        ipv6: loopback_has_ipv6(),
        hostname: container.hostname(),
        domainname: &container.config.domainname,
        addresses: network.endpoints.iter().filter_map(|endpoint| endpoint.ipv4).collect(),
        extra,
        peers: engine.networks.peers(&container.id),
    };
    Ok(file.render())
}

fn resolv_text(engine: &Inner, container: &Container) -> Result<String> {
    let host_config = &container.host_config;
    let defaults = engine.networks.config();
    let servers = host_config.dns.iter().map(|text| text.parse());
    let mut choice = Choice {
        servers: servers
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Invalid("invalid DNS server address".into()))?,
        search: host_config.dns_search.to_vec(),
        options: host_config.dns_options.to_vec(),
    };
    if choice.servers.is_empty() {
        choice.servers.clone_from(&defaults.dns);
    }
    if choice.search.is_empty() {
        choice.search.clone_from(&defaults.dns_search);
    }
    if choice.options.is_empty() {
        choice.options.clone_from(&defaults.dns_options);
    }
    let mut text = fs::read_to_string(resolv_conf::HOST_PATH).unwrap_or_default();
    if resolv_conf::is_resolved_stub(&text)
        && let Ok(real) = fs::read_to_string(resolv_conf::RESOLVED_PATH)
    {
        text = real;
    }
    let reach = if host_config.network_mode == "host" { Reach::Host } else { Reach::Own };
    Ok(resolv_conf::render(&text, &choice, reach))
}
