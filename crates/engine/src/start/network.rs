//! The network of one run, finished before any process exists.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::name_server;
use crate::process::Process;
use crate::record::{Container, Status};
use knarr_base::ContainerId;
use knarr_dns::Sockets;
use knarr_docker_types::host_config::PortBinding as AskedBinding;
use knarr_docker_types::network::EndpointSettings;
use knarr_network::{
    Endpoint, EndpointRequest, ExposedPort, Link, Namespace, PortBinding, PortRange, Ports, Protocol, Reach,
    Scope,
};
use knarr_state::Event;
use rustix::fs::OFlags;
use std::os::fd::{AsFd, OwnedFd};

/// What a container got.
#[derive(Default)]
pub(super) struct Network {
    /// To join; `None`: the host's.
    pub namespace: Option<OwnedFd>,
    pub endpoints: Vec<Endpoint>,
    /// The container whose network it uses.
    pub shared_with: Option<ContainerId>,
    /// Of its name server, where it has one.
    pub names: Option<Sockets>,
}

/// Connects the container as its network mode says. `given` is a new namespace that belongs to the container's user namespace.
pub(super) fn connect(engine: &Inner, container: &Container, given: Option<OwnedFd>) -> Result<Network> {
    let given = given.map(Namespace::adopt).transpose()?;
    let mode = container.host_config.network_mode.as_str();
    match mode {
        "host" => Ok(Network::default()),
        "none" => {
            let given = given.map(Namespace::into_fd);
            let namespace = given.map_or_else(|| engine.networks.unconnected(), Ok)?;
            Ok(Network { namespace: Some(namespace), ..Network::default() })
        }
        _ => match mode.strip_prefix("container:") {
            Some(other) => share(engine, other),
            None => own(engine, container, given.map(Namespace::into_fd)),
        },
    }
}

fn share(engine: &Inner, other: &str) -> Result<Network> {
    let entry = engine.containers.resolve(other)?;
    let snapshot = entry.snapshot;
    if !snapshot.is_live() {
        return Err(Error::Conflict(format!(
            "cannot join network of a non running container: {}",
            snapshot.id()
        )));
    }
    let fd = namespace(&snapshot.status)?;
    Ok(Network { namespace: Some(fd), shared_with: Some(snapshot.id().clone()), ..Network::default() })
}

/// The network namespace of a container that runs.
pub(crate) fn namespace(status: &Status) -> Result<OwnedFd> {
    Process::init(status)?.open_below("ns/net", OFlags::RDONLY)
}

/// The first network brings the namespace, unless there is one; the others are connected in it.
fn own(engine: &Inner, container: &Container, given: Option<OwnedFd>) -> Result<Network> {
    let mut network = Network { namespace: given, ..Network::default() };
    for request in requests(engine, container)? {
        let failed = |error| failed(&request.network, error);
        match &network.namespace {
            None => {
                let connected = engine.networks.connect(&request).map_err(failed)?;
                network.namespace = Some(connected.netns);
                network.endpoints.push(connected.endpoint);
            }
            Some(namespace) => {
                let endpoint = engine.networks.connect_in(&request, namespace.as_fd());
                network.endpoints.push(endpoint.map_err(failed)?);
            }
        }
        knarr_base::failpoint!("start.connected", Error::Failpoint("start.connected"));
    }
    if network.namespace.is_none() {
        // It was taken off all networks.
        network.namespace = Some(engine.networks.unconnected()?);
    }
    if let Some(namespace) = &network.namespace
        && network.endpoints.iter().any(|endpoint| engine.networks.has_names(&endpoint.network))
    {
        let sockets = name_server::open(namespace.as_fd())?;
        name_server::serve(engine, container, &sockets)?;
        network.names = Some(sockets);
    }
    Ok(network)
}

/// A network's event that is about a container.
pub(super) fn event(action: &str, container: &Container, endpoint: &Endpoint, driver: &str) -> Event {
    Event::now("network", action, endpoint.network.as_str())
        .with("container", container.id.as_str())
        .with("name", endpoint.network_name.as_str())
        .with("type", driver)
}

/// What is wrong with the request is said with the network's name, as Docker does when a container starts.
fn failed(network: &str, error: knarr_network::Error) -> Error {
    match error {
        error @ knarr_network::Error::InvalidEndpoint(_) => {
            let network = network.to_owned();
            knarr_network::Error::InvalidConfig { network, source: Box::new(error) }.into()
        }
        error => Error::Networking(error),
    }
}

/// One request per network; the one of the network mode comes first, so it has the first interface. Which of them has the
/// default routes and the ports is the networks' choice.
pub(crate) fn requests(engine: &Inner, container: &Container) -> Result<Vec<EndpointRequest>> {
    let mut requests = unelected(container)?;
    let default = |r: &&mut EndpointRequest| r.network == knarr_network::network::DEFAULT_NETWORK;
    if let Some(request) = requests.iter_mut().find(default) {
        request.reaches = reaches(engine, container)?;
    }
    engine.networks.elect(&mut requests, &ports(container)?).map_err(Error::Networking)?;
    Ok(requests)
}

/// What its links open where containers of the default network do not talk: the ports that the others expose.
fn reaches(engine: &Inner, container: &Container) -> Result<Vec<Reach>> {
    let mut all = Vec::new();
    for link in container.host_config.links.iter().filter_map(|text| Link::parse(text)) {
        let Ok(found) = engine.containers.resolve(&link.name) else { continue };
        let other = &found.snapshot.container;
        let ports = exposed_ports(other)?.into_iter();
        all.extend(ports.map(|p| Reach { container: other.id.clone(), protocol: p.protocol, port: p.port }));
    }
    Ok(all)
}

