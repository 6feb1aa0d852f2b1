//! A network past the ports of one bridge. Pure.
//!
//! Segment 0 is the network's own bridge, with the gateway's addresses. Each further one is a bridge without addresses, made when
//! those before it are full, and joined to the first by a veth pair, its trunk. So all of them are one link: broadcasts, ARP and
//! neighbour discovery find everybody, and names, firewall and `inspect` know of one network. A star: no frame runs in circles.
use crate::kernel;
use knarr_base::NetworkId;
use knarr_netlink::link::Link;
use std::collections::BTreeSet;

/// Ports of a bridge in the kernel (`BR_MAX_PORTS`, less the one that is none).
const KERNEL_PORTS: u16 = 1023;
/// Containers of one bridge. The rest is for trunks, and for containers that ended a moment ago.
pub(crate) const CAPACITY: u16 = 1000;
/// Hexadecimal digits of a network's id in names: those of interfaces have at most 15 bytes.
const DIGITS: usize = 10;

/// Interfaces of a further segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub bridge: String,
    /// The trunk's end at the network's own bridge.
    pub near: String,
    pub far: String,
}

impl Names {
    pub fn new(network: &NetworkId, segment: u16) -> Self {
        let name = |kind: &str| format!("{kind}{}{segment:03x}", &network.as_str()[..DIGITS]);
        Self { bridge: name("kb"), near: name("kt"), far: name("ku") }
    }

    /// Whether one of them has this name.
    pub fn is_trunk(&self, name: &str) -> bool {
        self.near == name || self.far == name
    }
}

/// The address of a further segment's bridge: nobody sends anything there.
pub(crate) fn mac(network: &NetworkId, segment: u16) -> [u8; 6] {
    let [_, _, a, b, _, _] = kernel::bridge_mac(network);
    let [high, low] = segment.to_be_bytes();
    [0x02, 0x43, a, b, high, low]
}

/// Whether this link is a further segment's bridge, made by us.
pub(crate) fn is_ours(link: &Link, network: &NetworkId, segment: u16) -> bool {
    link.kind == "bridge" && link.mac == Some(mac(network, segment))
}

/// How many containers are where.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Vec<u16>,
    /// The kernel had no port left, whatever we count.
    full: BTreeSet<u16>,
}

impl Seats {
    /// A port on the first segment that has one; `None`: the network is full.
    pub fn take(&mut self, capacity: u16) -> Option<u16> {
        // Each further segment takes a port of the first.
        let segments = KERNEL_PORTS.saturating_sub(capacity) + 1;
        let free = |segment: &u16| {
            !self.full.contains(segment)
                && self.taken.get(usize::from(*segment)).is_none_or(|taken| *taken < capacity)
        };
        let segment = (0..segments).find(free)?;
        self.put(segment);
        Some(segment)
    }

    /// One that a container has.
    pub fn put(&mut self, segment: u16) {
        let index = usize::from(segment);
        if self.taken.len() <= index {
            self.taken.resize(index + 1, 0);
        }
        self.taken[index] += 1;
    }

    pub fn give_back(&mut self, segment: u16) {
        self.full.remove(&segment);
        if let Some(taken) = self.taken.get_mut(usize::from(segment)) {
            *taken = taken.saturating_sub(1);
        }
    }

    /// Until somebody leaves it.
    pub fn mark_full(&mut self, segment: u16) {
        self.full.insert(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_with_room_is_taken() {
        let mut seats = Seats::default();
        let taken: Vec<_> = (0..5).map(|_| seats.take(2).unwrap()).collect();
        assert_eq!(taken, [0, 0, 1, 1, 2]);
        seats.give_back(0);
        assert_eq!((seats.take(2), seats.take(2), seats.take(2)), (Some(0), Some(2), Some(3)));
        seats.mark_full(3);
        assert_eq!(seats.take(2), Some(4), "the kernel says so");
        seats.give_back(3);
        assert_eq!(seats.take(2), Some(3));
        let mut restored = Seats::default();
        [0, 0, 2].into_iter().for_each(|segment| restored.put(segment));
        assert_eq!((restored.take(2), restored.take(2), restored.take(2)), (Some(1), Some(1), Some(2)));
    }

    #[test]
    fn the_first_bridge_has_ports_for_all_trunks() {
        let mut seats = Seats::default();
        let all = std::iter::from_fn(|| seats.take(CAPACITY)).count();
        assert_eq!(all, 24 * usize::from(CAPACITY));
    }

    #[test]
    fn names_fit() {
        let network = NetworkId::parse(&"0123456789abcdef".repeat(4)).unwrap();
        let names = Names::new(&network, 23);
        assert_eq!((names.bridge.as_str(), names.near.as_str()), ("kb0123456789017", "kt0123456789017"));
        assert!(names.far.len() <= crate::option::MAX_INTERFACE_NAME);
        assert_ne!(mac(&network, 1), mac(&network, 2));
    }
}
