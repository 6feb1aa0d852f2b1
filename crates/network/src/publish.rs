//! Published ports on the host: which port, and that nobody else has it.
//!
//! While a container runs, a socket holds each of its ports, so a taken port fails at once and no other process can
//! take it later. Packets never reach the socket: the firewall translates them first. And should somebody flush the
//! firewall, then connections are refused, not left hanging: the socket is bound, but does not listen.
//! Where the kernel cannot lead the way (see `relay`) the socket does listen.
use crate::endpoint::Ports;
use crate::error::PublishError;
use crate::port::{ExposedPort, PortBinding, PortRange, Protocol, PublishedPort};
use crate::relay::{Listening, Relay, Relays};
use crate::scope::Scope;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, ipproto, listen, shutdown,
    socket_with, sockopt,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Ports of one container.
pub(crate) const MAX_PORTS: usize = 16_384;
/// A datagram that slips through before the rule is there is dropped.
const MIN_RECEIVE_BYTES: usize = 1;
/// Ports of one container that are relayed: each is a socket that listens. Where there are more, none is.
const MAX_RELAYED: usize = 1024;
/// Connections that wait to be accepted where a port is relayed.
const BACKLOG: i32 = 128;
/// A port that the kernel chose for one family may be taken in the other.
const MAX_CHOICES: u32 = 16;

/// Where one family's ports of a container are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// At this address of the container, translated.
    Here(IpAddr),
    /// The same without translation: only the firewall opens the container's own port.
    Routed(IpAddr),
    /// By another endpoint of the container.
    Elsewhere,
    /// The container has no address of the family.
    Nowhere,
}

/// Where an endpoint publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub v4: Side,
    pub v6: Side,
    /// Host address of bindings that name none; 0.0.0.0 means both families.
    pub default: IpAddr,
    /// Who reaches bindings that do not say.
    pub scope: Scope,
    /// Whether ports are relayed where the kernel cannot lead the way.
    pub relays: bool,
}

/// How a port of the host leads to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Routed,
    /// By the firewall, by a relay, or by both, depending on the sender.
    Held {
        container: IpAddr,
        relayed: bool,
    },
}

/// Sockets that hold ports.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    pub ports: Vec<PublishedPort>,
    sockets: Vec<OwnedFd>,
    listening: Vec<Listening>,
    relays: Vec<Relay>,
}

/// The bindings asked for, `-P` included, in a stable order without repetitions.
pub(crate) fn bindings(ports: &Ports) -> Vec<PortBinding> {
    let mut all = ports.bindings.clone();
    if ports.publish_all {
        let exposed: BTreeSet<&ExposedPort> = ports.exposed.iter().collect();
        let bound = |p: &&&ExposedPort| {
            ports.bindings.iter().any(|b| (b.protocol, b.container_port) == (p.protocol, p.port))
        };
        let missing = exposed.iter().filter(|p| !bound(p));
        all.extend(missing.map(|p| PortBinding {
            protocol: p.protocol,
            container_port: p.port,
            host_ip: None,
            host_port: None,
            scope: None,
        }));
    }
    let mut seen = HashSet::new();
    all.retain(|b| seen.insert(b.clone()));
    // Those with a port of their own come first, lest a free choice takes it.
    all.sort_by_key(|b| (b.host_port.is_none(), b.container_port, b.protocol));
    all
}

impl Target {
    fn for_ports(&self, count: usize) -> Self {
        Self { relays: self.relays && count <= MAX_RELAYED, ..self.clone() }
    }

    fn side(&self, ipv4: bool) -> Side {
        if ipv4 { self.v4 } else { self.v6 }
    }

