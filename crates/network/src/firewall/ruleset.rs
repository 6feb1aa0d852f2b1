//! From networks and endpoints to the table. Pure.
//!
//! * Containers leave under the host's address, and answers come back.
//! * Nobody outside reaches a container but through a published port; networks do not reach each other.
//! * A published port is reached from outside, from the host itself (127.0.0.1 too) and from containers.
//! * Bridges let packets from 127.0.0.0/8 through for that (`route_localnet`), so what a container sends to or from
//!   such addresses is dropped before anything else sees it (CVE-2020-8558).
use crate::firewall::entry::{self, Entry};
use crate::firewall::rule::{Action, Match, rule};
use crate::firewall::table::Table;
use crate::port::{Protocol, PublishedPort};
use ipnet::Ipv4Net;
use knarr_netlink::nft::{ChainKind, ChainSpec, Field, Hook, HookSpec, Policy, SetSpec};
use std::net::{IpAddr, Ipv4Addr};

/// `raw`, `dstnat`, `filter` and `srcnat` of `nft`.
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeFacts {
    pub name: String,
    pub subnets: Vec<Ipv4Net>,
    pub icc: bool,
    pub internal: bool,
    pub masquerade: bool,
}

impl BridgeFacts {
    pub fn entries(&self) -> Vec<Entry> {
        let mut all = vec![Entry::Bridge(self.name.clone())];
        all.extend(self.subnets.iter().map(|net| Entry::Inside(self.name.clone(), *net)));
        all.extend(self.icc.then(|| Entry::Icc(self.name.clone())));
        all.extend(self.internal.then(|| Entry::Internal(self.name.clone())));
        all.extend(self.masquerade.then(|| Entry::Masqueraded(self.name.clone())));
        all
    }
}

/// Published ports of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortFacts {
    pub ip: Ipv4Addr,
    pub ports: Vec<PublishedPort>,
    /// For people who read the ruleset.
    pub owner: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub engine_id: String,
    pub bridges: Vec<BridgeFacts>,
    pub ports: Vec<PortFacts>,
}

/// Name of the engine's table.
pub(crate) fn table_name(engine_id: &str) -> String {
    format!("knarr-{engine_id}")
}

pub(crate) fn ruleset(facts: &Facts) -> Table {
    let mut entries: Vec<Entry> = facts.bridges.iter().flat_map(BridgeFacts::entries).collect();
    entries.extend(facts.ports.iter().flat_map(port_entries));
    Table { name: table_name(&facts.engine_id), sets: sets(), entries, chains: chains() }
}

/// Elements for an endpoint's ports. Runs of ports that are the same on both sides become one range.
pub(crate) fn port_entries(facts: &PortFacts) -> Vec<Entry> {
    let mut ports: Vec<&PublishedPort> = facts.ports.iter().filter(|p| p.host_ip.is_ipv4()).collect();
    ports.sort_by_key(|p| (p.protocol, p.host_ip, p.host_port, p.container_port));
    let mut entries: Vec<Entry> = Vec::new();
    let mut run: Option<(Protocol, IpAddr, u16, u16)> = None;
    let owner = &facts.owner;
    let finish = |run: Option<(Protocol, IpAddr, u16, u16)>, entries: &mut Vec<Entry>| {
        let Some((protocol, host, begin, end)) = run else { return };
        let (host_ip, owner, ip) = (bound_address(host), owner.clone(), facts.ip);
        entries.push(if begin == end {
            Entry::Port { protocol, host_ip, host_port: begin, ip, port: begin, owner }
        } else {
            Entry::Range { protocol, host_ip, begin, end, ip, owner }
        });
    };
    for p in ports {
        match &mut run {
            Some((protocol, host, _, end))
                if p.host_port == p.container_port
                    && (*protocol, *host) == (p.protocol, p.host_ip)
                    && end.checked_add(1) == Some(p.host_port) =>
            {
                *end = p.host_port;
            }
            _ if p.host_port == p.container_port => {
                let next = Some((p.protocol, p.host_ip, p.host_port, p.host_port));
                finish(std::mem::replace(&mut run, next), &mut entries);
            }
            _ => entries.push(Entry::Port {
                protocol: p.protocol,
                host_ip: bound_address(p.host_ip),
                host_port: p.host_port,
                ip: facts.ip,
                port: p.container_port,
                owner: owner.clone(),
            }),
        }
    }
    finish(run, &mut entries);
    entries
}

