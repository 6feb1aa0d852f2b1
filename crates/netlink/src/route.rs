//! Routes of the main table (`RTM_*ROUTE`).
use crate::Request;
use crate::address::ip;
use crate::attribute::{attributes, u32_ne};
use crate::request::flag;
use crate::socket::CHANGE;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// 0.0.0.0/0 and ::/0: the default routes.
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    pub link: Option<u32>,
    pub priority: u32,
}

fn rtmsg(family: u8, prefix: u8, scope: u8) -> [u8; 12] {
    [family, prefix, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, scope, TYPE_UNICAST, 0, 0, 0, 0]
}

fn address(request: Request, kind: u16, ip: IpAddr) -> Request {
    match ip {
        IpAddr::V4(ip) => request.bytes(kind, &ip.octets()),
        IpAddr::V6(ip) => request.bytes(kind, &ip.octets()),
    }
}

fn route(
    what: &str,
    kind: u16,
    flags: u16,
    destination: IpNet,
    gateway: Option<IpAddr>,
    link: u32,
) -> Request {
    let v4 = destination.addr().is_ipv4();
    let scope = if gateway.is_none() && v4 { SCOPE_LINK } else { 0 };
    let fixed = rtmsg(if v4 { AF_INET } else { AF_INET6 }, destination.prefix_len(), scope);
    let via = gateway.map(|g| format!(" via {g}")).unwrap_or_default();
    let mut request =
        Request::new(format!("{what} route {destination}{via}"), kind, flags, &fixed).u32(RTA_OIF, link);
    if destination.prefix_len() > 0 {
        request = address(request, RTA_DST, destination.network());
    }
    match gateway {
        Some(gateway) => address(request, RTA_GATEWAY, gateway),
        None => request,
    }
}

pub fn add(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Request {
    route("add", RTM_NEWROUTE, CHANGE | flag::CREATE | flag::EXCL, destination, gateway, link)
}

/// The default route of the gateway's family.
pub fn add_default(gateway: IpAddr, link: u32) -> Request {
    add(everything(gateway.is_ipv4()), Some(gateway), link)
}

/// 0.0.0.0/0 or ::/0.
pub fn everything(ipv4: bool) -> IpNet {
    if ipv4 { IpNet::V4(Ipv4Net::default()) } else { IpNet::V6(Ipv6Net::default()) }
}

pub fn delete(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Request {
    route("delete", RTM_DELROUTE, CHANGE, destination, gateway, link)
}

pub(crate) fn list(ipv4: bool) -> Request {
    let mut fixed = [0; 12];
    fixed[0] = if ipv4 { AF_INET } else { AF_INET6 };
    Request::new("list routes", RTM_GETROUTE, flag::DUMP, &fixed)
}

pub(crate) fn parse(kind: u16, payload: &[u8]) -> Option<Route> {
    let (fixed, rest) = payload.split_first_chunk::<12>()?;
    let (family, main) = (fixed[0], fixed[4] == TABLE_MAIN);
    if kind != RTM_NEWROUTE || !matches!(family, AF_INET | AF_INET6) || fixed[7] != TYPE_UNICAST || !main {
        return None;
    }
    let (mut destination, mut gateway, mut link, mut priority) =
        (everything(family == AF_INET).addr(), None, None, 0);
    for (kind, value) in attributes(rest) {
        match kind {
            RTA_DST => destination = ip(family, value)?,
            RTA_GATEWAY => gateway = Some(ip(family, value)?),
            RTA_OIF => link = u32_ne(value),
            RTA_PRIORITY => priority = u32_ne(value)?,
            RTA_TABLE if u32_ne(value)? != u32::from(TABLE_MAIN) => return None,
            _ => {}
        }
    }
    Some(Route { destination: IpNet::new(destination, fixed[1]).ok()?, gateway, link, priority })
}
