//! The host's side in the kernel: bridges, veths, forwarding. Small and dull.
use crate::error::{Error, Result};
use crate::network::Network;
use crate::port::{Protocol, PublishedPort};
use ipnet::{IpNet, Ipv4Net};
use knarr_base::{ContainerId, NetworkId};
use knarr_netlink::conntrack::Conntrack;
use knarr_netlink::link::{Link, Veth};
use knarr_netlink::{Rtnetlink, address, link};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Name of a veth's end on the host: a function of container and network.
pub(crate) fn veth_name(container: &ContainerId, network: &NetworkId) -> String {
    const DIGITS: usize = 11;
    let number = |id: &str| u64::from_str_radix(&id[..DIGITS], 16).unwrap_or_default();
    format!("kv{:011x}", number(container.as_str()) ^ number(network.as_str()))
}

/// Whether a name looks like one of `veth_name`.
pub(crate) fn is_veth_name(name: &str) -> bool {
    name.strip_prefix("kv")
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A bridge's address is a function of its network, so that ours can be told from others of the same name.
pub(crate) fn bridge_mac(network: &NetworkId) -> [u8; 6] {
    let byte = |i: usize| u8::from_str_radix(&network.as_str()[2 * i..2 * i + 2], 16).unwrap_or_default();
    [0x02, 0x42, byte(0), byte(1), byte(2), byte(3)]
}

/// Whether this link is the network's bridge, made by us.
pub(crate) fn is_ours(link: &Link, network: &NetworkId) -> bool {
    link.kind == "bridge" && link.mac == Some(bridge_mac(network))
}

/// Makes the network's bridge, or brings an existing one in order; gives its index. `foreign_allowed`: the user named
/// the bridge, so one that somebody else made is used as it is.
pub(crate) fn ensure_bridge(
    host: &mut Rtnetlink,
    network: &Network,
    foreign_allowed: bool,
    alias: &str,
) -> Result<u32> {
    let name = &network.bridge;
    let existing = match host.link(name)? {
        Some(link) => link,
        None => {
            let made = host.change(vec![link::add_bridge(
                name,
                bridge_mac(&network.id),
                network.mtu().unwrap_or(0),
            )]);
            match made {
                Err(e) if !e.is(Errno::EXIST) => return Err(e.into()),
                _ => host.link(name)?.ok_or_else(|| Error::BridgeTaken { name: name.clone() })?,
            }
        }
    };
    let ours = is_ours(&existing, &network.id);
    if existing.kind != "bridge" || !(ours || foreign_allowed) {
        return Err(Error::BridgeTaken { name: name.clone() });
    }
    set_bridge_sysctls(name, ours)?;
    let wanted: Vec<Ipv4Net> = network.subnets.iter().filter_map(gateway_address).collect();
    let present = host.addresses()?;
    let present: Vec<Ipv4Net> = present
        .into_iter()
        .filter(|a| a.link == existing.index)
        .filter_map(|a| match a.net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
        .collect();
    let mut changes = Vec::new();
    if ours {
        let extra = present.iter().filter(|p| !wanted.contains(p));
        changes.extend(extra.map(|p| address::delete(existing.index, *p)));
        if existing.alias != alias {
            changes.push(link::set_alias(existing.index, alias));
        }
    }
    changes.extend(wanted.iter().filter(|w| !present.contains(w)).map(|w| address::add(existing.index, *w)));
    if !existing.up {
        changes.push(link::set_up(existing.index));
    }
    host.change(changes)?;
    Ok(existing.index)
}

fn gateway_address(subnet: &crate::network::Subnet) -> Option<Ipv4Net> {
    Ipv4Net::new(subnet.gateway, subnet.subnet.prefix_len()).ok()
}

/// No IPv6 on the bridge of an IPv4 network (CVE-2024-32473, CVE-2020-13401); packets from 127.0.0.1 may leave through
/// it, for ports published there (the firewall drops what containers send to such addresses). The IPv6 of a bridge that
/// is not ours is its owner's: the host's own addresses may be on it.
fn set_bridge_sysctls(name: &str, ours: bool) -> Result<()> {
    if ours {
        write_sysctl(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        write_sysctl(&format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0")?;
    }
    write_sysctl(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")
}

/// A file that the kernel does not have (no IPv6) is no error.
fn write_sysctl(path: &str, value: &str) -> Result<()> {
    match fs::write(path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::io(format!("write {path}"))),
    }
}

/// Makes a veth. One left over from the container's last run gives way.
///
/// Isolated ports stay apart whatever the firewall does. (Where the bridge itself calls the firewall, `br_netfilter`, a
/// port that such a neighbour publishes is out of reach too.)
pub(crate) fn add_veth(
    host: &mut Rtnetlink,
    veth: &Veth<'_>,
    isolated: bool,
) -> Result<(), knarr_netlink::Error> {
    let requests = || {
        let mut requests = vec![link::add_veth(veth)];
        let hairpin = bridged_packets_pass_the_firewall();
        if hairpin || isolated {
            requests.push(link::set_port(veth.name, hairpin, isolated));
        }
        requests
    };
    match host.change(requests()) {
        Err(e) if e.is(Errno::EXIST) => {
            delete_link(host, veth.name)?;
            host.change(requests())
        }
        result => result,
    }
}

pub(crate) fn delete_link(host: &mut Rtnetlink, name: &str) -> Result<(), knarr_netlink::Error> {
    match host.change(vec![link::delete(name)]) {
        Err(e) if e.is(Errno::NODEV) => Ok(()),
        result => result,
    }
}

/// Datagrams that went to the host's own ports until now shall go to the container.
pub(crate) fn forget_flows_to(
    host: &mut Rtnetlink,
    ports: &[PublishedPort],
) -> Result<(), knarr_netlink::Error> {
    let udp: Vec<u16> = ports.iter().filter(|p| p.protocol == Protocol::Udp).map(|p| p.host_port).collect();
    if udp.is_empty() {
        return Ok(());
    }
    let local: Vec<IpAddr> = host.addresses()?.iter().map(|a| a.net.addr()).collect();
    let mut conntrack = Conntrack::open()?;
    for flow in conntrack.udp_to_ports(&udp)? {
        if !flow.translated && local.contains(&flow.destination.into()) {
            conntrack.forget(&flow)?;
        }
    }
    Ok(())
}

/// Datagrams that went to a container that ended shall not go to whoever gets its address.
pub(crate) fn forget_flows_of(
    container: Ipv4Addr,
    ports: &[PublishedPort],
) -> Result<(), knarr_netlink::Error> {
    if !ports.iter().any(|p| p.protocol == Protocol::Udp) {
        return Ok(());
    }
    let mut conntrack = Conntrack::open()?;
    for flow in conntrack.udp_answered_by(container)? {
        conntrack.forget(&flow)?;
    }
    Ok(())
}

/// With `br_netfilter`, a published port that a container reaches on its own address is answered within the bridge.
fn bridged_packets_pass_the_firewall() -> bool {
    fs::read(BRIDGE_NETFILTER).is_ok_and(|text| text.first() == Some(&b'1'))
}

pub(crate) fn forwarding() -> bool {
    fs::read(IP_FORWARD).is_ok_and(|text| text.first() == Some(&b'1'))
}

/// Turns forwarding on, if it is off.
pub(crate) fn enable_forwarding() -> Result<()> {
    if forwarding() {
        return Ok(());
    }
    fs::write(IP_FORWARD, "1").map_err(Error::io(format!("write {IP_FORWARD}")))
}