/// The address in a map's key; `None`: any of the host's.
fn bound_address(host: IpAddr) -> Option<Ipv4Addr> {
    match host {
        IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

fn sets() -> Vec<SetSpec> {
    use Field::{IfName, InetProto, InetService, Ipv4Addr as Address};
    let set = |name, key: &[Field], data: &[Field], interval| SetSpec {
        name,
        key: key.to_vec(),
        data: data.to_vec(),
        interval,
    };
    vec![
        set(entry::BRIDGES, &[IfName], &[], false),
        set(entry::INSIDE, &[IfName, Address], &[], true),
        set(entry::ICC, &[IfName, IfName], &[], false),
        set(entry::INTERNAL, &[IfName], &[], false),
        set(entry::MASQUERADED, &[IfName], &[], false),
        set(entry::PUBLISHED, &[InetProto, Address, InetService], &[Address, InetService], false),
        set(entry::PUBLISHED_ANY, &[InetProto, InetService], &[Address, InetService], false),
        set(entry::RANGES, &[InetProto, Address, InetService], &[Address], true),
        set(entry::RANGES_ANY, &[InetProto, InetService], &[Address], true),
    ]
}

fn base(name: &'static str, kind: ChainKind, hook: Hook, priority: i32) -> ChainSpec {
    ChainSpec { name, hook: Some(HookSpec { kind, hook, priority, policy: Policy::Accept }) }
}

fn chains() -> Vec<(ChainSpec, Vec<crate::firewall::rule::Rule>)> {
    use Match::{
        DestinationLocal, DestinationLoopback, DestinationNotLoopback, Established, Iif, Oif, OifSource,
        Pair, SourceLoopback, Translated,
    };
    let bridges = entry::BRIDGES;
    vec![
        (
            base("martians", ChainKind::Filter, Hook::Prerouting, PRIORITY_RAW),
            vec![
                rule(&[Iif(bridges), DestinationLoopback], Action::Drop),
                rule(&[Iif(bridges), SourceLoopback], Action::Drop),
            ],
        ),
        (
            ChainSpec { name: "ports", hook: None },
            vec![
                rule(&[], Action::Published),
                rule(&[], Action::PublishedAny),
                rule(&[], Action::Ranges),
                rule(&[], Action::RangesAny),
            ],
        ),
        (
            base("prerouting", ChainKind::Nat, Hook::Prerouting, PRIORITY_DSTNAT),
            vec![rule(&[DestinationNotLoopback, DestinationLocal], Action::Jump("ports"))],
        ),
        (
            base("output", ChainKind::Nat, Hook::Output, PRIORITY_DSTNAT),
            vec![rule(&[DestinationLocal], Action::Jump("ports"))],
        ),
        (
            base("forward", ChainKind::Filter, Hook::Forward, PRIORITY_FILTER),
            vec![
                rule(&[Established], Action::Accept),
                rule(&[Pair(entry::ICC)], Action::Accept),
                rule(&[Iif(entry::INTERNAL)], Action::Drop),
                rule(&[Oif(entry::INTERNAL)], Action::Drop),
                rule(&[Oif(bridges), Translated], Action::Accept),
                rule(&[Oif(bridges)], Action::Drop),
            ],
        ),
        (
            base("postrouting", ChainKind::Nat, Hook::Postrouting, PRIORITY_SRCNAT),
            vec![
                rule(&[Oif(bridges), SourceLoopback], Action::Masquerade),
                // To a neighbour through the host: answers must come back the same way. (The incoming interface is
                // not known here when the bridge itself calls the firewall.)
                rule(&[OifSource(entry::INSIDE), Translated], Action::Masquerade),
                rule(&[Oif(bridges)], Action::Return),
                rule(&[Iif(entry::MASQUERADED)], Action::Masquerade),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> PublishedPort {
        PublishedPort { protocol, container_port, host_ip: host.parse().unwrap(), host_port }
    }

    #[test]
    fn the_whole_table() {
        let facts = Facts {
            engine_id: "0a1b".into(),
            bridges: vec![
                BridgeFacts {
                    name: "knarr0".into(),
                    subnets: vec!["172.17.0.0/16".parse().unwrap()],
                    icc: true,
                    internal: false,
                    masquerade: true,
                },
                BridgeFacts {
                    name: "br-vault".into(),
                    subnets: vec!["172.18.0.0/16".parse().unwrap()],
                    icc: false,
                    internal: true,
                    masquerade: false,
                },
            ],
            ports: vec![PortFacts {
                ip: [172, 17, 0, 2].into(),
                ports: vec![
                    port(Protocol::Tcp, "0.0.0.0", 8080, 80),
                    port(Protocol::Udp, "127.0.0.1", 53, 53),
                ],
                owner: "0123456789ab".into(),
            }],
        };
        insta::assert_snapshot!(ruleset(&facts).to_string());
    }

    #[test]
    fn runs_of_equal_ports_become_ranges() {
        let any = "0.0.0.0";
        let mut ports: Vec<PublishedPort> = (100..110).map(|p| port(Protocol::Tcp, any, p, p)).collect();
        ports.extend([
            port(Protocol::Tcp, any, 111, 111),
            port(Protocol::Tcp, "10.0.0.1", 112, 112),
            port(Protocol::Tcp, any, 200, 300),
            port(Protocol::Tcp, any, 201, 301),
            port(Protocol::Udp, any, 100, 100),
            port(Protocol::Tcp, any, 65535, 65535),
            port(Protocol::Tcp, any, 65534, 65534),
        ]);
        ports.reverse();
        let facts = PortFacts { ip: [172, 17, 0, 2].into(), ports, owner: "c".into() };
        let texts: Vec<String> = port_entries(&facts).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(texts.join("\n"), @r#"
        tcp . 100-109 comment "c" : 172.17.0.2
        tcp . 200 comment "c" : 172.17.0.2 . 300
        tcp . 201 comment "c" : 172.17.0.2 . 301
        tcp . 111 comment "c" : 172.17.0.2 . 111
        tcp . 65534-65535 comment "c" : 172.17.0.2
        tcp . 10.0.0.1 . 112 comment "c" : 172.17.0.2 . 112
        udp . 100 comment "c" : 172.17.0.2 . 100
        "#);
    }
}
