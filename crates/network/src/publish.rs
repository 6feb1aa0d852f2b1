//! Published ports on the host: which port, and that nobody else has it.
//!
//! While a container runs, a socket holds each of its ports, so a taken port fails at once and no other process can
//! take it later. Packets never reach the socket: the firewall translates them first. And should somebody flush the
//! firewall, then connections are refused, not left hanging: the socket is bound, but does not listen.
use crate::endpoint::EndpointRequest;
use crate::error::PublishError;
use crate::port::{PortBinding, PortRange, Protocol, PublishedPort};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, ipproto, listen, shutdown,
    socket_with, sockopt,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

/// Ports of one container.
pub(crate) const MAX_PORTS: usize = 4096;
/// A datagram that slips through before the rule is there is dropped.
const MIN_RECEIVE_BYTES: usize = 1;

/// Sockets that hold ports.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    pub ports: Vec<PublishedPort>,
    sockets: Vec<OwnedFd>,
}

/// The bindings of a request, `-P` included, in a stable order without repetitions.
pub(crate) fn bindings(request: &EndpointRequest) -> Vec<PortBinding> {
    let mut all = request.ports.clone();
    if request.publish_all {
        let exposed: BTreeSet<_> = request.exposed.iter().collect();
        let bound = |p: &&&crate::port::ExposedPort| {
            request.ports.iter().any(|b| (b.protocol, b.container_port) == (p.protocol, p.port))
        };
        let missing = exposed.iter().filter(|p| !bound(p));
        all.extend(missing.map(|p| PortBinding {
            protocol: p.protocol,
            container_port: p.port,
            host_ip: None,
            host_port: None,
        }));
    }
    let mut seen = Vec::new();
    all.retain(|b| {
        let new = !seen.contains(b);
        if new {
            seen.push(b.clone());
        }
        new
    });
    // Those with a port of their own come first, lest a free choice takes it.
    all.sort_by_key(|b| (b.host_port.is_none(), b.container_port, b.protocol));
    all
}

impl Reservation {
    /// Binds everything or nothing. `default` is the host address of bindings without one; `taken` are the ports of
    /// this engine's other containers.
    pub fn make(
        bindings: &[PortBinding],
        default: Ipv4Addr,
        container: Ipv4Addr,
        taken: &[PublishedPort],
    ) -> Result<Self, PublishError> {
        if bindings.len() > MAX_PORTS {
            return Err(PublishError::TooMany { count: bindings.len(), max: MAX_PORTS });
        }
        let mut made = Self::default();
        for binding in bindings {
            let host = host_address(binding, default)?;
            let (port, socket) = reserve(binding, host, container, taken)?;
            made.sockets.extend(socket);
            made.ports.push(PublishedPort {
                protocol: binding.protocol,
                container_port: binding.container_port,
                host_ip: host.into(),
                host_port: port,
            });
        }
        Ok(made)
    }

    /// After a restart of the engine: the ports that a running container has.
    pub fn remake(ports: &[PublishedPort], container: Ipv4Addr) -> (Self, Vec<PublishError>) {
        let mut made = Self { ports: ports.to_vec(), sockets: Vec::new() };
        let mut failures = Vec::new();
        for p in ports {
            let IpAddr::V4(host) = p.host_ip else { continue };
            match hold(p.protocol, host, p.host_port) {
                Ok((_, socket)) => made.sockets.extend(socket),
                Err(e) => {
                    failures.push(bind_error(p.protocol, host, p.host_port, container, p.container_port, e))
                }
            }
        }
        (made, failures)
    }
}

fn host_address(binding: &PortBinding, default: Ipv4Addr) -> Result<Ipv4Addr, PublishError> {
    match binding.host_ip {
        None => Ok(default),
        Some(IpAddr::V4(ip)) => Ok(ip),
        Some(IpAddr::V6(ip)) => Err(PublishError::Unsupported(format!(
            "cannot publish on [{ip}]: IPv6 is not supported on this network"
        ))),
    }
}

fn reserve(
    binding: &PortBinding,
    host: Ipv4Addr,
    container: Ipv4Addr,
    taken: &[PublishedPort],
) -> Result<(u16, Option<OwnedFd>), PublishError> {
    let range = binding.host_port.filter(|r| *r != PortRange::one(0));
    let Some(PortRange { begin, end }) = range else {
        return hold(binding.protocol, host, 0)
            .map_err(|e| bind_error(binding.protocol, host, 0, container, binding.container_port, e));
    };
    for port in begin..=end {
        let ours = taken.iter().any(|t| {
            let same_address =
                t.host_ip == IpAddr::V4(host) || t.host_ip.is_unspecified() || host.is_unspecified();
            t.protocol == binding.protocol && t.host_port == port && same_address
        });
        if ours && begin == end {
            return Err(PublishError::Allocated { address: host.into(), port });
        }
        if ours {
            continue;
        }
        match hold(binding.protocol, host, port) {
            Ok(held) => return Ok(held),
            Err(Errno::ADDRINUSE) if begin != end => {}
            Err(e) => {
                return Err(bind_error(binding.protocol, host, port, container, binding.container_port, e));
            }
        }
    }
    Err(PublishError::RangeExhausted { begin, end })
}

/// Takes a port; 0: any free one of the kernel's ephemeral range.
fn hold(protocol: Protocol, host: Ipv4Addr, port: u16) -> Result<(u16, Option<OwnedFd>), Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(number)) {
        // A kernel without SCTP has nobody to compete with.
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp && port != 0 => {
            return Ok((port, None));
        }
        result => result?,
    };
    match protocol {
        Protocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, MIN_RECEIVE_BYTES)?,
        // Connections of a former server in TIME_WAIT are no obstacle.
        Protocol::Tcp | Protocol::Sctp => sockopt::set_socket_reuseaddr(&socket, true)?,
    }
    bind(&socket, &SocketAddrV4::new(host, port))?;
    let bound = match SocketAddr::try_from(getsockname(&socket)?) {
        Ok(address) => address.port(),
        Err(_) => port,
    };
    if protocol == Protocol::Udp {
        return Ok((bound, Some(socket)));
    }
    // Only listening finds out about others that are bound in the same way.
    listen(&socket, 1)?;
    if port == 0 || protocol == Protocol::Sctp {
        // A port that the kernel chose is kept only by a socket that goes on listening.
        return Ok((bound, Some(socket)));
    }
    shutdown(&socket, Shutdown::Read)?;
    // From now on nobody else may listen there.
    sockopt::set_socket_reuseaddr(&socket, false)?;
    Ok((bound, Some(socket)))
}

fn bind_error(
    protocol: Protocol,
    host: Ipv4Addr,
    port: u16,
    container: Ipv4Addr,
    container_port: u16,
    error: Errno,
) -> PublishError {
    let reason = match error {
        Errno::ADDRINUSE => "address already in use".to_owned(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        other => other.to_string(),
    };
    PublishError::Bind {
        host: format!("{host}:{port}"),
        container: format!("{container}:{container_port}"),
        protocol: protocol.as_str(),
        reason,
        errno: Some(error.raw_os_error()),
    }
}
