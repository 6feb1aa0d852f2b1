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
    Endpoint, EndpointRequest, ExposedPort, Link, Namespace, PortBinding, PortRange, Protocol,
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
            let namespace = given.map_or_else(Namespace::create, Ok)?;
            Ok(Network { namespace: Some(namespace.into_fd()), ..Network::default() })
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
    for request in requests(container)? {
        match &network.namespace {
            None => {
                let connected = engine.networks.connect(&request).map_err(Error::Networking)?;
                network.namespace = Some(connected.netns);
                network.endpoints.push(connected.endpoint);
            }
            Some(namespace) => {
                let endpoint = engine.networks.connect_in(&request, namespace.as_fd());
                network.endpoints.push(endpoint.map_err(Error::Networking)?);
            }
        }
        knarr_base::failpoint!("start.connected", Error::Failpoint("start.connected"));
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
pub(super) fn event(action: &str, container: &Container, endpoint: &Endpoint) -> Event {
    Event::now("network", action, endpoint.network.as_str())
        .with("container", container.id.as_str())
        .with("name", endpoint.network_name.as_str())
        .with("type", "bridge")
}

/// One request per network; the one of the network mode comes first and has the ports.
pub(crate) fn requests(container: &Container) -> Result<Vec<EndpointRequest>> {
    let host = &container.host_config;
    let mode = match host.network_mode.as_str() {
        "" | "default" => knarr_network::network::DEFAULT_NETWORK,
        mode => mode,
    };
    let mut names = vec![mode];
    names.extend(
        container.networks.keys().map(String::as_str).filter(|name| *name != mode && *name != "default"),
    );
    let mut requests = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let settings = container
            .networks
            .get(name)
            .or_else(|| (index == 0).then(|| container.networks.get("default")).flatten());
        let mut request = request(container, name, settings)?;
        if index == 0 {
            request.ports = port_bindings(container)?;
            request.exposed = exposed_ports(container)?;
            request.publish_all = host.publish_all_ports;
        }
        request.default_route = index == 0;
        requests.push(request);
    }
    Ok(requests)
}

pub(crate) fn request(
    container: &Container,
    network: &str,
    settings: Option<&EndpointSettings>,
) -> Result<EndpointRequest> {
    let mut request = EndpointRequest::new(container.id.clone(), container.name.clone(), network);
    request.hostname = Some(container.hostname().to_owned());
    if let Some(settings) = settings {
        request.aliases = settings.aliases.to_vec();
        request.links = settings.links.iter().map(|text| link(text)).collect();
        if !settings.mac_address.is_empty() {
            let mac = settings.mac_address.parse();
            request.mac =
                Some(mac.map_err(|e: knarr_network::mac::InvalidMac| Error::Invalid(e.to_string()))?);
        }
        let address = settings.ipam_config.as_ref().map_or("", |c| c.ipv4_address.as_str());
        if !address.is_empty() {
            let ipv4 =
                address.parse().map_err(|_| Error::Invalid(format!("invalid IPv4 address: {address}")))?;
            request.ipv4 = Some(ipv4);
        }
    }
    Ok(request)
}

/// `name:alias`; without an alias the name itself.
fn link(text: &str) -> Link {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    Link { name: name.trim_start_matches('/').to_owned(), alias: alias.to_owned() }
}

/// `80/tcp`; without a protocol it is TCP.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol =
        Protocol::parse(protocol).ok_or_else(|| Error::Invalid(format!("invalid proto: {protocol}")))?;
    let number = number.parse::<u16>().ok().filter(|n| *n > 0);
    Ok((number.ok_or_else(|| Error::Invalid(format!("invalid containerPort: {text}")))?, protocol))
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
            });
        }
    }
    Ok(bindings)
}

fn host_ip(text: &str) -> Result<Option<std::net::IpAddr>> {
    match text {
        "" => Ok(None),
        "localhost" => Ok(Some(std::net::Ipv4Addr::LOCALHOST.into())),
        text => text.parse().map(Some).map_err(|_| Error::Invalid(format!("invalid IP address: {text}"))),
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