    /// Host addresses of a binding, with the side that each belongs to.
    fn hosts(&self, binding: &PortBinding) -> Result<Vec<(IpAddr, Way)>, PublishError> {
        let asked = match binding.host_ip {
            None if self.default == IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                vec![self.default, Ipv6Addr::UNSPECIFIED.into()]
            }
            None => vec![self.default],
            Some(ip) => vec![ip],
        };
        let optional = asked.len() > 1;
        let mut hosts = Vec::new();
        for ip in asked {
            match self.side(ip.is_ipv4()) {
                Side::Here(container) => {
                    let relayed =
                        self.relays && is_relayed(ip, container) && binding.protocol != Protocol::Sctp;
                    hosts.push((ip, Way::Held { container, relayed }));
                }
                Side::Routed(_) => hosts.push((ip, Way::Routed)),
                Side::Elsewhere => {}
                Side::Nowhere
                    if self.relays
                        && ip.is_ipv6()
                        && binding.protocol != Protocol::Sctp
                        && (!optional || has_ipv6())
                        && let Side::Here(container) = self.v4 =>
                {
                    hosts.push((ip, Way::Held { container, relayed: true }));
                }
                Side::Nowhere if optional => {}
                Side::Nowhere => {
                    let (family, shown) = match ip {
                        IpAddr::V4(ip) => ("IPv4", ip.to_string()),
                        IpAddr::V6(ip) => ("IPv6", format!("[{ip}]")),
                    };
                    return Err(PublishError::Unsupported(format!(
                        "cannot publish on {shown}: the container has no {family} address on a network with a gateway"
                    )));
                }
            }
        }
        Ok(hosts)
    }
}

/// Whether a host's address is one whose packets the kernel does not lead to the container, or not all of them.
fn is_relayed(host: IpAddr, container: IpAddr) -> bool {
    host.is_ipv6() && (container.is_ipv4() || host.is_loopback() || host.is_unspecified())
}

/// Whether the host has any; it may be turned off.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Whether a port is one of this engine's other containers.
type IsTaken<'a> = dyn Fn(Protocol, IpAddr, u16) -> bool + 'a;

/// Where a port is bound, which container it leads to, and whether that is by a relay.
type Place = (IpAddr, IpAddr, bool);

impl Reservation {
    /// Binds everything or nothing.
    pub fn make(
        bindings: &[PortBinding],
        target: &Target,
        taken: &IsTaken<'_>,
    ) -> Result<Self, PublishError> {
        if bindings.len() > MAX_PORTS {
            return Err(PublishError::TooMany { count: bindings.len(), max: MAX_PORTS });
        }
        let mut made = Self::default();
        let target = target.for_ports(bindings.len());
        for binding in bindings {
            let hosts = target.hosts(binding)?;
            let published = |host_ip, host_port| PublishedPort {
                protocol: binding.protocol,
                container_port: binding.container_port,
                host_ip,
                host_port,
                scope: binding.scope.as_ref().unwrap_or(&target.scope).clone(),
            };
            let held: Vec<Place> = hosts
                .iter()
                .filter_map(|(host, way)| match way {
                    Way::Held { container, relayed } => Some((*host, *container, *relayed)),
                    Way::Routed => None,
                })
                .collect();
            let routed = hosts.iter().filter(|(_, way)| *way == Way::Routed);
            made.ports.extend(routed.map(|(host, _)| published(*host, 0)));
            if held.is_empty() {
                continue;
            }
            let (port, sockets) = reserve(binding, &held, taken)?;
            for ((host, container, relayed), socket) in held.iter().zip(sockets) {
                let published = published(*host, port);
                made.put(socket, relayed.then_some(*container), &published);
                made.ports.push(published);
            }
        }
        Ok(made)
    }

    fn put(&mut self, socket: Option<OwnedFd>, relayed_to: Option<IpAddr>, port: &PublishedPort) {
        match (socket, relayed_to) {
            (Some(socket), Some(container)) => self.listening.push(Listening {
                socket,
                protocol: port.protocol,
                to: SocketAddr::new(container, port.container_port),
                scope: port.scope.clone(),
            }),
            (socket, _) => self.sockets.extend(socket),
        }
    }

