//! What becomes of a query: a pure function of the query and the names as they are.
//!
//! Invariant: a name that a container of the client's networks has is never asked for elsewhere, whatever the kind of record;
//! an address of the other family is "no such record", not "no such name".
use crate::message::{Answer, Code, Query, kind, reverse_address};
use knarr_base::ContainerId;
use knarr_network::Names;
use std::net::IpAddr;

#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    Reply(Code, Vec<Answer>),
    /// Other servers may know.
    Forward,
}

/// `ndots_set`: the client's `resolv.conf` has an `ndots` that somebody chose, so a name without a dot is not meant for the
/// root: it comes again with a search domain.
pub fn decide(query: &Query, names: &Names, client: &ContainerId, ndots_set: bool) -> Decision {
    let Some(name) = query.name.as_deref().filter(|name| query.is_internet() && !name.is_empty()) else {
        return Decision::Forward;
    };
    if query.kind == kind::PTR {
        let found = reverse_address(name).and_then(|ip| names.name(client, ip));
        return found.map_or(Decision::Forward, |name| Decision::Reply(Code::OK, vec![Answer::Name(name)]));
    }
    if let Some(addresses) = names.addresses(client, name) {
        let wanted = |ip: &&IpAddr| match query.kind {
            kind::A => ip.is_ipv4(),
            kind::AAAA => ip.is_ipv6(),
            kind::ANY => true,
            _ => false,
        };
        let answers = addresses.iter().filter(wanted).map(|ip| Answer::Address(*ip)).collect();
        return Decision::Reply(Code::OK, answers);
    }
    if ndots_set && matches!(query.kind, kind::A | kind::AAAA) && !name.contains('.') {
        return Decision::Reply(Code::OK, Vec::new());
    }
    Decision::Forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_network::{Endpoint, Network};
    use serde_json::json;

    fn names() -> (Names, ContainerId) {
        let id = |digit: &str| digit.repeat(64);
        let network: Network = serde_json::from_value(json!({"id": id("1"), "name": "front", "driver": "bridge",
            "created_nanos": 0, "predefined": false, "internal": false, "attachable": false, "subnets": [], "options": {},
            "labels": {}}))
        .unwrap();
        let endpoint: Endpoint = serde_json::from_value(json!({"id": "", "container": id("a"), "container_name": "web",
            "network": id("1"), "network_name": "front", "interface": "eth0", "host_interface": "", "ipv4": "10.0.0.2",
            "prefix": 24, "aliases": [], "dns_names": ["web"], "ports": []}))
        .unwrap();
        let names = Names::new([&network].into_iter(), [&endpoint].into_iter());
        (names, ContainerId::parse(&id("a")).unwrap())
    }

    fn query(name: &str, kind: u16) -> Query {
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|l| !l.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        Query::parse(&bytes).unwrap()
    }

    #[test]
    fn own_names_are_answered_and_never_forwarded() {
        let (names, client) = names();
        let ask = |name: &str, kind: u16| decide(&query(name, kind), &names, &client, false);
        let address = Answer::Address("10.0.0.2".parse().unwrap());
        for name in ["web", "WEB", "web.front"] {
            assert_eq!(ask(name, kind::A), Decision::Reply(Code::OK, vec![address.clone()]), "{name}");
        }
        let (mx, txt) = (15, 16);
        for kind in [kind::AAAA, mx, txt] {
            assert_eq!(ask("web", kind), Decision::Reply(Code::OK, vec![]), "{kind}");
        }
        let name = Answer::Name("web.front".into());
        assert_eq!(ask("2.0.0.10.in-addr.arpa", kind::PTR), Decision::Reply(Code::OK, vec![name]));
        for other in ["web.example", "db", "example.org", ""] {
            assert_eq!(ask(other, kind::A), Decision::Forward, "{other}");
        }
        assert_eq!(ask("3.0.0.10.in-addr.arpa", kind::PTR), Decision::Forward);
    }

    #[test]
    fn a_chosen_ndots_keeps_short_names_here() {
        let (names, client) = names();
        let ask = |name: &str, kind: u16| decide(&query(name, kind), &names, &client, true);
        assert_eq!(ask("db", kind::A), Decision::Reply(Code::OK, vec![]));
        assert_eq!(ask("db", 15), Decision::Forward);
        assert_eq!(ask("example.org", kind::A), Decision::Forward);
        assert!(matches!(ask("web", kind::A), Decision::Reply(_, answers) if answers.len() == 1));
    }
}
