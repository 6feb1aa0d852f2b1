//! Elements of the table's sets and maps.
use crate::port::Protocol;
use ipnet::Ipv4Net;
use knarr_netlink::nft::Element;
use std::fmt;
use std::net::Ipv4Addr;

pub(crate) const BRIDGES: &str = "bridges";
pub(crate) const ICC: &str = "icc";
pub(crate) const INSIDE: &str = "inside";
pub(crate) const INTERNAL: &str = "internal";
pub(crate) const MASQUERADED: &str = "masqueraded";
pub(crate) const PUBLISHED: &str = "published";
pub(crate) const PUBLISHED_ANY: &str = "published_any";
pub(crate) const RANGES: &str = "ranges";
pub(crate) const RANGES_ANY: &str = "ranges_any";

/// Ports of a range on the host are the same ones in the container, so only the address is translated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Bridge(String),
    /// Containers on this bridge reach each other.
    Icc(String),
    /// A bridge and its subnet.
    Inside(String, Ipv4Net),
    Internal(String),
    Masqueraded(String),
    Port {
        protocol: Protocol,
        host_ip: Option<Ipv4Addr>,
        host_port: u16,
        ip: Ipv4Addr,
        port: u16,
        owner: String,
    },
    Range {
        protocol: Protocol,
        host_ip: Option<Ipv4Addr>,
        begin: u16,
        end: u16,
        ip: Ipv4Addr,
        owner: String,
    },
}

impl Entry {
    /// Name of the set or map that it belongs to.
    pub fn set(&self) -> &'static str {
        match self {
            Entry::Bridge(_) => BRIDGES,
            Entry::Icc(_) => ICC,
            Entry::Inside(..) => INSIDE,
            Entry::Internal(_) => INTERNAL,
            Entry::Masqueraded(_) => MASQUERADED,
            Entry::Port { host_ip: Some(_), .. } => PUBLISHED,
            Entry::Port { host_ip: None, .. } => PUBLISHED_ANY,
            Entry::Range { host_ip: Some(_), .. } => RANGES,
            Entry::Range { host_ip: None, .. } => RANGES_ANY,
        }
    }

    pub fn element(&self) -> Element {
        match self {
            Entry::Bridge(name) | Entry::Internal(name) | Entry::Masqueraded(name) => {
                Element::interfaces(&[name])
            }
            Entry::Icc(name) => Element::interfaces(&[name, name]),
            Entry::Inside(name, net) => {
                let key = |ip: Ipv4Addr| {
                    let mut fields = Element::interfaces(&[name]).key;
                    fields.push(ip.octets().to_vec());
                    fields
                };
                let (first, last) = (key(net.network()), key(net.broadcast()));
                Element { key: first, key_end: Some(last), data: Vec::new(), comment: String::new() }
            }
            Entry::Port { protocol, host_ip, host_port, ip, port, owner } => Element {
                key: key(*protocol, *host_ip, *host_port),
                key_end: None,
                data: vec![ip.octets().to_vec(), port.to_be_bytes().to_vec()],
                comment: owner.clone(),
            },
            Entry::Range { protocol, host_ip, begin, end, ip, owner } => Element {
                key: key(*protocol, *host_ip, *begin),
                key_end: Some(key(*protocol, *host_ip, *end)),
                data: vec![ip.octets().to_vec()],
                comment: owner.clone(),
            },
        }
    }
}

fn key(protocol: Protocol, host_ip: Option<Ipv4Addr>, port: u16) -> Vec<Vec<u8>> {
    let mut key = vec![vec![protocol.number()]];
    key.extend(host_ip.map(|ip| ip.octets().to_vec()));
    key.push(port.to_be_bytes().to_vec());
    key
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Bridge(name) | Entry::Internal(name) | Entry::Masqueraded(name) => write!(f, "\"{name}\""),
            Entry::Inside(name, net) => write!(f, "\"{name}\" . {net}"),
            Entry::Icc(name) => write!(f, "\"{name}\" . \"{name}\""),
            Entry::Port { protocol, host_ip, host_port, ip, port, owner } => {
                write!(f, "{protocol} . ")?;
                if let Some(host_ip) = host_ip {
                    write!(f, "{host_ip} . ")?;
                }
                write!(f, "{host_port} comment \"{owner}\" : {ip} . {port}")
            }
            Entry::Range { protocol, host_ip, begin, end, ip, owner } => {
                write!(f, "{protocol} . ")?;
                if let Some(host_ip) = host_ip {
                    write!(f, "{host_ip} . ")?;
                }
                write!(f, "{begin}-{end} comment \"{owner}\" : {ip}")
            }
        }
    }
}
