//! The interface of the host that containers of a `macvlan` or `ipvlan` network share.
//!
//! One that exists is used as it is. `eth0.10` that does not exist is made (the VLAN 10 of `eth0`), and so is one that leads
//! nowhere for a network without a parent; both are marked by their alias, and go with the last network that uses them.
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::network::{Driver, Network};
use crate::option::{self, Options};
use knarr_netlink::Rtnetlink;
use knarr_netlink::link::{self, IpvlanFlag, IpvlanMode, MacvlanMode, Shared, Sharing};
use rustix::io::Errno;
use std::os::fd::AsFd;

const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;
const PROBE: &str = "probe0";

/// Name of the parent of a network that names none.
pub(crate) fn nowhere(short_id: &str) -> String {
    format!("dm-{short_id}")
}

/// `eth0.10` is the VLAN 10 of `eth0`.
fn vlan(name: &str) -> Result<(&str, u16)> {
    let bad =
        || Error::Invalid(format!("invalid subinterface vlan name {name}, example formatting is eth0.10"));
    let (parent, id) = name.rsplit_once('.').filter(|(parent, _)| !parent.is_empty()).ok_or_else(bad)?;
    let id: u16 = id.parse().map_err(|_| bad())?;
    match VLANS.contains(&id) {
        true => Ok((parent, id)),
        false => Err(Error::Invalid(format!("vlan id must be between 1-4094, received: {id}"))),
    }
}

/// The index of the parent, which is made if it has to be and can be.
pub(crate) fn ensure(host: &mut Rtnetlink, network: &Network, alias: &str) -> Result<u32> {
    let name = &network.parent;
    let up = |host: &mut Rtnetlink, link: link::Link| -> Result<u32> {
        if !link.up {
            host.change(vec![link::set_up(link.index)])?;
        }
        Ok(link.index)
    };
    if let Some(link) = host.link(name)? {
        // One that others made may be down on purpose.
        return if link.alias == alias { up(host, link) } else { Ok(link.index) };
    }
    let request = if *name == nowhere(network.id.short()) {
        link::add_dummy(name)
    } else {
        let (below, id) = vlan(name)?;
        let Some(below) = host.link(below)? else {
            let text = format!("failed to find master interface {below} on the host: no such interface");
            return Err(Error::Invalid(text));
        };
        link::add_vlan(name, below.index, id)
    };
    let kind = if *name == nowhere(network.id.short()) { "dummy" } else { "vlan" };
    host.change(vec![request]).map_err(|e| unsupported(kind, e))?;
    let link = host.link(name)?.ok_or_else(|| Error::Invalid(format!("interface {name} vanished")))?;
    host.change(vec![link::set_alias(link.index, alias)])?;
    up(host, link)
}

fn unsupported(kind: &'static str, source: knarr_netlink::Error) -> Error {
    match source.is(Errno::OPNOTSUPP) {
        true => Error::NoSuchKind { kind, source },
        false => source.into(),
    }
}

/// What the options say about neighbours. They were checked when the network was made.
pub(crate) fn sharing(network: &Network) -> Result<Sharing> {
    read(network.driver, network.options())
}

pub(crate) fn read(driver: Driver, options: Options<'_>) -> Result<Sharing> {
    let text = |name| options.text(name).unwrap_or_default();
    let bad =
        |what: &str, default: &str| Err(Error::Invalid(format!("requested {what} is not valid, {default}")));
    if driver == Driver::Macvlan {
        let mode = match text(option::MACVLAN_MODE) {
            "" | "bridge" => MacvlanMode::Bridge,
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "passthru" => MacvlanMode::Passthru,
            other => {
                return bad(
                    &format!("macvlan mode '{other}'"),
                    "'bridge' mode is the macvlan driver default",
                );
            }
        };
        return Ok(Sharing::Macvlan(mode));
    }
    let mode = match text(option::IPVLAN_MODE) {
        "" | "l2" => IpvlanMode::L2,
        "l3" => IpvlanMode::L3,
        "l3s" => IpvlanMode::L3s,
        other => return bad(&format!("ipvlan mode '{other}'"), "'l2' mode is the ipvlan driver default"),
    };
    let flag = match text(option::IPVLAN_FLAG) {
        "" | "bridge" => IpvlanFlag::Bridge,
        "private" => IpvlanFlag::Private,
        "vepa" => IpvlanFlag::Vepa,
        other => return bad(&format!("ipvlan flag '{other}'"), "'bridge' flag is the ipvlan driver default"),
    };
    Ok(Sharing::Ipvlan(mode, flag))
}

/// Whether the kernel has such interfaces and the parent takes one: tried, in a namespace that nobody sees.
pub(crate) fn probe(parent: u32, sharing: Sharing) -> Result<()> {
    let mut namespace = Namespace::create()?;
    let shared = Shared { name: PROBE, parent, sharing, mac: None, mtu: 0, netns: namespace.as_fd() };
    let made = Rtnetlink::open()?.change(vec![link::add_shared(&shared)]);
    let kind = match sharing {
        Sharing::Macvlan(_) => "macvlan",
        Sharing::Ipvlan(..) => "ipvlan",
    };
    made.map_err(|e| unsupported(kind, e))?;
    // At once: a namespace ends when the kernel finds the time.
    Ok(namespace.rtnetlink().change(vec![link::delete(PROBE)])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_vlans() {
        assert_eq!(vlan("eth0.10").unwrap(), ("eth0", 10));
        assert_eq!(vlan("a.b.7").unwrap(), ("a.b", 7));
        for bad in ["eth0", "eth0.", ".5", "eth0.x", "eth0.0", "eth0.4095"] {
            assert!(vlan(bad).is_err(), "{bad}");
        }
    }
}
