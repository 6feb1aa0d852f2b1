//! Interfaces: bridges, veth pairs, loopback (`RTM_*LINK` of
//! [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html), `linux/if_link.h`). Constructors are pure.
use crate::Request;
use crate::attribute::{attributes, find, text, u32_ne, u64_ne};
use crate::request::flag;
use crate::socket::CHANGE;
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFINFOMSG_LEN: usize = 16;

/// An interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth`, ...; empty for devices.
    pub kind: String,
    pub up: bool,
    pub mtu: u32,
    pub mac: Option<[u8; 6]>,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    pub alias: String,
    pub stats: Stats,
}

/// `struct rtnl_link_stats64`, the part that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
}

/// A veth pair: one end here, the other born in another namespace.
#[derive(Debug)]
pub struct Veth<'a> {
    pub name: &'a str,
    /// Index of the bridge that this end joins.
    pub master: u32,
    /// 0: the kernel's default.
    pub mtu: u32,
    pub peer_name: &'a str,
    pub peer_mac: [u8; 6],
    pub peer_netns: BorrowedFd<'a>,
}

/// What an interface that shares another one's hardware does with its neighbours (`linux/if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode, IpvlanFlag),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    Private = 1,
    Vepa = 2,
    Bridge = 4,
    Passthru = 8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanMode {
    L2 = 0,
    L3 = 1,
    L3s = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanFlag {
    Bridge = 0,
    Private = 1,
    Vepa = 2,
}

/// An interface on top of another one, born in another namespace.
#[derive(Debug)]
pub struct Shared<'a> {
    pub name: &'a str,
    /// Index of the interface below.
    pub parent: u32,
    pub sharing: Sharing,
    /// `None`: the kernel's choice. With `ipvlan` the parent's address is used whatever is asked for.
    pub mac: Option<[u8; 6]>,
    /// 0: the parent's.
    pub mtu: u32,
    pub netns: BorrowedFd<'a>,
}

fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG_LEN] {
    let mut fixed = [0; IFINFOMSG_LEN];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn mtu(request: Request, mtu: u32) -> Request {
    if mtu == 0 { request } else { request.u32(IFLA_MTU, mtu) }
}

/// One queue each way. Without this veth makes one per processor, then turns all but one off, which waits for all
/// processors twice.
fn single_queue(request: Request) -> Request {
    request.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1)
}

/// Creates a bridge, down.
pub fn add_bridge(name: &str, mac: [u8; 6], size: u32) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    let request = Request::new(format!("create bridge {name}"), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .bytes(IFLA_ADDRESS, &mac)
        .nest(IFLA_LINKINFO, |r| r.bytes(IFLA_INFO_KIND, b"bridge"));
    mtu(request, size)
}

/// Creates a veth pair: this end up and a port of its bridge, the other end down (the kernel cannot bring it up before
/// the pair is complete).
pub fn add_veth(veth: &Veth<'_>) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    let up = ifinfomsg(0, IFF_UP, IFF_UP);
    let request = Request::new(format!("create veth {}", veth.name), RTM_NEWLINK, flags, &up)
        .text(IFLA_IFNAME, veth.name)
        .u32(IFLA_MASTER, veth.master);
    single_queue(mtu(request, veth.mtu)).nest(IFLA_LINKINFO, |r| {
        r.bytes(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |r| {
            r.nest(VETH_INFO_PEER, |r| {
                let r = r
                    .raw(&ifinfomsg(0, 0, 0))
                    .text(IFLA_IFNAME, veth.peer_name)
                    .bytes(IFLA_ADDRESS, &veth.peer_mac)
                    .u32(IFLA_NET_NS_FD, veth.peer_netns.as_raw_fd().cast_unsigned());
                single_queue(mtu(r, veth.mtu))
            })
        })
    })
}

/// Creates a macvlan or ipvlan interface, down.
pub fn add_shared(shared: &Shared<'_>) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    let request =
        Request::new(format!("create interface {}", shared.name), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
            .text(IFLA_IFNAME, shared.name)
            .u32(IFLA_LINK, shared.parent)
            .u32(IFLA_NET_NS_FD, shared.netns.as_raw_fd().cast_unsigned());
    let request = match shared.mac {
        Some(mac) => request.bytes(IFLA_ADDRESS, &mac),
        None => request,
    };
    mtu(request, shared.mtu).nest(IFLA_LINKINFO, |r| match shared.sharing {
        Sharing::Macvlan(mode) => r
            .bytes(IFLA_INFO_KIND, b"macvlan")
            .nest(IFLA_INFO_DATA, |r| r.u32(IFLA_MACVLAN_MODE, mode as u32)),
        Sharing::Ipvlan(mode, port) => r.bytes(IFLA_INFO_KIND, b"ipvlan").nest(IFLA_INFO_DATA, |r| {
            r.u16(IFLA_IPVLAN_MODE, mode as u16).u16(IFLA_IPVLAN_FLAGS, port as u16)
        }),
    })
}

/// Creates an interface that carries one VLAN of another one, down.
pub fn add_vlan(name: &str, parent: u32, id: u16) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    Request::new(format!("create vlan interface {name}"), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .u32(IFLA_LINK, parent)
        .nest(IFLA_LINKINFO, |r| {
            r.bytes(IFLA_INFO_KIND, b"vlan").nest(IFLA_INFO_DATA, |r| r.u16(IFLA_VLAN_ID, id))
        })
}

/// Creates an interface that leads nowhere, down.
pub fn add_dummy(name: &str) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    Request::new(format!("create dummy interface {name}"), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |r| r.bytes(IFLA_INFO_KIND, b"dummy"))
}

