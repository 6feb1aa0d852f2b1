//! Who has which name on which network: what containers ask their name server for. Pure.
//!
//! As in Docker a name counts on the networks that the asking container is on, in the order in which it joined; `name.network`
//! asks one of them; a link is a name that one container alone has for another. Names are compared without regard to case.
//! Invariant: nothing of a network is told to a container that is not on it, and nothing of the predefined ones to anybody.
use crate::endpoint::{Endpoint, Link};
use crate::network::{Driver, Network};
use knarr_base::{ContainerId, NetworkId};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Names of all networks.
#[derive(Debug, Default)]
pub struct Names {
    zones: HashMap<NetworkId, Zone>,
    members: HashMap<ContainerId, Vec<Member>>,
    /// Networks that lead out of this machine.
    open: HashSet<NetworkId>,
    /// What the above is made of, by `Endpoint::key`.
    endpoints: HashMap<String, Endpoint>,
}

/// One user-defined network.
#[derive(Debug, Default)]
struct Zone {
    name: String,
    /// Lower-case names. One name may stand for several containers.
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
}

/// A container's part in a network.
#[derive(Debug)]
struct Member {
    network: NetworkId,
    interface: String,
    links: Vec<Link>,
}

impl Names {
    pub fn new<'a>(
        networks: impl Iterator<Item = &'a Network>,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Self {
        let mut all = Self::default();
        for network in networks {
            if !network.internal && network.driver != Driver::Null {
                all.open.insert(network.id.clone());
            }
            if network.is_user_defined() {
                let zone = Zone { name: network.name.to_ascii_lowercase(), ..Zone::default() };
                all.zones.insert(network.id.clone(), zone);
            }
        }
        endpoints.for_each(|endpoint| all.add(endpoint));
        all
    }

    /// An endpoint is as given now, or gone.
    pub(crate) fn update(&mut self, key: &str, now: Option<&Endpoint>) {
        if let Some(before) = self.endpoints.remove(key) {
            self.forget(&before);
        }
        if let Some(now) = now {
            self.add(now);
        }
    }

    fn add(&mut self, endpoint: &Endpoint) {
        let member = Member {
            network: endpoint.network.clone(),
            interface: endpoint.interface.clone(),
            links: endpoint.links.clone(),
        };
        let members = self.members.entry(endpoint.container.clone()).or_default();
        members.push(member);
        members.sort_by(|a, b| a.interface.cmp(&b.interface));
        if let Some(zone) = self.zones.get_mut(&endpoint.network) {
            zone.add(endpoint);
        }
        self.endpoints.insert(endpoint.key(), endpoint.clone());
    }

    fn forget(&mut self, endpoint: &Endpoint) {
        if let Some(members) = self.members.get_mut(&endpoint.container) {
            members.retain(|m| m.network != endpoint.network);
            if members.is_empty() {
                self.members.remove(&endpoint.container);
            }
        }
        if let Some(zone) = self.zones.get_mut(&endpoint.network) {
            zone.forget(endpoint);
        }
    }

    /// What a name means to a container; `None`: nothing, somebody else may know it. The list has addresses of both families.
    pub fn addresses(&self, container: &ContainerId, name: &str) -> Option<&[IpAddr]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let members = self.members.get(container)?;
        // `a.b.c` is a name on any of its networks, or `a.b` on the network `c`, or `a` on `b.c`.
        let splits = name.rmatch_indices('.').map(|(at, _)| (&name[..at], Some(&name[at + 1..])));
        [(name.as_str(), None)].into_iter().chain(splits).find_map(|(name, network)| {
            let asked = || {
                let mine = members.iter().filter_map(|m| Some((m, self.zones.get(&m.network)?)));
                mine.filter(|(_, zone)| network.is_none_or(|n| n == zone.name))
            };
            let alias = |m: &Member| m.links.iter().find(|l| l.alias.eq_ignore_ascii_case(name)).cloned();
            let linked = asked().find_map(|(m, zone)| zone.get(&alias(m)?.name.to_ascii_lowercase()));
            linked
                .or_else(|| asked().filter(|(m, _)| alias(m).is_none()).find_map(|(_, zone)| zone.get(name)))
        })
    }

    /// The full name of an address on the container's networks.
    pub fn name(&self, container: &ContainerId, address: IpAddr) -> Option<String> {
        let zones = self.members.get(container)?.iter().filter_map(|m| self.zones.get(&m.network));
        zones.into_iter().find_map(|zone| Some(format!("{}.{}", zone.names.get(&address)?, zone.name)))
    }

    /// Whether all its networks are closed (`--internal`): nothing may leave this machine for it.
    pub fn is_confined(&self, container: &ContainerId) -> bool {
        !self
            .members
            .get(container)
            .is_some_and(|members| members.iter().any(|m| self.open.contains(&m.network)))
    }
}

