//! IPv4 routes of the main table (`RTM_*ROUTE`).
use crate::Request;
use crate::attribute::{attributes, u32_ne};
use crate::request::flag;
use crate::socket::CHANGE;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const AF_INET: u8 = 2;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// 0.0.0.0/0: the default route.
    pub destination: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub link: Option<u32>,
    pub priority: u32,
}

fn rtmsg(prefix: u8, scope: u8) -> [u8; 12] {
    [AF_INET, prefix, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, scope, TYPE_UNICAST, 0, 0, 0, 0]
}

fn route(
    what: &str,
    kind: u16,
    flags: u16,
    destination: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    link: u32,
) -> Request {
    let scope = if gateway.is_some() { 0 } else { SCOPE_LINK };
    let fixed = rtmsg(destination.prefix_len(), scope);
    let via = gateway.map(|g| format!(" via {g}")).unwrap_or_default();
    let mut request =
        Request::new(format!("{what} route {destination}{via}"), kind, flags, &fixed).u32(RTA_OIF, link);
    if destination.prefix_len() > 0 {
        request = request.bytes(RTA_DST, &destination.network().octets());
    }
    match gateway {
        Some(gateway) => request.bytes(RTA_GATEWAY, &gateway.octets()),
        None => request,
    }
}

pub fn add(destination: Ipv4Net, gateway: Option<Ipv4Addr>, link: u32) -> Request {
    route("add", RTM_NEWROUTE, CHANGE | flag::CREATE | flag::EXCL, destination, gateway, link)
}

pub fn add_default(gateway: Ipv4Addr, link: u32) -> Request {
    add(Ipv4Net::default(), Some(gateway), link)
}

pub fn delete(destination: Ipv4Net, gateway: Option<Ipv4Addr>, link: u32) -> Request {
    route("delete", RTM_DELROUTE, CHANGE, destination, gateway, link)
}

pub(crate) fn list() -> Request {
    let mut fixed = [0; 12];
    fixed[0] = AF_INET;
    Request::new("list routes", RTM_GETROUTE, flag::DUMP, &fixed)
}

pub(crate) fn parse(kind: u16, payload: &[u8]) -> Option<Route> {
    let (fixed, rest) = payload.split_first_chunk::<12>()?;
    let main = fixed[4] == TABLE_MAIN;
    if kind != RTM_NEWROUTE || fixed[0] != AF_INET || fixed[7] != TYPE_UNICAST || !main {
        return None;
    }
    let (mut destination, mut gateway, mut link, mut priority) = (Ipv4Addr::UNSPECIFIED, None, None, 0);
    for (kind, value) in attributes(rest) {
        match kind {
            RTA_DST => destination = Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?),
            RTA_GATEWAY => gateway = Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
            RTA_OIF => link = u32_ne(value),
            RTA_PRIORITY => priority = u32_ne(value)?,
            RTA_TABLE if u32_ne(value)? != u32::from(TABLE_MAIN) => return None,
            _ => {}
        }
    }
    Some(Route { destination: Ipv4Net::new(destination, fixed[1]).ok()?, gateway, link, priority })
}
