//! The host's side in the kernel: bridges, veths, parents, forwarding. Small and dull.
use crate::error::{Error, Result};
use crate::namespace::View;
use crate::network::{Network, Subnet};
use crate::option;
use crate::port::{Protocol, PublishedPort};
use crate::segment;
use ipnet::IpNet;
use knarr_base::{ContainerId, NetworkId};
use knarr_netlink::conntrack::Conntrack;
use knarr_netlink::link::{Link, Veth};
use knarr_netlink::{Rtnetlink, address, link, neighbour};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::net::IpAddr;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6_CONF: &str = "/proc/sys/net/ipv6/conf";
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
    let wanted: Vec<IpNet> = network.used_subnets().filter_map(|s| bridge_address(network, s)).collect();
    set_bridge_sysctls(name, ours, network.subnet(false).is_some())?;
    let present = host.addresses()?.into_iter().filter(|a| a.link == existing.index);
    // The addresses that the kernel itself gives to an interface of IPv6 are its own business.
    let present: Vec<IpNet> = present.filter(|a| a.net.addr().is_ipv4() || a.global).map(|a| a.net).collect();
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

/// Makes a further bridge of the network, or brings an existing one in order; gives its index. `first` is the network's own.
pub(crate) fn ensure_segment(
    host: &mut Rtnetlink,
    network: &Network,
    number: u16,
    first: u32,
    alias: &str,
) -> Result<u32> {
    let names = segment::Names::new(&network.id, number);
    let mtu = host.link(&network.bridge)?.map_or(0, |own| own.mtu);
    if host.link(&names.bridge)?.is_none() {
        host.change(vec![link::add_bridge(&names.bridge, segment::mac(&network.id, number), mtu)])?;
    }
    let taken = || Error::BridgeTaken { name: names.bridge.clone() };
    let bridge = host.link(&names.bridge)?.filter(|l| segment::is_ours(l, &network.id, number));
    let bridge = bridge.ok_or_else(taken)?;
    if host.link(&names.near)?.is_none() {
        host.change(vec![link::add_veth_alone(&names.near, &names.far)])?;
    }
    let mut end = |name: &str| host.link(name)?.ok_or_else(|| Error::BridgeTaken { name: name.to_owned() });
    let (near, far) = (end(&names.near)?, end(&names.far)?);
    let mut changes = Vec::new();
    for link in [&bridge, &near, &far] {
        write_sysctl(&format!("{IPV6_CONF}/{}/disable_ipv6", link.name), "1")?;
        if link.alias != alias {
            changes.push(link::set_alias(link.index, alias));
        }
    }
    for (end, master) in [(&near, first), (&far, bridge.index)] {
        if mtu != 0 && end.mtu != mtu {
            changes.push(link::set_mtu(end.index, mtu));
        }
        if end.master != Some(master) {
            changes.push(link::set_master(end.index, master));
        }
    }
    // Apart from the first's own containers and from other segments; those behind it are kept apart by their own bridge.
    changes.push(link::set_port(&names.near, bridged_packets_pass_the_firewall(), !network.icc()));
    changes.extend([link::set_up_mute(bridge.index), link::set_up(near.index), link::set_up(far.index)]);
    host.change(changes).map_err(|e| match e.is(Errno::XFULL) {
        true => Error::BridgeFull { network: network.name.clone() },
        false => e.into(),
    })?;
    Ok(bridge.index)
}

pub(crate) fn delete_segment(
    host: &mut Rtnetlink,
    network: &NetworkId,
    number: u16,
) -> Result<(), knarr_netlink::Error> {
    let names = segment::Names::new(network, number);
    delete_link(host, &names.near)?;
    delete_link(host, &names.bridge)
}

/// The host's address on the bridge, unless the network's options say that it has none.
fn bridge_address(network: &Network, subnet: &Subnet) -> Option<IpNet> {
    let ipv4 = subnet.is_ipv4();
    let isolated = network.mode(ipv4) == option::GatewayMode::Isolated;
    let inhibited = ipv4 && network.options().flag(option::INHIBIT_V4, false);
    if isolated || inhibited {
        return None;
    }
    IpNet::new(subnet.gateway, subnet.subnet.prefix_len()).ok()
}