impl Zone {
    fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(Vec::as_slice)
    }

    fn add(&mut self, endpoint: &Endpoint) {
        for address in endpoint.addresses() {
            for name in &endpoint.dns_names {
                let known = self.addresses.entry(name.to_ascii_lowercase()).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
            if let Some(first) = endpoint.dns_names.first() {
                self.names.insert(address, first.clone());
            }
        }
    }

    fn forget(&mut self, endpoint: &Endpoint) {
        for address in endpoint.addresses() {
            for name in &endpoint.dns_names {
                let name = name.to_ascii_lowercase();
                if let Some(known) = self.addresses.get_mut(&name) {
                    known.retain(|other| *other != address);
                    if known.is_empty() {
                        self.addresses.remove(&name);
                    }
                }
            }
            self.names.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::Ipv4Addr;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn network(digit: char, name: &str, predefined: bool, internal: bool) -> Network {
        let row = json!({"id": id(digit), "name": name, "driver": "bridge", "created_nanos": 0, "predefined": predefined,
            "internal": internal, "attachable": false, "subnets": [], "options": {}, "labels": {}});
        serde_json::from_value(row).unwrap()
    }

    fn endpoint(container: char, network: &Network, interface: &str, last: u8, names: &[&str]) -> Endpoint {
        let row = json!({"id": "", "container": id(container), "container_name": names[0], "network": network.id,
            "network_name": network.name, "interface": interface, "host_interface": "", "ipv4": ip(last), "prefix": 24,
            "aliases": [], "dns_names": names, "ports": []});
        serde_json::from_value(row).unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn names_count_on_the_containers_own_networks() {
        let (front, back) = (network('1', "front", false, false), network('2', "Back.End", false, true));
        let default = network('3', "bridge", true, false);
        let mut web = endpoint('a', &front, "eth0", 2, &["web", "WWW"]);
        web.links.push(Link { name: "db2".into(), alias: "store".into() });
        web.links.push(Link { name: "nobody".into(), alias: "db".into() });
        let all = [
            web,
            endpoint('a', &back, "eth1", 3, &["web"]),
            endpoint('b', &front, "eth0", 4, &["db", "data"]),
            endpoint('c', &front, "eth0", 5, &["db2", "data"]),
            endpoint('d', &back, "eth0", 6, &["db", "deep"]),
            endpoint('e', &default, "eth0", 7, &["plain"]),
        ];
        let names = Names::new([&front, &back, &default].into_iter(), all.iter());
        let by = |c: char| ContainerId::parse(&id(c)).unwrap();
        let ask = |c: char, name: &str| names.addresses(&by(c), name).map(<[IpAddr]>::to_vec);
        assert_eq!(ask('b', "web"), Some(vec![ip(2)]));
        assert_eq!(ask('b', "wWw."), Some(vec![ip(2)]));
        assert_eq!(ask('b', "data"), Some(vec![ip(4), ip(5)]), "several containers, one name");
        assert_eq!(ask('b', "deep"), None, "it is not on that network");
        assert_eq!(ask('a', "deep"), Some(vec![ip(6)]));
        assert_eq!(ask('a', "web.back.end"), Some(vec![ip(3)]), "on one network");
        assert_eq!(ask('a', "web.other"), None);
        assert_eq!(ask('a', "store"), Some(vec![ip(5)]), "a link");
        assert_eq!(ask('b', "store"), None, "links are one container's own");
        assert_eq!(
            ask('a', "db"),
            Some(vec![ip(6)]),
            "a link that leads nowhere hides the name on its network"
        );
        assert_eq!(ask('a', "plain"), None);
        assert_eq!(ask('e', "plain"), None, "no names on the default network");
        assert_eq!(names.name(&by('b'), ip(5)).as_deref(), Some("db2.front"));
        assert_eq!(names.name(&by('b'), ip(6)), None);
        assert!(names.is_confined(&by('d')) && !names.is_confined(&by('a')) && !names.is_confined(&by('e')));
        assert!(names.is_confined(&by('f')), "nobody knows it");
    }

    #[test]
    fn following_changes_is_the_same_as_starting_anew() {
        let front = network('1', "front", false, false);
        let by = |c: char| ContainerId::parse(&id(c)).unwrap();
        let (web, db) = (
            endpoint('a', &front, "eth0", 2, &["web", "any"]),
            endpoint('b', &front, "eth0", 3, &["db", "Any"]),
        );
        let mut names = Names::new([&front].into_iter(), [&web].into_iter());
        let ask = |names: &Names, name: &str| names.addresses(&by('a'), name).map(<[IpAddr]>::to_vec);
        names.update(&db.key(), Some(&db));
        assert_eq!(ask(&names, "any"), Some(vec![ip(2), ip(3)]));
        let renamed = endpoint('b', &front, "eth0", 3, &["store"]);
        names.update(&renamed.key(), Some(&renamed));
        assert_eq!((ask(&names, "any"), ask(&names, "db")), (Some(vec![ip(2)]), None));
        assert_eq!(names.name(&by('a'), ip(3)).as_deref(), Some("store.front"));
        names.update(&renamed.key(), Some(&renamed));
        names.update(&renamed.key(), None);
        names.update(&renamed.key(), None);
        assert_eq!((ask(&names, "store"), names.name(&by('a'), ip(3))), (None, None));
        assert!(names.addresses(&by('b'), "web").is_none(), "it is on no network any more");
        let alone = Names::new([&front].into_iter(), [&web].into_iter());
        let sorted = |names: &Names| {
            let mut all: Vec<_> = names.zones.values().flat_map(|z| z.addresses.clone()).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&names), sorted(&alone));
    }
}