    /// When the container is there: sockets that listen begin to be served.
    pub fn serve(&mut self, relays: &Relays) -> std::io::Result<()> {
        self.relays.extend(relays.open(std::mem::take(&mut self.listening))?);
        Ok(())
    }

    /// Gives up some of the ports, and leaves the others as they are; but what is relayed is relayed anew if one of its kind goes,
    /// after `serve`. `address` is the container's of a family.
    pub fn release(
        &mut self,
        gone: &[PublishedPort],
        address: impl Fn(bool) -> Option<IpAddr>,
    ) -> Vec<PublishError> {
        self.ports.retain(|port| !gone.contains(port));
        self.sockets.retain(|socket| {
            let at = getsockname(socket).ok().and_then(|at| SocketAddr::try_from(at).ok());
            let protocol = sockopt::socket_protocol(socket).ok().flatten();
            let holds = |port: &PublishedPort| {
                let own = match port.protocol {
                    Protocol::Tcp => ipproto::TCP,
                    Protocol::Udp => ipproto::UDP,
                    Protocol::Sctp => ipproto::SCTP,
                };
                at == Some(SocketAddr::new(port.host_ip, port.host_port)) && protocol == Some(own)
            };
            !gone.iter().any(holds)
        });
        let relayed_to = |p: &PublishedPort| {
            let container = address(p.host_ip.is_ipv4()).or_else(|| address(true)).unwrap_or(p.host_ip);
            (is_relayed(p.host_ip, container) && p.protocol != Protocol::Sctp).then_some(container)
        };
        if self.relays.is_empty() || !gone.iter().any(|port| relayed_to(port).is_some()) {
            return Vec::new();
        }
        self.relays.clear();
        let mut failures = Vec::new();
        for p in self.ports.clone().iter().filter(|p| p.host_port != 0) {
            let Some(container) = relayed_to(p) else { continue };
            match hold(p.protocol, p.host_ip, p.host_port, true) {
                Ok((_, socket)) => self.put(socket, Some(container), p),
                Err(e) => {
                    let (host, inside) = (p.host_port, p.container_port);
                    failures.push(bind_error(p.protocol, p.host_ip, host, container, inside, e));
                }
            }
        }
        failures
    }

    /// Holds those of another one, too.
    pub fn join(&mut self, other: Reservation) {
        self.ports.extend(other.ports);
        self.sockets.extend(other.sockets);
        self.listening.extend(other.listening);
        self.relays.extend(other.relays);
    }

    /// After a restart of the engine: the ports that a running container has. `address` is the container's of a family.
    pub fn remake(
        ports: &[PublishedPort],
        relays: bool,
        address: impl Fn(bool) -> Option<IpAddr>,
    ) -> (Self, Vec<PublishError>) {
        let mut made = Self { ports: ports.to_vec(), ..Self::default() };
        let relays = relays && ports.len() <= 2 * MAX_RELAYED;
        let mut failures = Vec::new();
        for p in ports.iter().filter(|p| p.host_port != 0) {
            let container = address(p.host_ip.is_ipv4()).or_else(|| address(true)).unwrap_or(p.host_ip);
            let relayed = relays && is_relayed(p.host_ip, container) && p.protocol != Protocol::Sctp;
            match hold(p.protocol, p.host_ip, p.host_port, relayed) {
                Ok((_, socket)) => made.put(socket, relayed.then_some(container), p),
                Err(e) => {
                    failures.push(bind_error(
                        p.protocol,
                        p.host_ip,
                        p.host_port,
                        container,
                        p.container_port,
                        e,
                    ));
                }
            }
        }
        (made, failures)
    }
}

/// The port, and a socket for each of the addresses.
type Held = (u16, Vec<Option<OwnedFd>>);

