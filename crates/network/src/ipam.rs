//! Which address a container gets. Pure: reservations are what the endpoints' rows say.
//!
//! Invariants: never the gateway, the subnet's own or its broadcast address, nor an auxiliary one; a freed address is
//! the last to be given out again, since neighbours and clients may still take it for the old container.
use crate::error::{Error, Result};
use crate::network::Subnet;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Allocator {
    subnet: IpNet,
    range: IpNet,
    reserved: BTreeSet<u128>,
    used: BTreeSet<u128>,
    /// Where the search begins: behind the address given out last.
    cursor: u128,
}

/// Addresses that are given out or not for the taking, and those that are free: `network inspect`'s status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub subnet: IpNet,
    pub in_use: u64,
    pub free: u64,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl Allocator {
    pub fn new(subnet: &Subnet) -> Self {
        let range = subnet.ip_range.unwrap_or(subnet.subnet).trunc();
        let mut reserved: BTreeSet<u128> = subnet.auxiliary.values().map(|a| number(*a)).collect();
        reserved.insert(number(subnet.gateway));
        match subnet.subnet {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                reserved.insert(number(net.network().into()));
                reserved.insert(number(net.broadcast().into()));
            }
            IpNet::V4(_) => {}
            // Whoever is the subnet's router.
            IpNet::V6(net) => drop(reserved.insert(number(net.network().into()))),
        }
        let cursor = number(range.network());
        Self { subnet: subnet.subnet, range, reserved, used: BTreeSet::new(), cursor }
    }

    fn bounds(&self) -> (u128, u128) {
        (number(self.range.network()), number(self.range.broadcast()))
    }

    /// An endpoint from the store: its address is taken, and the search goes on behind the highest one.
    pub fn restore(&mut self, address: IpAddr) {
        self.used.insert(number(address));
        if self.range.contains(&address) && number(address) >= self.cursor {
            self.cursor = self.after(number(address));
        }
    }

    pub fn allocate(&mut self) -> Result<IpAddr> {
        let (first, last) = self.bounds();
        let around = (self.cursor..=last).chain(first..self.cursor);
        let free = around.into_iter().find(|a| !self.reserved.contains(a) && !self.used.contains(a));
        let found = free.ok_or_else(|| Error::AddressesExhausted {
            family: if self.is_ipv4() { "IPv4" } else { "IPv6" },
            range: self.range.to_string(),
        })?;
        self.used.insert(found);
        self.cursor = self.after(found);
        Ok(self.address(found))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.range {
            // It is an address of an IPv4 subnet, so it fits.
            IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }

    /// `--ip`; the caller knows that it is in the subnet.
    pub fn claim(&mut self, address: IpAddr) -> Result<()> {
        if self.reserved.contains(&number(address)) || !self.used.insert(number(address)) {
            return Err(Error::AddressInUse(address));
        }
        Ok(())
    }

    pub fn release(&mut self, address: IpAddr) {
        self.used.remove(&number(address));
    }

    fn after(&self, address: u128) -> u128 {
        let (first, last) = self.bounds();
        if address >= last { first } else { address + 1 }
    }

    pub fn is_ipv4(&self) -> bool {
        self.range.addr().is_ipv4()
    }

    pub fn usage(&self) -> Usage {
        let (first, last) = self.bounds();
        let taken = self.reserved.union(&self.used);
        let inside = taken.clone().filter(|n| (first..=last).contains(n)).count();
        // A subnet may have more addresses than the number has room for.
        let all = (last - first).saturating_add(1);
        let small = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        Usage {
            subnet: self.subnet,
            in_use: taken.count().try_into().unwrap_or(u64::MAX),
            free: small(all.saturating_sub(inside as u128)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(text: &str, gateway: &str) -> Subnet {
        Subnet {
            subnet: text.parse().unwrap(),
            ip_range: None,
            gateway: gateway.parse().unwrap(),
            auxiliary: Default::default(),
            chosen: true,
            gateway_chosen: false,
        }
    }

    #[test]
    fn addresses_go_up_and_a_freed_one_comes_last() {
        let mut a = Allocator::new(&subnet("10.1.0.0/29", "10.1.0.1"));
        let taken: Vec<String> = (0..5).map(|_| a.allocate().unwrap().to_string()).collect();
        assert_eq!(taken, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        assert!(matches!(a.allocate(), Err(Error::AddressesExhausted { .. })));
        a.release("10.1.0.4".parse().unwrap());
        assert_eq!(a.allocate().unwrap().to_string(), "10.1.0.4");

        let mut a = Allocator::new(&subnet("10.1.0.0/24", "10.1.0.1"));
        let first = a.allocate().unwrap();
        a.release(first);
        assert_eq!(a.allocate().unwrap().to_string(), "10.1.0.3", "not the one that was just freed");
    }

    #[test]
    fn chosen_addresses_are_checked() {
        let mut a = Allocator::new(&subnet("10.1.0.0/24", "10.1.0.1"));
        a.claim("10.1.0.9".parse().unwrap()).unwrap();
        assert!(matches!(a.claim("10.1.0.9".parse().unwrap()), Err(Error::AddressInUse(_))));
        assert!(matches!(a.claim("10.1.0.1".parse().unwrap()), Err(Error::AddressInUse(_))));
        assert!(matches!(a.claim("10.1.0.255".parse().unwrap()), Err(Error::AddressInUse(_))));
    }

    #[test]
    fn a_range_and_auxiliary_addresses_are_respected() {
        let mut s = subnet("10.1.0.0/16", "10.1.0.1");
        s.ip_range = Some("10.1.5.0/30".parse().unwrap());
        s.auxiliary.insert("printer".into(), "10.1.5.1".parse().unwrap());
        let mut a = Allocator::new(&s);
        let taken: Vec<String> = (0..3).map(|_| a.allocate().unwrap().to_string()).collect();
        assert_eq!(taken, ["10.1.5.0", "10.1.5.2", "10.1.5.3"]);
        assert!(a.allocate().is_err());
        a.claim("10.1.9.9".parse().unwrap()).unwrap();
    }

    #[test]
    fn ipv6_has_no_broadcast_address_and_counts_far() {
        let mut a = Allocator::new(&subnet("fd00:1::/126", "fd00:1::1"));
        let taken: Vec<String> = (0..2).map(|_| a.allocate().unwrap().to_string()).collect();
        assert_eq!(taken, ["fd00:1::2", "fd00:1::3"]);
        assert!(a.allocate().is_err());
        let a = Allocator::new(&subnet("fd00:1::/64", "fd00:1::1"));
        assert_eq!(
            a.usage(),
            Usage { subnet: "fd00:1::/64".parse().unwrap(), in_use: 2, free: u64::MAX - 1 }
        );
        let mut a = Allocator::new(&subnet("10.1.0.0/24", "10.1.0.1"));
        a.allocate().unwrap();
        assert_eq!(a.usage(), Usage { subnet: "10.1.0.0/24".parse().unwrap(), in_use: 4, free: 252 });
    }

    proptest! {
        #[test]
        fn no_address_is_ever_given_twice(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..200)) {
            let mut a = Allocator::new(&subnet("10.1.0.0/27", "10.1.0.1"));
            let mut held: Vec<IpAddr> = Vec::new();
            for step in steps {
                match step {
                    Some(index) if !held.is_empty() => {
                        let address = held.swap_remove(index.index(held.len()));
                        a.release(address);
                    }
                    _ => match a.allocate() {
                        Ok(address) => {
                            prop_assert!(!held.contains(&address));
                            prop_assert!(![0, 1, 31].contains(&(number(address) & 31)));
                            held.push(address);
                        }
                        Err(_) => prop_assert_eq!(held.len(), 29),
                    },
                }
            }
        }
    }
}
