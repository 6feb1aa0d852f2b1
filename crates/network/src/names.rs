//! Who has which name on which network: what containers ask their name server for. Pure.
//!
//! As in Docker a name counts on the networks that the asking container is on, in the order in which it joined; `name.network`
//! asks one of them; a link is a name that one container alone has for another. Names are compared without regard to case.
//! Invariant: nothing of a network is told to a container that is not on it, and nothing of the predefined ones to anybody.
use crate::endpoint::{Endpoint, Link};
use crate::network::{Driver, Network};
use knarr_base::{ContainerId, NetworkId};
use std::collections::HashMap;
use std::net::IpAddr;

/// Names of all networks at one moment.
#[derive(Debug, Default)]
pub struct Names {
    zones: HashMap<NetworkId, Zone>,
    members: HashMap<ContainerId, Vec<Member>>,
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
    /// It leads out of this machine.
    leads_out: bool,
    links: Vec<Link>,
}

impl Names {
    pub fn new<'a>(
        networks: impl Iterator<Item = &'a Network>,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Self {
        let mut all = Self::default();
        let mut leading_out = HashMap::new();
        for network in networks {
            let isolated = network.internal || network.driver == Driver::Null;
            leading_out.insert(&network.id, !isolated);
            if network.is_user_defined() {
                let zone = Zone { name: network.name.to_ascii_lowercase(), ..Zone::default() };
                all.zones.insert(network.id.clone(), zone);
            }
        }
        for endpoint in endpoints {
            let member = Member {
                network: endpoint.network.clone(),
                interface: endpoint.interface.clone(),
                leads_out: leading_out.get(&endpoint.network).copied().unwrap_or(false),
                links: endpoint.links.clone(),
            };
            all.members.entry(endpoint.container.clone()).or_default().push(member);
            if let Some(zone) = all.zones.get_mut(&endpoint.network) {
                zone.add(endpoint);
            }
        }
        all.members.values_mut().for_each(|m| m.sort_by(|a, b| a.interface.cmp(&b.interface)));
        all
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
        !self.members.get(container).is_some_and(|members| members.iter().any(|m| m.leads_out))
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
}
