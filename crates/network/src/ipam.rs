//! Which address a container gets. Pure: reservations are what the endpoints' rows say.
//!
//! Invariants: never the gateway, the subnet's own or its broadcast address, nor an auxiliary one; a freed address is
//! the last to be given out again, since neighbours and clients may still take it for the old container.
use crate::error::{Error, Result};
use crate::network::Subnet;
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Allocator {
    range: Ipv4Net,
    reserved: BTreeSet<u32>,
    used: BTreeSet<u32>,
    /// Where the search begins: behind the address given out last.
    cursor: u32,
}

impl Allocator {
    pub fn new(subnet: &Subnet) -> Self {
        let range = subnet.ip_range.unwrap_or(subnet.subnet).trunc();
        let mut reserved: BTreeSet<u32> = subnet.auxiliary.values().map(|a| u32::from(*a)).collect();
        reserved.insert(subnet.gateway.into());
        if subnet.subnet.prefix_len() < 31 {
            reserved.insert(subnet.subnet.network().into());
            reserved.insert(subnet.subnet.broadcast().into());
        }
        let cursor = range.network().into();
        Self { range, reserved, used: BTreeSet::new(), cursor }
    }

    /// An endpoint from the store: its address is taken, and the search goes on behind the highest one.
    pub fn restore(&mut self, address: Ipv4Addr) {
        self.used.insert(address.into());
        if self.range.contains(&address) && u32::from(address) >= self.cursor {
            self.cursor = self.after(address.into());
        }
    }

    pub fn allocate(&mut self) -> Result<Ipv4Addr> {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        let around = (self.cursor..=last).chain(first..self.cursor);
        let free = around.into_iter().find(|a| !self.reserved.contains(a) && !self.used.contains(a));
        let address = free.ok_or_else(|| Error::AddressesExhausted(self.range.to_string()))?;
        self.used.insert(address);
        self.cursor = self.after(address);
        Ok(address.into())
    }

    /// `--ip`; the caller knows that it is in the subnet.
    pub fn claim(&mut self, address: Ipv4Addr) -> Result<()> {
        let number = u32::from(address);
        if self.reserved.contains(&number) || !self.used.insert(number) {
            return Err(Error::AddressInUse(address));
        }
        Ok(())
    }

    pub fn release(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.into());
    }

    fn after(&self, address: u32) -> u32 {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        if address >= last { first } else { address + 1 }
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
        }
    }

    #[test]
    fn addresses_go_up_and_a_freed_one_comes_last() {
        let mut a = Allocator::new(&subnet("10.1.0.0/29", "10.1.0.1"));
        let taken: Vec<String> = (0..5).map(|_| a.allocate().unwrap().to_string()).collect();
        assert_eq!(taken, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        assert!(matches!(a.allocate(), Err(Error::AddressesExhausted(_))));
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

    proptest! {
        #[test]
        fn no_address_is_ever_given_twice(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..200)) {
            let mut a = Allocator::new(&subnet("10.1.0.0/27", "10.1.0.1"));
            let mut held: Vec<Ipv4Addr> = Vec::new();
            for step in steps {
                match step {
                    Some(index) if !held.is_empty() => {
                        let address = held.swap_remove(index.index(held.len()));
                        a.release(address);
                    }
                    _ => match a.allocate() {
                        Ok(address) => {
                            prop_assert!(!held.contains(&address));
                            prop_assert!(![0, 1, 31].contains(&address.octets()[3]));
                            held.push(address);
                        }
                        Err(_) => prop_assert_eq!(held.len(), 29),
                    },
                }
            }
        }
    }
}