fn unelected(container: &Container) -> Result<Vec<EndpointRequest>> {
    let mode = match container.host_config.network_mode.as_str() {
        "" | "default" => knarr_network::network::DEFAULT_NETWORK,
        mode => mode,
    };
    let mut names = if container.off_mode_network { Vec::new() } else { vec![mode] };
    names.extend(
        container.networks.keys().map(String::as_str).filter(|name| *name != mode && *name != "default"),
    );
    let with_settings = names.into_iter().enumerate().map(|(index, name)| {
        let default = || (index == 0 && name == mode).then(|| container.networks.get("default")).flatten();
        request(container, name, container.networks.get(name).or_else(default))
    });
    with_settings.collect()
}

/// Whether the networks would take the container as it asks for it. One that does not exist is the start's failure.
pub(crate) fn check_requests(engine: &Inner, container: &Container) -> Result<()> {
    let mode = container.host_config.network_mode.as_str();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Ok(());
    }
    for request in unelected(container)? {
        match engine.networks.check(&request) {
            Err(knarr_network::Error::NotFound(_)) | Ok(()) => {}
            Err(error) => return Err(failed(&request.network, error)),
        }
    }
    Ok(())
}

/// What the container wants published, wherever its gateway is.
pub(crate) fn ports(container: &Container) -> Result<Ports> {
    Ok(Ports {
        bindings: port_bindings(container)?,
        exposed: exposed_ports(container)?,
        publish_all: container.host_config.publish_all_ports,
        // No label: an image brings labels, and would say who reaches its ports.
        scope: match container.host_config.annotations.get(knarr_network::option::SOURCES) {
            Some(text) => Some(scope(text.split(','))?),
            None => None,
        },
    })
}

pub(crate) fn request(
    container: &Container,
    network: &str,
    settings: Option<&EndpointSettings>,
) -> Result<EndpointRequest> {
    let mut request = EndpointRequest::new(container.id.clone(), container.name.clone(), network);
    request.hostname = Some(container.hostname().to_owned());
    let Some(settings) = settings else { return Ok(request) };
    request.aliases = settings.aliases.to_vec();
    request.gw_priority = settings.gw_priority;
    request.options = settings.driver_opts.clone().into_inner();
    for text in &settings.links {
        request
            .links
            .push(Link::parse(text).ok_or_else(|| Error::Invalid(format!("bad format for links: {text}")))?);
    }
    if !settings.mac_address.is_empty() {
        let mac = settings.mac_address.parse();
        request.mac = Some(mac.map_err(|e: knarr_network::mac::InvalidMac| Error::Invalid(e.to_string()))?);
    }
    if let Some(addresses) = &settings.ipam_config {
        request.ipv4 = address("IPv4 address", &addresses.ipv4_address)?;
        request.ipv6 = address("IPv6 address", &addresses.ipv6_address)?;
        for text in &addresses.link_local_ips {
            request.link_local.extend(address::<std::net::IpAddr>("link-local IP address", text)?);
        }
    }
    Ok(request)
}

fn address<T: std::str::FromStr>(what: &str, text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Error::Invalid(format!("invalid endpoint settings:\ninvalid {what}: {text}")))
}

/// `80/tcp`; without a protocol it is TCP.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol =
        Protocol::parse(protocol).ok_or_else(|| Error::Invalid(format!("invalid proto: {protocol}")))?;
    let parsed = number.parse::<u16>().ok().filter(|n| *n > 0);
    Ok((parsed.ok_or_else(|| Error::Invalid(format!("invalid port specification: {number:?}")))?, protocol))
}

pub(crate) fn exposed_ports(container: &Container) -> Result<Vec<ExposedPort>> {
    let ports = container.config.exposed_ports.keys().map(|text| parse_port(text));
    ports.map(|port| port.map(|(port, protocol)| ExposedPort { protocol, port })).collect()
}

pub(crate) fn port_bindings(container: &Container) -> Result<Vec<PortBinding>> {
    let mut bindings = Vec::new();
    for (text, asked) in &container.host_config.port_bindings {
        let (container_port, protocol) = parse_port(text)?;
        let any = [AskedBinding::default()];
        let asked = if asked.is_empty() { &any[..] } else { asked.as_slice() };
        for binding in asked {
            bindings.push(PortBinding {
                protocol,
                container_port,
                host_ip: host_ip(&binding.host_ip)?,
                host_port: host_port(&binding.host_port)?,
                scope: match binding.sources.as_slice() {
                    [] => None,
                    words => Some(scope(words.iter().map(String::as_str))?),
                },
            });
        }
    }
    Ok(bindings)
}

fn scope<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Scope> {
    Scope::parse(words).map_err(Error::Invalid)
}

fn host_ip(text: &str) -> Result<Option<std::net::IpAddr>> {
    match text {
        "" => Ok(None),
        "localhost" => Ok(Some(std::net::Ipv4Addr::LOCALHOST.into())),
        text => {
            // Docker's clients write IPv6 addresses without brackets, others with them.
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
            bare.parse().map(Some).map_err(|_| Error::Invalid(format!("invalid IP address: {text}")))
        }
    }
}

fn host_port(text: &str) -> Result<Option<PortRange>> {
    let invalid = || Error::Invalid(format!("invalid port specification: {text:?}"));
    match text {
        "" | "0" => Ok(None),
        text => {
            let (begin, end) = text.split_once('-').unwrap_or((text, text));
            let (begin, end) =
                (begin.parse::<u16>().map_err(|_| invalid())?, end.parse::<u16>().map_err(|_| invalid())?);
            if begin == 0 || begin > end { Err(invalid()) } else { Ok(Some(PortRange { begin, end })) }
        }
    }
}
