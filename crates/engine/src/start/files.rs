//! Directories and files of one run: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.
use super::links::Links;
use super::network::Network;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::spec::Files;
use knarr_network::Endpoint;
use knarr_network::hosts_file::{HostsFile, loopback_has_ipv6, parse_extra_host};
use knarr_network::resolv_conf::{self, Choice, Rendered, Resolver};
use knarr_oci::rootfs::RootfsMount;
use std::fs;
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A copy of a `resolv.conf` that is written anew when the container joins a network with names, unless the user edited it.
const WRITTEN: &str = "resolv.conf.written";
/// Largest file that is edited.
const MAX_EDITED: u64 = 1 << 20;

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
pub(super) fn write(
    engine: &Inner,
    container: &Container,
    network: &Network,
    links: &Links,
) -> Result<Files> {
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
    let hosts = put(&own, "hosts", &hosts_text(engine, container, network, links)?)?;
    let resolver = match container.host_config.network_mode.as_str() {
        "host" => Resolver::Host,
        _ if network.names.is_some() => Resolver::Own,
        _ => Resolver::Direct { ipv6: network.endpoints.iter().any(|endpoint| endpoint.ipv6.is_some()) },
    };
    let text = resolv_text(engine, container, resolver)?.text;
    let resolv_conf = put(&own, "resolv.conf", &text)?;
    if matches!(resolver, Resolver::Direct { .. }) {
        put(&own, WRITTEN, &text)?;
    }
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

fn hosts_text(engine: &Inner, container: &Container, network: &Network, links: &Links) -> Result<String> {
    let host = &container.host_config;
    let gateways = engine.networks.host_gateways();
    let mut extra = Vec::new();
    for text in &host.extra_hosts {
        extra.extend(parse_extra_host(text, &gateways).map_err(|e| Error::Invalid(e.to_string()))?);
    }
    if host.network_mode == "host" && extra.is_empty() {
        // The host's own names are meant; without a file of the host there is the default.
        if let Ok(text) = fs::read_to_string("/etc/hosts") {
            return Ok(text);
        }
    }
    let addresses = network.endpoints.iter().flat_map(Endpoint::addresses).collect();
    Ok(HostsFile { addresses, extra, peers: links.peers.clone(), ..own_hosts(container) }.render())
}

/// What the file knows of the container itself.
fn own_hosts(container: &Container) -> HostsFile<'_> {
    let sysctls = &container.host_config.sysctls;
    let disabled = sysctls.get("net.ipv6.conf.all.disable_ipv6").is_some_and(|value| value == "1");
    HostsFile {
        ipv6: loopback_has_ipv6() && !disabled,
        hostname: container.hostname(),
        domainname: &container.config.domainname,
        ..HostsFile::default()
    }
}

/// Which servers, search domains and options the container has: its own, or else the engine's; and whether its `resolv.conf`
/// has an `ndots` that somebody chose.
pub(crate) fn resolver_choice(engine: &Inner, container: &Container) -> Result<(Choice, bool)> {
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
    let (path, text) = host_file(container);
    let ndots_set = resolv_conf::render(path, &text, &choice, Resolver::Own).ndots_set;
    Ok((choice, ndots_set))
}

fn resolv_text(engine: &Inner, container: &Container, resolver: Resolver) -> Result<Rendered> {
    let (choice, _) = resolver_choice(engine, container)?;
    let (path, text) = host_file(container);
    Ok(resolv_conf::render(path, &text, &choice, resolver))
}

/// The host's file that the container's is made of. Containers of the default network cannot ask systemd-resolved, which
/// listens on the host's loopback, but the servers behind it.
fn host_file(container: &Container) -> (&'static str, String) {
    let text = fs::read_to_string(resolv_conf::HOST_PATH).unwrap_or_default();
    let mode = container.host_config.network_mode.as_str();
    if matches!(mode, "" | "default" | "bridge" | "none")
        && resolv_conf::is_resolved_stub(&text)
        && let Ok(real) = fs::read_to_string(resolv_conf::RESOLVED_PATH)
    {
        return (resolv_conf::RESOLVED_PATH, real);
    }
    (resolv_conf::HOST_PATH, text)
}

/// The container joined a network while it runs: its address is in its hosts file, and where there are names now they are asked
/// for at our server, unless the user has edited `resolv.conf`. Files are changed in place: they are mounted.
pub(crate) fn joined(engine: &Inner, container: &Container, endpoint: &Endpoint, names: bool) -> Result<()> {
    let dir = engine.paths.container(&container.id);
    let file = own_hosts(container);
    change(&dir.join("hosts"), |text| {
        let lines = endpoint.addresses().filter(|ip| file.ipv6 || ip.is_ipv4()).map(|ip| file.own_line(ip));
        Some(text.to_owned() + &lines.collect::<String>())
    })?;
    if !names {
        return Ok(());
    }
    let Ok(written) = fs::read_to_string(dir.join(WRITTEN)) else { return Ok(()) };
    let text = resolv_text(engine, container, Resolver::Own)?.text;
    change(&dir.join("resolv.conf"), |now| (now == written).then_some(text))
}

/// It left a network: its address there is nobody's, or another's soon.
pub(crate) fn left(engine: &Inner, container: &Container, endpoint: &Endpoint) -> Result<()> {
    let addresses: Vec<IpAddr> = endpoint.addresses().collect();
    let path = engine.paths.container(&container.id).join("hosts");
    change(&path, |text| Some(own_hosts(container).without(text, &addresses)))
}

/// The container may write to it meanwhile, and make it as long as it likes: what is no text of a sane size is left alone.
fn change(path: &Path, edit: impl FnOnce(&str) -> Option<String>) -> Result<()> {
    let mut text = String::new();
    let mut file =
        fs::File::options().read(true).write(true).open(path).map_err(Error::path("open", path))?;
    let read = (&file).take(MAX_EDITED + 1).read_to_string(&mut text);
    if read.is_err() || text.len() as u64 > MAX_EDITED {
        return Ok(());
    }
    let Some(new) = edit(&text).filter(|new| *new != text) else { return Ok(()) };
    file.rewind().and_then(|()| file.write_all(new.as_bytes())).map_err(Error::path("write", path))?;
    file.set_len(new.len() as u64).map_err(Error::path("cut", path))
}