/// One port on all the host addresses.
fn reserve(binding: &PortBinding, hosts: &[Place], taken: &IsTaken<'_>) -> Result<Held, PublishError> {
    let failed = |(host, container, _): Place, port, e| {
        bind_error(binding.protocol, host, port, container, binding.container_port, e)
    };
    let range = binding.host_port.filter(|r| *r != PortRange::one(0));
    let Some(PortRange { begin, end }) = range else {
        let mut outcome = Err(failed(hosts[0], 0, Errno::ADDRINUSE));
        for _ in 0..MAX_CHOICES {
            match hold_all(binding.protocol, hosts, 0) {
                Ok(held) => return Ok(held),
                Err((at, port, e)) => outcome = Err(failed(at, port, e)),
            }
        }
        return outcome;
    };
    for port in begin..=end {
        let ours = hosts.iter().find(|(host, ..)| taken(binding.protocol, *host, port));
        match ours {
            Some((address, ..)) if begin == end => {
                return Err(PublishError::Allocated { address: *address, port });
            }
            Some(_) => continue,
            None => {}
        }
        match hold_all(binding.protocol, hosts, port) {
            Ok(held) => return Ok(held),
            Err((_, _, Errno::ADDRINUSE)) if begin != end => {}
            Err((at, port, e)) => return Err(failed(at, port, e)),
        }
    }
    Err(PublishError::RangeExhausted { begin, end })
}

/// Ports of this engine's containers, by number: what a start looks up does not depend on how many there are.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    hosts: HashMap<(Protocol, u16), Vec<IpAddr>>,
}

impl Taken {
    pub fn add(&mut self, ports: &[PublishedPort]) {
        for p in ports.iter().filter(|p| p.host_port != 0) {
            self.hosts.entry((p.protocol, p.host_port)).or_default().push(p.host_ip);
        }
    }

    pub fn remove(&mut self, ports: &[PublishedPort]) {
        for p in ports {
            let Some(hosts) = self.hosts.get_mut(&(p.protocol, p.host_port)) else { continue };
            if let Some(index) = hosts.iter().position(|host| *host == p.host_ip) {
                hosts.swap_remove(index);
            }
            if hosts.is_empty() {
                self.hosts.remove(&(p.protocol, p.host_port));
            }
        }
    }

    pub fn any(&self, protocol: Protocol, host: IpAddr, port: u16) -> bool {
        let hosts = self.hosts.get(&(protocol, port));
        hosts.is_some_and(|hosts| hosts.iter().any(|taken| conflict(*taken, host)))
    }
}

fn conflict(taken: IpAddr, host: IpAddr) -> bool {
    let same_address = taken == host || taken.is_unspecified() || host.is_unspecified();
    taken.is_ipv4() == host.is_ipv4() && same_address
}

fn hold_all(protocol: Protocol, hosts: &[Place], port: u16) -> Result<Held, (Place, u16, Errno)> {
    let (mut port, mut sockets) = (port, Vec::new());
    for at in hosts {
        let (bound, socket) = hold(protocol, at.0, port, at.2).map_err(|e| (*at, port, e))?;
        sockets.push(socket);
        port = bound;
    }
    Ok((port, sockets))
}

