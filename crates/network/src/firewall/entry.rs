//! Elements of the tables' sets and maps.
use crate::port::Protocol;
use ipnet::IpNet;
use knarr_netlink::nft::{Element, Family};
use std::fmt;
use std::net::IpAddr;

/// Limited ports of the host, each with a sender that it is for.
pub(crate) const ALLOWED: &str = "allowed";
pub(crate) const BRIDGES: &str = "bridges";
/// Other programs' bridges that stay out of reach.
pub(crate) const CLOSED: &str = "closed";
pub(crate) const DIRECT: &str = "direct";
pub(crate) const ICC: &str = "icc";
pub(crate) const INSIDE: &str = "inside";
pub(crate) const INTERNAL: &str = "internal";
/// Ports of containers that one other container reaches.
pub(crate) const LINKED: &str = "linked";
/// Ports of the host that are not for everybody.
pub(crate) const LIMITED: &str = "limited";
pub(crate) const MASQUERADED: &str = "masqueraded";
pub(crate) const OPENED: &str = "opened";
/// Opened ports, each with a sender that it is for.
pub(crate) const OPENED_FROM: &str = "opened_from";
pub(crate) const PUBLISHED: &str = "published";
pub(crate) const PUBLISHED_ANY: &str = "published_any";
pub(crate) const RANGES: &str = "ranges";
pub(crate) const RANGES_ANY: &str = "ranges_any";
pub(crate) const ROUTED: &str = "routed";
/// Bridges behind a network's own one.
pub(crate) const SEGMENTS: &str = "segments";
pub(crate) const SOURCES: &str = "sources";
pub(crate) const TRUSTED: &str = "trusted";
pub(crate) const UNPROTECTED: &str = "unprotected";

/// What is known of a bridge by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Bridge,
    Internal,
    /// Another program's, which was there when the engine turned forwarding on.
    Closed,
    /// A further bridge of a network, without addresses.
    Segment,
    Masqueraded,
    /// Containers are reached by their own addresses, at their opened ports, from everywhere.
    Routed,
    /// The same, but not from other bridges.
    Direct,
    /// The same at all ports.
    Unprotected,
}

impl Kind {
    fn set(self) -> &'static str {
        match self {
            Kind::Bridge => BRIDGES,
            Kind::Internal => INTERNAL,
            Kind::Closed => CLOSED,
            Kind::Segment => SEGMENTS,
            Kind::Masqueraded => MASQUERADED,
            Kind::Routed => ROUTED,
            Kind::Direct => DIRECT,
            Kind::Unprotected => UNPROTECTED,
        }
    }
}

/// Ports of a range on the host are the same ones in the container, so only the address is translated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Name(Kind, String),
    /// Containers on this bridge reach each other.
    Icc(String),
    /// An interface of the host, and a bridge to whose opened ports it leads.
    Trusted(String, String),
    /// A bridge and its subnet.
    Inside(String, IpNet),
    /// A bridge, and what its containers' packets leave under.
    Source(String, IpAddr),
    Linked {
        protocol: Protocol,
        to: IpAddr,
        port: u16,
        from: IpAddr,
    },
    Port {
        protocol: Protocol,
        host_ip: Option<IpAddr>,
        host_port: u16,
        ip: IpAddr,
        port: u16,
        owner: String,
    },
    Range {
        protocol: Protocol,
        host_ip: Option<IpAddr>,
        begin: u16,
        end: u16,
        ip: IpAddr,
        owner: String,
    },
    /// Ports of a container that are reached by its own address.
    Opened {
        protocol: Protocol,
        ip: IpAddr,
        begin: u16,
        end: u16,
        owner: String,
    },
    /// Ports of the host, at one of its addresses or all, that are not for everybody.
    Limited {
        protocol: Protocol,
        host: IpNet,
        begin: u16,
        end: u16,
        owner: String,
    },
    /// Who they are for.
    Allowed {
        protocol: Protocol,
        host: IpNet,
        begin: u16,
        end: u16,
        source: IpNet,
        owner: String,
    },
    /// The same as `Opened` for one network of senders.
    OpenedFrom {
        protocol: Protocol,
        ip: IpAddr,
        begin: u16,
        end: u16,
        source: IpNet,
        owner: String,
    },
}

pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Entry {
    /// Name of the set or map that it belongs to.
    pub fn set(&self) -> &'static str {
        match self {
            Entry::Name(kind, _) => kind.set(),
            Entry::Icc(_) => ICC,
            Entry::Trusted(..) => TRUSTED,
            Entry::Inside(..) => INSIDE,
            Entry::Source(..) => SOURCES,
            Entry::Linked { .. } => LINKED,
            Entry::Port { host_ip: Some(_), .. } => PUBLISHED,
            Entry::Port { host_ip: None, .. } => PUBLISHED_ANY,
            Entry::Range { host_ip: Some(_), .. } => RANGES,
            Entry::Range { host_ip: None, .. } => RANGES_ANY,
            Entry::Opened { .. } => OPENED,
            Entry::Limited { .. } => LIMITED,
            Entry::Allowed { .. } => ALLOWED,
            Entry::OpenedFrom { .. } => OPENED_FROM,
        }
    }

    /// Whether it leads to a container from the host's addresses.
    pub fn publishes(&self) -> bool {
        matches!(self, Entry::Port { .. } | Entry::Range { .. })
    }

    /// Whether it keeps somebody from a published port, or lets somebody through.
    pub fn limits(&self) -> bool {
        matches!(self, Entry::Limited { .. } | Entry::Allowed { .. })
    }

    pub fn element(&self) -> Element {
        match self {
            Entry::Name(_, name) => Element::interfaces(&[name]),
            Entry::Icc(name) => Element::interfaces(&[name, name]),
            Entry::Trusted(from, bridge) => Element::interfaces(&[from, bridge]),
            Entry::Inside(name, net) => {
                let key = |ip: IpAddr| {
                    let mut fields = Element::interfaces(&[name]).key;
                    fields.push(octets(ip));
                    fields
                };
                let (first, last) = (key(net.network()), key(net.broadcast()));
                Element { key: first, key_end: Some(last), data: Vec::new(), comment: String::new() }
            }
            Entry::Source(name, ip) => Element { data: vec![octets(*ip)], ..Element::interfaces(&[name]) },
            Entry::Linked { protocol, to, port, from } => {
                let mut key = key(*protocol, Some(*to), *port);
                key.push(octets(*from));
                Element { key, key_end: None, data: Vec::new(), comment: String::new() }
            }
            Entry::Port { protocol, host_ip, host_port, ip, port, owner } => Element {
                key: key(*protocol, *host_ip, *host_port),
                key_end: None,
                data: vec![octets(*ip), port.to_be_bytes().to_vec()],
                comment: owner.clone(),
            },
            Entry::Range { protocol, host_ip, begin, end, ip, owner } => Element {
                key: key(*protocol, *host_ip, *begin),
                key_end: Some(key(*protocol, *host_ip, *end)),
                data: vec![octets(*ip)],
                comment: owner.clone(),
            },
            Entry::Opened { protocol, ip, begin, end, owner } => Element {
                key: key(*protocol, Some(*ip), *begin),
                key_end: Some(key(*protocol, Some(*ip), *end)),
                data: Vec::new(),
                comment: owner.clone(),
            },
            Entry::Limited { protocol, host, begin, end, owner } => {
                span(*protocol, *host, (*begin, *end), None, owner)
            }
            Entry::Allowed { protocol, host, begin, end, source, owner } => {
                span(*protocol, *host, (*begin, *end), Some(*source), owner)
            }
            Entry::OpenedFrom { protocol, ip, begin, end, source, owner } => {
                span(*protocol, (*ip).into(), (*begin, *end), Some(*source), owner)
            }
        }
    }
}

/// An interval in every field.
fn span(
    protocol: Protocol,
    at: IpNet,
    (begin, end): (u16, u16),
    source: Option<IpNet>,
    owner: &str,
) -> Element {
    let with = |mut key: Vec<Vec<u8>>, sender: Option<IpAddr>| {
        key.extend(sender.map(octets));
        key
    };
    Element {
        key: with(key(protocol, Some(at.network()), begin), source.map(|s| s.network())),
        key_end: Some(with(key(protocol, Some(at.broadcast()), end), source.map(|s| s.broadcast()))),
        data: Vec::new(),
        comment: owner.to_owned(),
    }
}

fn key(protocol: Protocol, address: Option<IpAddr>, port: u16) -> Vec<Vec<u8>> {
    let mut key = vec![vec![protocol.number()]];
    key.extend(address.map(octets));
    key.push(port.to_be_bytes().to_vec());
    key
}

fn ports(begin: u16, end: u16) -> String {
    if begin == end { begin.to_string() } else { format!("{begin}-{end}") }
}

fn net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |ip: &Option<IpAddr>| ip.map(|ip| format!("{ip} . ")).unwrap_or_default();
        match self {
            Entry::Name(_, name) => write!(f, "\"{name}\""),
            Entry::Inside(name, net) => write!(f, "\"{name}\" . {net}"),
            Entry::Icc(name) => write!(f, "\"{name}\" . \"{name}\""),
            Entry::Trusted(from, bridge) => write!(f, "\"{from}\" . \"{bridge}\""),
            Entry::Source(name, ip) => write!(f, "\"{name}\" : {ip}"),
            Entry::Linked { protocol, to, port, from } => write!(f, "{protocol} . {to} . {port} . {from}"),
            Entry::Port { protocol, host_ip, host_port, ip, port, owner } => {
                write!(f, "{protocol} . {}{host_port} comment \"{owner}\" : {ip} . {port}", host(host_ip))
            }
            Entry::Range { protocol, host_ip, begin, end, ip, owner } => {
                write!(f, "{protocol} . {}{} comment \"{owner}\" : {ip}", host(host_ip), ports(*begin, *end))
            }
            Entry::Opened { protocol, ip, begin, end, owner } => {
                write!(f, "{protocol} . {ip} . {} comment \"{owner}\"", ports(*begin, *end))
            }
            Entry::Limited { protocol, host, begin, end, owner } => {
                write!(f, "{protocol} . {} . {} comment \"{owner}\"", net(host), ports(*begin, *end))
            }
            Entry::Allowed { protocol, host, begin, end, source, owner } => {
                let (host, ports, source) = (net(host), ports(*begin, *end), net(source));
                write!(f, "{protocol} . {host} . {ports} . {source} comment \"{owner}\"")
            }
            Entry::OpenedFrom { protocol, ip, begin, end, source, owner } => {
                let (ports, source) = (ports(*begin, *end), net(source));
                write!(f, "{protocol} . {ip} . {ports} . {source} comment \"{owner}\"")
            }
        }
    }
}

/// An entry of the table of one family.
pub(crate) type Placed = (Family, Entry);
