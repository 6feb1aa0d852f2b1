//! Addresses of interfaces (`RTM_*ADDR`).
use crate::Request;
use crate::attribute::{attributes, u32_ne};
use crate::request::flag;
use crate::socket::CHANGE;
use ipnet::IpNet;
use std::net::IpAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_NODAD: u8 = 0x02;
const IFA_F_PERMANENT: u8 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub net: IpNet,
    /// Not one that the kernel gave for a time.
    pub permanent: bool,
    /// Valid everywhere, not on a link or host only.
    pub global: bool,
}

fn ifaddrmsg(net: IpNet, flags: u8, link: u32) -> [u8; 8] {
    let [a, b, c, d] = link.to_ne_bytes();
    let family = if net.addr().is_ipv4() { AF_INET } else { AF_INET6 };
    [family, net.prefix_len(), flags, 0, a, b, c, d]
}

fn request(what: &str, kind: u16, flags: u16, fixed: [u8; 8], net: IpNet) -> Request {
    let request = Request::new(format!("{what} address {net}"), kind, flags, &fixed);
    match net.addr() {
        IpAddr::V4(ip) => request.bytes(IFA_LOCAL, &ip.octets()).bytes(IFA_ADDRESS, &ip.octets()),
        IpAddr::V6(ip) => request.bytes(IFA_LOCAL, &ip.octets()).bytes(IFA_ADDRESS, &ip.octets()),
    }
}

/// Gives an interface an address: an IPv4 one with its subnet's broadcast address, an IPv6 one that is usable at once.
pub fn add(link: u32, net: IpNet) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    match net {
        IpNet::V4(v4) => {
            let request = request("add", RTM_NEWADDR, flags, ifaddrmsg(net, 0, link), net);
            match v4.prefix_len() {
                31.. => request,
                _ => request.bytes(IFA_BROADCAST, &v4.broadcast().octets()),
            }
        }
        IpNet::V6(_) => request("add", RTM_NEWADDR, flags, ifaddrmsg(net, IFA_F_NODAD, link), net),
    }
}

pub fn delete(link: u32, net: IpNet) -> Request {
    request("delete", RTM_DELADDR, CHANGE, ifaddrmsg(net, 0, link), net)
}

pub(crate) fn list() -> Request {
    Request::new("list addresses", RTM_GETADDR, flag::DUMP, &[0; 8])
}

pub(crate) fn parse(kind: u16, payload: &[u8]) -> Option<Address> {
    let (fixed, rest) = payload.split_first_chunk::<8>()?;
    if kind != RTM_NEWADDR {
        return None;
    }
    let mut found = None;
    for (kind, value) in attributes(rest) {
        // The local address counts; the other one is the peer's on point-to-point links.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && found.is_none()) {
            found = ip(fixed[0], value);
        }
    }
    Some(Address {
        link: u32_ne(&fixed[4..8])?,
        net: IpNet::new(found?, fixed[1]).ok()?,
        permanent: fixed[2] & IFA_F_PERMANENT != 0,
        global: fixed[3] == RT_SCOPE_UNIVERSE,
    })
}

pub(crate) fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}