/// Takes a port; 0: any free one of the kernel's ephemeral range.
fn hold(protocol: Protocol, host: IpAddr, port: u16, relayed: bool) -> Result<(u16, Option<OwnedFd>), Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, relayed);
    let socket = match socket_with(family, kind, flags, Some(number)) {
        // A kernel without SCTP has nobody to compete with.
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp && port != 0 => {
            return Ok((port, None));
        }
        result => result?,
    };
    if host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    match protocol {
        Protocol::Udp if relayed => {}
        Protocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, MIN_RECEIVE_BYTES)?,
        // Connections of a former server in TIME_WAIT are no obstacle.
        Protocol::Tcp | Protocol::Sctp => sockopt::set_socket_reuseaddr(&socket, true)?,
    }
    bind(&socket, &SocketAddr::new(host, port))?;
    let bound = match port {
        0 => SocketAddr::try_from(getsockname(&socket)?)?.port(),
        asked => asked,
    };
    if protocol == Protocol::Udp {
        return Ok((bound, Some(socket)));
    }
    // Only listening finds out about others that are bound in the same way.
    listen(&socket, if relayed { BACKLOG } else { 1 })?;
    if relayed || port == 0 || protocol == Protocol::Sctp {
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
    host: IpAddr,
    port: u16,
    container: IpAddr,
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
        host: SocketAddr::new(host, port).to_string(),
        container: SocketAddr::new(container, container_port).to_string(),
        protocol: protocol.as_str(),
        reason,
        errno: Some(error.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(target: &Target, host_ip: Option<&str>) -> String {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        let binding = PortBinding {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip,
            host_port: None,
            scope: None,
        };
        match target.hosts(&binding) {
            Ok(all) => all.iter().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>().join(" "),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_relayed() {
        let relayed =
            |host: &str, container: &str| is_relayed(host.parse().unwrap(), container.parse().unwrap());
        assert!(relayed("::", "10.0.0.2") && relayed("2001:db8::1", "10.0.0.2"));
        assert!(relayed("::1", "fd00::2") && relayed("::", "fd00::2"));
        assert!(!relayed("2001:db8::1", "fd00::2"));
        assert!(!relayed("0.0.0.0", "10.0.0.2") && !relayed("127.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn taken_ports_are_counted() {
        let port = |host: &str, host_port| PublishedPort {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: host.parse().unwrap(),
            host_port,
            scope: Scope::Any,
        };
        let mut taken = Taken::default();
        let any = |taken: &Taken, host: &str, port| taken.any(Protocol::Tcp, host.parse().unwrap(), port);
        taken.add(&[port("0.0.0.0", 80), port("127.0.0.1", 81), port("::", 0)]);
        assert!(any(&taken, "10.0.0.1", 80) && any(&taken, "0.0.0.0", 81) && any(&taken, "127.0.0.1", 81));
        assert!(!any(&taken, "::", 80) && !any(&taken, "10.0.0.1", 81) && !any(&taken, "0.0.0.0", 82));
        assert!(!taken.any(Protocol::Udp, "0.0.0.0".parse().unwrap(), 80));
        taken.remove(&[port("0.0.0.0", 80)]);
        assert!(!any(&taken, "10.0.0.1", 80));
    }

    #[test]
    fn which_host_addresses_a_binding_means() {
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let (four, six) = ("10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap());
        let dual = Target {
            v4: Side::Here(four),
            v6: Side::Here(six),
            default: any,
            scope: Scope::Any,
            relays: false,
        };
        assert_eq!(hosts(&dual, None), "0.0.0.0 ::");
        assert_eq!(hosts(&dual, Some("0.0.0.0")), "0.0.0.0");
        assert_eq!(hosts(&dual, Some("::1")), "::1");
        assert_eq!(
            hosts(&Target { default: "127.0.0.1".parse().unwrap(), ..dual.clone() }, None),
            "127.0.0.1"
        );
        let only4 = Target { v6: Side::Nowhere, ..dual.clone() };
        assert_eq!(hosts(&only4, None), "0.0.0.0");
        assert_eq!(
            hosts(&only4, Some("::1")),
            "cannot publish on [::1]: the container has no IPv6 address on a network with a gateway"
        );
        let only6 = Target { v4: Side::Nowhere, ..dual.clone() };
        assert_eq!(hosts(&only6, None), "::");
        let relaying = Target { relays: true, ..only4 };
        assert_eq!(hosts(&relaying, Some("::")), "::", "as Docker does, by its proxy");
        assert_eq!(hosts(&relaying, Some("0.0.0.0")), "0.0.0.0");
        let apart = Target { v4: Side::Elsewhere, ..dual };
        assert_eq!(hosts(&apart, Some("1.2.3.4")), "");
    }
}
