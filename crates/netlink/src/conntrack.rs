//! Connections that the kernel tracks, as far as datagram ports need it (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Address translation is decided once per connection. A datagram "connection" lives as long as somebody sends, so one
//! that began before a port was published, or that leads to a container that ended, must be forgotten.
use crate::Request;
use crate::Result;
use crate::address::ip;
use crate::attribute::{attributes, find, u32_be};
use crate::nft::nfgenmsg;
use crate::request::flag;
use crate::socket::{CHANGE, Socket};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;
use std::net::IpAddr;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const IP6_SOURCE: u16 = 3;
const IP6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const ONLY_SOURCE: u32 = 1;
const ONLY_PROTOCOL: u32 = 8;
const ONLY_DESTINATION_PORT: u32 = 32;
const STATUS_DESTINATION_TRANSLATED: u32 = 0x20;
const UDP: u8 = 17;

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where its first packet went.
    pub destination: IpAddr,
    pub port: u16,
    /// The destination was translated.
    pub translated: bool,
    tuple: Vec<u8>,
}

pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(NETLINK_NETFILTER)? })
    }

    /// UDP connections of one family whose first packet went to one of the ports.
    pub fn udp_to_ports(&mut self, ipv4: bool, ports: &[u16]) -> Result<Vec<Flow>> {
        let family = if ipv4 { AF_INET } else { AF_INET6 };
        let mut flows = Vec::new();
        if ports.len() <= MAX_FILTERED_DUMPS {
            for port in ports {
                flows.extend(self.list(&udp_to(family, Some(*port)))?);
            }
        } else {
            flows = self.list(&udp_to(family, None))?;
            flows.retain(|f| ports.contains(&f.port));
        }
        Ok(flows)
    }

    /// UDP connections that `address` answers.
    pub fn udp_answered_by(&mut self, address: IpAddr) -> Result<Vec<Flow>> {
        let request = list(family_of(address))
            .nest(TUPLE_REPLY, |r| {
                r.nest(TUPLE_IP, |r| match address {
                    IpAddr::V4(ip) => r.bytes(IP_SOURCE, &ip.octets()),
                    IpAddr::V6(ip) => r.bytes(IP6_SOURCE, &ip.octets()),
                })
                .nest(TUPLE_PROTOCOL, |r| r.u8(PROTOCOL_NUMBER, UDP))
            })
            .nest(FILTER, |r| r.u32(FILTER_ORIGINAL, 0).u32(FILTER_REPLY, ONLY_PROTOCOL | ONLY_SOURCE));
        self.list(&request)
    }

    fn list(&mut self, request: &Request) -> Result<Vec<Flow>> {
        let answers = self.socket.dump(request)?;
        Ok(answers.iter().filter_map(|a| parse(&a.payload)).collect())
    }

    /// Its next packet begins a new connection.
    pub fn forget(&mut self, flow: &Flow) -> Result<()> {
        let operation = format!("forget a connection to {}", flow.destination);
        let request = Request::new(operation, DELETE, CHANGE, &nfgenmsg(family_of(flow.destination), 0));
        let request = request.nest(TUPLE_ORIGINAL, |r| r.raw(&flow.tuple));
        match self.socket.transact(vec![request], &mut Vec::new()) {
            // It ended by itself.
            Err(e) if e.is(Errno::NOENT) => Ok(()),
            result => result,
        }
    }
}

/// The kernel walks its whole table for every dump.
const MAX_FILTERED_DUMPS: usize = 8;

fn udp_to(family: u8, port: Option<u16>) -> Request {
    let only = ONLY_PROTOCOL | if port.is_some() { ONLY_DESTINATION_PORT } else { 0 };
    list(family)
        .nest(TUPLE_ORIGINAL, |r| {
            r.nest(TUPLE_PROTOCOL, |r| {
                let r = r.u8(PROTOCOL_NUMBER, UDP);
                match port {
                    Some(port) => r.bytes(PROTOCOL_DESTINATION, &port.to_be_bytes()),
                    None => r,
                }
            })
        })
        .nest(FILTER, |r| r.u32(FILTER_ORIGINAL, only).u32(FILTER_REPLY, 0))
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn list(family: u8) -> Request {
    Request::new("list connections", GET, flag::DUMP, &nfgenmsg(family, 0))
}

fn parse(payload: &[u8]) -> Option<Flow> {
    let rest = payload.get(4..)?;
    let (mut tuple, mut status) = (None, 0);
    for (kind, value) in attributes(rest) {
        match kind {
            TUPLE_ORIGINAL => tuple = Some(value),
            STATUS => status = u32_be(value)?,
            _ => {}
        }
    }
    let tuple = tuple?;
    let addresses = find(tuple, TUPLE_IP)?;
    let destination = match (find(addresses, IP_DESTINATION), find(addresses, IP6_DESTINATION)) {
        (Some(v4), _) => ip(AF_INET, v4)?,
        (None, v6) => ip(AF_INET6, v6?)?,
    };
    let port = find(find(tuple, TUPLE_PROTOCOL)?, PROTOCOL_DESTINATION)?;
    Some(Flow {
        destination,
        port: u16::from_be_bytes(port.try_into().ok()?),
        translated: status & STATUS_DESTINATION_TRANSLATED != 0,
        tuple: tuple.to_vec(),
    })
}