/// No IPv6 on the bridge of an IPv4 network (CVE-2024-32473), and never a container as the host's router (CVE-2020-13401);
/// packets from 127.0.0.1 may leave through it, for ports published there (the firewall drops what containers send to such
/// addresses). The IPv6 of a bridge that is not ours is its owner's: the host's own addresses may be on it.
fn set_bridge_sysctls(name: &str, ours: bool, ipv6: bool) -> Result<()> {
    if ours {
        write_sysctl(&format!("{IPV6_CONF}/{name}/accept_ra"), "0")?;
        write_sysctl(&format!("{IPV6_CONF}/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" })?;
    }
    write_sysctl(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")
}

/// Whether the host answers on a bridge for containers that its ports keep apart: then what they send each other comes to the
/// firewall.
pub(crate) fn set_proxy_arp(bridge: &str, on: bool) -> Result<()> {
    write_sysctl(&format!("/proc/sys/net/ipv4/conf/{bridge}/proxy_arp_pvlan"), if on { "1" } else { "0" })
}

/// No IPv6 on the host's end of a container's veth: it is a port of a bridge and nothing else. The kernel would give it an address
/// and three routes, say hello to the container with them, and go through the routes of all ports whenever one comes or goes.
pub(crate) fn port_only(veth: &str) -> Result<()> {
    write_sysctl(&format!("{IPV6_CONF}/{veth}/disable_ipv6"), "1")
}

/// Inside a container's namespace: IPv6 on an interface whose network has it, and nobody is its router but the gateway.
pub(crate) fn enable_ipv6_here(view: &View, interface: &str) -> Result<()> {
    for (name, value) in [("accept_ra", b"0"), ("disable_ipv6", b"0")] {
        let path = format!("sys/net/ipv6/conf/{interface}/{name}");
        match view.write(&path, value) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(Error::io(format!("write /proc/{path}")))?,
        }
    }
    Ok(())
}

/// Inside a container's namespace: settings asked for, as paths below `/proc/sys` with `IFNAME` for the interface.
pub(crate) fn set_interface_here(view: &View, interface: &str, settings: &[(String, String)]) -> Result<()> {
    for (path, value) in settings {
        let path = format!("sys/{}", path.replace("IFNAME", interface));
        view.write(&path, value.as_bytes()).map_err(Error::io(format!("write /proc/{path}")))?;
    }
    Ok(())
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
    behind_trunk: bool,
) -> Result<(), knarr_netlink::Error> {
    let hairpin = bridged_packets_pass_the_firewall();
    let requests = || {
        let mut requests = vec![link::add_veth(veth)];
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
    }?;
    // The trunk gives back what it got, as every port does there; the container is not behind it for that.
    if hairpin
        && behind_trunk
        && let Some(port) = host.link(veth.name)?
    {
        host.change(vec![neighbour::pin(port.index, veth.peer_mac)])?;
    }
    Ok(())
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
    for ipv4 in [true, false] {
        let used = ports.iter().any(|p| p.protocol == Protocol::Udp && p.host_ip.is_ipv4() == ipv4);
        let flows = if used { conntrack.udp_to_ports(ipv4, &udp)? } else { Vec::new() };
        for flow in flows {
            if !flow.translated && local.contains(&flow.destination) {
                conntrack.forget(&flow)?;
            }
        }
    }
    Ok(())
}

/// Datagrams that went to a container that ended shall not go to whoever gets its address.
pub(crate) fn forget_flows_of(
    container: IpAddr,
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

fn forwarding_path(ipv4: bool) -> String {
    if ipv4 { IP_FORWARD.to_owned() } else { format!("{IPV6_CONF}/all/forwarding") }
}

pub(crate) fn forwarding(ipv4: bool) -> bool {
    fs::read(forwarding_path(ipv4)).is_ok_and(|text| text.first() == Some(&b'1'))
}

/// Turns forwarding on. Interfaces of the host that learn from IPv6 routers go on doing so: a host that forwards would not.
pub(crate) fn enable_forwarding(ipv4: bool) -> Result<()> {
    if !ipv4 {
        keep_learning();
    }
    let path = forwarding_path(ipv4);
    fs::write(&path, "1").map_err(Error::io(format!("write {path}")))
}

/// `accept_ra` 1 is "unless it forwards", 2 is "always".
fn keep_learning() {
    for entry in fs::read_dir(IPV6_CONF).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = entry.path().join("accept_ra");
        let learns = fs::read(&path).is_ok_and(|text| text.first() == Some(&b'1'));
        if learns
            && name != "all"
            && name != "default"
            && name != "lo"
            && let Err(error) = fs::write(&path, "2")
        {
            tracing::warn!(%error, interface = ?name, "the interface does not learn from IPv6 routers any more");
        }
    }
}