/// Creates a veth pair with both ends here, down.
pub fn add_veth_alone(name: &str, peer_name: &str) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    Request::new(format!("create veth {name}"), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |r| {
            r.bytes(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |r| {
                r.nest(VETH_INFO_PEER, |r| r.raw(&ifinfomsg(0, 0, 0)).text(IFLA_IFNAME, peer_name))
            })
        })
}

/// Creates a veth pair without a bridge, down.
pub fn add_veth_pair(name: &str, peer_name: &str, peer_netns: BorrowedFd<'_>) -> Request {
    let flags = CHANGE | flag::CREATE | flag::EXCL;
    Request::new(format!("create veth {name}"), RTM_NEWLINK, flags, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |r| {
            r.bytes(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |r| {
                r.nest(VETH_INFO_PEER, |r| {
                    r.raw(&ifinfomsg(0, 0, 0))
                        .text(IFLA_IFNAME, peer_name)
                        .u32(IFLA_NET_NS_FD, peer_netns.as_raw_fd().cast_unsigned())
                })
            })
        })
}

fn set(what: &str, index: u32) -> Request {
    Request::new(format!("{what} link {index}"), RTM_SETLINK, CHANGE, &ifinfomsg(index, 0, 0))
}

pub fn set_up(index: u32) -> Request {
    Request::new(format!("set up link {index}"), RTM_SETLINK, CHANGE, &ifinfomsg(index, IFF_UP, IFF_UP))
}

/// The same for a bridge that is nothing but a switch: it answers nobody who asks for the host's addresses.
pub fn set_up_mute(index: u32) -> Request {
    let flags = IFF_UP | IFF_NOARP;
    Request::new(format!("set up link {index}"), RTM_SETLINK, CHANGE, &ifinfomsg(index, flags, flags))
}

pub fn set_down(index: u32) -> Request {
    Request::new(format!("set down link {index}"), RTM_SETLINK, CHANGE, &ifinfomsg(index, 0, IFF_UP))
}

pub fn set_alias(index: u32, alias: &str) -> Request {
    set("set alias of", index).bytes(IFLA_IFALIAS, alias.as_bytes())
}

pub fn set_name(index: u32, name: &str) -> Request {
    set("rename", index).text(IFLA_IFNAME, name)
}

/// Moves an interface to another namespace, where it has this name; `%d` in it is replaced by a number. It is down then.
pub fn move_to(index: u32, netns: BorrowedFd<'_>, name: &str) -> Request {
    set("move", index).u32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned()).text(IFLA_IFNAME, name)
}

pub fn set_mac(index: u32, mac: [u8; 6]) -> Request {
    set("set address of", index).bytes(IFLA_ADDRESS, &mac)
}

pub fn set_mtu(index: u32, mtu: u32) -> Request {
    set("set mtu of", index).u32(IFLA_MTU, mtu)
}

/// Joins a bridge; 0 leaves it.
pub fn set_master(index: u32, master: u32) -> Request {
    set("set bridge of", index).u32(IFLA_MASTER, master)
}

/// Whether a port of a bridge may send frames back where they came from, and whether it is kept apart from other
/// isolated ports.
pub fn set_port(name: &str, hairpin: bool, isolated: bool) -> Request {
    Request::new(format!("set bridge port {name}"), RTM_NEWLINK, CHANGE, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |r| {
            r.bytes(IFLA_INFO_SLAVE_KIND, b"bridge").nest(IFLA_INFO_SLAVE_DATA, |r| {
                r.u8(IFLA_BRPORT_MODE, hairpin.into()).u8(IFLA_BRPORT_ISOLATED, isolated.into())
            })
        })
}

pub fn delete(name: &str) -> Request {
    Request::new(format!("delete link {name}"), RTM_DELLINK, CHANGE, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
}

pub(crate) fn list() -> Request {
    Request::new("list links", RTM_GETLINK, flag::DUMP, &ifinfomsg(0, 0, 0))
}

pub(crate) fn get(name: &str) -> Request {
    Request::new(format!("get link {name}"), RTM_GETLINK, flag::ACK, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
}

pub(crate) fn parse(kind: u16, payload: &[u8]) -> Option<Link> {
    let (fixed, rest) = payload.split_first_chunk::<IFINFOMSG_LEN>()?;
    if kind != RTM_NEWLINK {
        return None;
    }
    let mut link =
        Link { index: u32_ne(&fixed[4..8])?, up: u32_ne(&fixed[8..12])? & IFF_UP != 0, ..Link::default() };
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_MTU => link.mtu = u32_ne(value)?,
            IFLA_MASTER => link.master = u32_ne(value),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_LINKINFO => link.kind = find(value, IFLA_INFO_KIND).map(text).unwrap_or_default(),
            IFLA_STATS64 => link.stats = stats(value),
            _ => {}
        }
    }
    Some(link)
}

fn stats(value: &[u8]) -> Stats {
    let at = |i: usize| value.get(i * 8..).and_then(u64_ne).unwrap_or_default();
    Stats {
        rx_packets: at(0),
        tx_packets: at(1),
        rx_bytes: at(2),
        tx_bytes: at(3),
        rx_errors: at(4),
        tx_errors: at(5),
        rx_dropped: at(6),
        tx_dropped: at(7),
    }
}
