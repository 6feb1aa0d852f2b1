//! From networks and endpoints to the tables. Pure.
//!
//! * Containers leave under the host's address, and answers come back.
//! * Nobody outside reaches a container but through a published port; networks do not reach each other.
//! * A published port is reached from outside, from the host itself (127.0.0.1 too) and from containers.
//! * Bridges let packets from 127.0.0.0/8 through for that (`route_localnet`), so what a container sends to or from
//!   such addresses is dropped before anything else sees it (CVE-2020-8558).
//! * A container is no IPv6 router of the host's (CVE-2020-13401).
//! * A port that is published for some senders only is not there for others, be they outside or containers. The host itself
//!   is always let through: what it sends does not pass `prerouting`.
//! * A network's further bridges are switches: what they forward passes here only where bridges call the firewall, is let
//!   through there, and followed no sooner than at the network's own bridge. To the host itself they lead nobody.
//! * If it was the engine that turned forwarding on, then the host forwards for bridges only: its other interfaces are as far
//!   apart as before, and nobody outside reaches what is behind bridges that were there already, but by ports that their owners
//!   publish.
use crate::firewall::entry::{self, Entry, Kind, Placed};
use crate::firewall::rule::{Action, Match, Rule, rule};
use crate::firewall::table::Table;
use crate::option::GatewayMode;
use crate::port::{Protocol, PublishedPort};
use crate::scope::Scope;
use ipnet::IpNet;
use knarr_netlink::nft::{ChainKind, ChainSpec, Family, Field, Hook, HookSpec, Policy, SetSpec};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// `raw`, `dstnat`, `filter` and `srcnat` of `nft`.
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

/// One family of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FamilyFacts {
    pub family: Family,
    pub subnet: IpNet,
    pub mode: GatewayMode,
    pub masquerade: bool,
    /// What packets leave under in place of the host's address there.
    pub source: Option<IpAddr>,
    /// Published ports are reached by containers' own addresses from everywhere outside.
    pub direct: bool,
}

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeFacts {
    pub name: String,
    pub families: Vec<FamilyFacts>,
    pub icc: bool,
    pub internal: bool,
    /// Its further bridges.
    pub segments: Vec<String>,
    /// The same as `direct` for some interfaces of the host.
    pub trusted: Vec<String>,
}

impl BridgeFacts {
    pub fn entries(&self) -> Vec<Placed> {
        self.families.iter().flat_map(|f| self.of_family(f).into_iter().map(|e| (f.family, e))).collect()
    }

    fn of_family(&self, facts: &FamilyFacts) -> Vec<Entry> {
        let name = || self.name.clone();
        let mut all = vec![Entry::Name(Kind::Bridge, name()), Entry::Inside(name(), facts.subnet)];
        all.extend(self.icc.then(|| Entry::Icc(name())));
        // Ports that are kept apart are the bridges' own business.
        all.extend(
            self.segments.iter().flat_map(|segment| {
                [Entry::Name(Kind::Segment, segment.clone()), Entry::Icc(segment.clone())]
            }),
        );
        if self.internal {
            all.push(Entry::Name(Kind::Internal, name()));
            return all;
        }
        match (facts.masquerade, facts.source) {
            (true, Some(source)) => all.push(Entry::Source(name(), source)),
            (true, None) => all.push(Entry::Name(Kind::Masqueraded, name())),
            (false, _) => {}
        }
        match facts.mode {
            GatewayMode::Routed => all.push(Entry::Name(Kind::Routed, name())),
            GatewayMode::Unprotected => all.push(Entry::Name(Kind::Unprotected, name())),
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        all.extend(
            (facts.direct || facts.mode == GatewayMode::Routed).then(|| Entry::Name(Kind::Direct, name())),
        );
        all.extend(self.trusted.iter().map(|from| Entry::Trusted(from.clone(), name())));
        all
    }
}

/// Published ports of one endpoint in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortFacts {
    pub family: Family,
    pub ip: IpAddr,
    /// All of the family; those without a host port are only opened.
    pub ports: Vec<PublishedPort>,
    /// Whether somebody may reach them by the container's own address.
    pub opened: bool,
    /// For people who read the ruleset.
    pub owner: String,
}

/// A container that reaches a port of another one on its network, where others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    pub from: Ipv4Addr,
    pub protocol: Protocol,
    pub to: Ipv4Addr,
    pub port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub engine_id: String,
    pub bridges: Vec<BridgeFacts>,
    pub ports: Vec<PortFacts>,
    pub links: Vec<LinkFacts>,
    /// Families in which the engine turned forwarding on, for bridges alone.
    pub closed: Vec<Family>,
    /// Other programs' bridges that were there then.
    pub closed_bridges: Vec<String>,
}

/// Name of the engine's tables.
pub(crate) fn table_name(engine_id: &str) -> String {
    format!("knarr-{engine_id}")
}

/// The table of IPv4, and the one of IPv6 when there is anything for it.
pub(crate) fn ruleset(facts: &Facts) -> Vec<Table> {
    let mut entries: Vec<Placed> = facts.bridges.iter().flat_map(BridgeFacts::entries).collect();
    entries.extend(facts.ports.iter().flat_map(port_entries));
    entries.extend(facts.links.iter().map(|l| {
        let entry =
            Entry::Linked { protocol: l.protocol, to: l.to.into(), port: l.port, from: l.from.into() };
        (Family::Ipv4, entry)
    }));
    for family in &facts.closed {
        let names = facts.closed_bridges.iter().cloned();
        entries.extend(names.map(|name| (*family, Entry::Name(Kind::Closed, name))));
    }
    let needed = |family: &Family| {
        *family == Family::Ipv4 || facts.closed.contains(family) || entries.iter().any(|(f, _)| f == family)
    };
    let segmented = facts.bridges.iter().any(|b| !b.segments.is_empty());
    let parts = |family| Parts {
        closed: facts.closed.contains(&family),
        segmented,
        linked: family == Family::Ipv4 && !facts.links.is_empty(),
    };
    let families = [Family::Ipv4, Family::Ipv6].into_iter().filter(needed);
    let table = |family| Table {
        family,
        name: table_name(&facts.engine_id),
        sets: sets(family, parts(family)),
        entries: entries.iter().filter(|(f, _)| *f == family).map(|(_, e)| e.clone()).collect(),
        chains: chains(family, parts(family)),
    };
    families.map(table).collect()
}

/// Elements for an endpoint's ports. Runs of ports that are the same on both sides become one range.
pub(crate) fn port_entries(facts: &PortFacts) -> Vec<Placed> {
    let mut ports: Vec<&PublishedPort> = facts.ports.iter().filter(|p| p.host_port != 0).collect();
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
    entries.extend(limits(facts));
    entries.extend(opened(facts));
    entries.into_iter().map(|entry| (facts.family, entry)).collect()
}

/// Neighbouring ports of which the same is to be said.
struct Run<T> {
    what: T,
    begin: u16,
    end: u16,
}

fn runs<T: PartialEq>(ports: impl IntoIterator<Item = (T, u16)>) -> Vec<Run<T>> {
    let mut runs: Vec<Run<T>> = Vec::new();
    for (what, port) in ports {
        match runs.last_mut() {
            Some(run) if run.what == what && run.end.checked_add(1) == Some(port) => run.end = port,
            _ => runs.push(Run { what, begin: port, end: port }),
        }
    }
    runs
}

/// Ports of the host that are not for everybody, and who they are for.
fn limits(facts: &PortFacts) -> Vec<Entry> {
    let ipv4 = facts.family == Family::Ipv4;
    let limited = facts.ports.iter().filter(|p| p.host_port != 0 && !p.scope.is_any());
    let mut ports: Vec<_> = limited.map(|p| ((p.protocol, p.host_ip, &p.scope), p.host_port)).collect();
    ports.sort_unstable();
    let mut entries = Vec::new();
    for Run { what: (protocol, host_ip, scope), begin, end } in runs(ports) {
        let host = match bound_address(host_ip) {
            Some(ip) => ip.into(),
            None => knarr_netlink::route::everything(ipv4),
        };
        let owner = || facts.owner.clone();
        entries.push(Entry::Limited { protocol, host, begin, end, owner: owner() });
        let sources = scope.limits(ipv4).into_iter().flatten();
        entries.extend(sources.map(|source| Entry::Allowed {
            protocol,
            host,
            begin,
            end,
            source,
            owner: owner(),
        }));
    }
    entries
}

/// The container's own ports, in runs.
fn opened(facts: &PortFacts) -> Vec<Entry> {
    if !facts.opened {
        return Vec::new();
    }
    let ipv4 = facts.family == Family::Ipv4;
    // Published twice, it is for whoever one of the two is for.
    let mut scopes: BTreeMap<(Protocol, u16), Scope> = BTreeMap::new();
    for p in &facts.ports {
        let known = scopes.entry((p.protocol, p.container_port));
        known.and_modify(|scope| *scope = scope.or(&p.scope)).or_insert_with(|| p.scope.clone());
    }
    let ports = scopes.iter().map(|((protocol, port), scope)| ((*protocol, scope), *port));
    let mut entries = Vec::new();
    for Run { what: (protocol, scope), begin, end } in runs(ports) {
        let (ip, owner) = (facts.ip, || facts.owner.clone());
        match scope.limits(ipv4) {
            None => entries.push(Entry::Opened { protocol, ip, begin, end, owner: owner() }),
            Some(sources) => entries.extend(sources.map(|source| Entry::OpenedFrom {
                protocol,
                ip,
                begin,
                end,
                source,
                owner: owner(),
            })),
        }
    }
    entries
}

/// The address in a map's key; `None`: any of the host's.
fn bound_address(host: IpAddr) -> Option<IpAddr> {
    (!host.is_unspecified()).then_some(host)
}

/// What is there only when it is needed.
#[derive(Debug, Clone, Copy)]
struct Parts {
    closed: bool,
    segmented: bool,
    linked: bool,
}

fn sets(family: Family, parts: Parts) -> Vec<SetSpec> {
    use Field::{IfName, InetProto, InetService};
    let address = if family == Family::Ipv6 { Field::Ipv6Addr } else { Field::Ipv4Addr };
    let set = |name, key: &[Field], data: &[Field], interval| SetSpec {
        name,
        key: key.to_vec(),
        data: data.to_vec(),
        interval,
    };
    let mut all = vec![
        set(entry::BRIDGES, &[IfName], &[], false),
        set(entry::INSIDE, &[IfName, address], &[], true),
        set(entry::ICC, &[IfName, IfName], &[], false),
        set(entry::INTERNAL, &[IfName], &[], false),
        set(entry::MASQUERADED, &[IfName], &[], false),
        set(entry::SOURCES, &[IfName], &[address], false),
        set(entry::ROUTED, &[IfName], &[], false),
        set(entry::UNPROTECTED, &[IfName], &[], false),
        set(entry::DIRECT, &[IfName], &[], false),
        set(entry::TRUSTED, &[IfName, IfName], &[], false),
        set(entry::OPENED, &[InetProto, address, InetService], &[], true),
        set(entry::OPENED_FROM, &[InetProto, address, InetService, address], &[], true),
        set(entry::LIMITED, &[InetProto, address, InetService], &[], true),
        set(entry::ALLOWED, &[InetProto, address, InetService, address], &[], true),
        set(entry::PUBLISHED, &[InetProto, address, InetService], &[address, InetService], false),
        set(entry::PUBLISHED_ANY, &[InetProto, InetService], &[address, InetService], false),
        set(entry::RANGES, &[InetProto, address, InetService], &[address], true),
        set(entry::RANGES_ANY, &[InetProto, InetService], &[address], true),
    ];
    if parts.linked {
        all.push(set(entry::LINKED, &[InetProto, address, InetService, address], &[], false));
    }
    if parts.closed {
        all.push(set(entry::CLOSED, &[IfName], &[], false));
    }
    if parts.segmented {
        all.push(set(entry::SEGMENTS, &[IfName], &[], false));
    }
    all
}

fn base(name: &'static str, kind: ChainKind, hook: Hook, priority: i32) -> ChainSpec {
    ChainSpec { name, hook: Some(HookSpec { kind, hook, priority, policy: Policy::Accept }) }
}

fn chains(family: Family, parts: Parts) -> Vec<(ChainSpec, Vec<Rule>)> {
    use Match::{
        Destination, DestinationLocal, DestinationNotLoopback, Iif, NotTriple, Oif, OifSource,
        SourceLoopback, Translated,
    };
    let bridges = entry::BRIDGES;
    let four = family == Family::Ipv4;
    let mut postrouting = vec![
        // To a neighbour through the host: answers must come back the same way. (The incoming interface is
        // not known here when the bridge itself calls the firewall.)
        rule(&[OifSource(entry::INSIDE), Translated], Action::Masquerade),
        rule(&[Oif(bridges)], Action::Return),
        rule(&[], Action::Source),
        rule(&[Iif(entry::MASQUERADED)], Action::Masquerade),
    ];
    if four {
        postrouting.insert(0, rule(&[Oif(bridges), SourceLoopback], Action::Masquerade));
    }
    // The kernel takes no answer to ::1 from a bridge, so what goes there stays with the host.
    let output = match four {
        true => rule(&[DestinationLocal], Action::Jump("ports")),
        false => rule(&[DestinationNotLoopback, DestinationLocal], Action::Jump("ports")),
    };
    let mut all = vec![
        guard(four, parts.segmented),
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
            vec![
                rule(
                    &[Destination(entry::LIMITED), NotTriple(entry::ALLOWED), DestinationLocal],
                    Action::Drop,
                ),
                rule(&[DestinationNotLoopback, DestinationLocal], Action::Jump("ports")),
            ],
        ),
        (base("output", ChainKind::Nat, Hook::Output, PRIORITY_DSTNAT), vec![output]),
        (base("forward", ChainKind::Filter, Hook::Forward, PRIORITY_FILTER), forward(parts)),
        (base("postrouting", ChainKind::Nat, Hook::Postrouting, PRIORITY_SRCNAT), postrouting),
    ];
    if parts.segmented {
        let input = base("input", ChainKind::Filter, Hook::Input, PRIORITY_FILTER);
        all.push((input, vec![rule(&[Iif(entry::SEGMENTS)], Action::Drop)]));
    }
    all
}

/// What containers may not even say to the host.
fn guard(four: bool, segmented: bool) -> (ChainSpec, Vec<Rule>) {
    use Match::{DestinationLoopback, Iif, RouterAdvertisement, SourceLoopback};
    let bridges = entry::BRIDGES;
    let chain = base("martians", ChainKind::Filter, Hook::Prerouting, PRIORITY_RAW);
    let mut rules = match four {
        true => vec![
            rule(&[Iif(bridges), DestinationLoopback], Action::Drop),
            rule(&[Iif(bridges), SourceLoopback], Action::Drop),
        ],
        // The kernel itself takes no ::1 from a wire.
        false => vec![rule(&[Iif(bridges), RouterAdvertisement], Action::Drop)],
    };
    if segmented {
        rules.push(rule(&[Iif(entry::SEGMENTS)], Action::NoTrack));
    }
    (chain, rules)
}

fn forward(parts: Parts) -> Vec<Rule> {
    use Match::{
        Destination, Established, Icmp, Iif, IifNoBridge, Oif, OifNoBridge, Pair, Translated, Triple,
    };
    let bridges = entry::BRIDGES;
    let mut rules = vec![
        rule(&[Established], Action::Accept),
        rule(&[Pair(entry::ICC)], Action::Accept),
        rule(&[Iif(entry::INTERNAL)], Action::Drop),
        rule(&[Oif(entry::INTERNAL)], Action::Drop),
        rule(&[Oif(bridges), Translated], Action::Accept),
        rule(&[Oif(entry::ROUTED), Icmp], Action::Accept),
        rule(&[Oif(entry::ROUTED), Destination(entry::OPENED)], Action::Accept),
        rule(&[Oif(entry::ROUTED), Triple(entry::OPENED_FROM)], Action::Accept),
        rule(&[Iif(bridges), Oif(bridges)], Action::Drop),
        rule(&[Oif(entry::UNPROTECTED)], Action::Accept),
        rule(&[Oif(entry::DIRECT), Destination(entry::OPENED)], Action::Accept),
        rule(&[Oif(entry::DIRECT), Triple(entry::OPENED_FROM)], Action::Accept),
        rule(&[Pair(entry::TRUSTED), Destination(entry::OPENED)], Action::Accept),
        rule(&[Pair(entry::TRUSTED), Triple(entry::OPENED_FROM)], Action::Accept),
        rule(&[Oif(bridges)], Action::Drop),
    ];
    if parts.linked {
        rules.insert(2, rule(&[Triple(entry::LINKED)], Action::Accept));
    }
    if parts.segmented {
        rules.insert(2, rule(&[Iif(entry::SEGMENTS)], Action::Drop));
    }
    if parts.closed {
        rules.push(rule(&[Iif(bridges)], Action::Accept));
        // Bridges of other engines and programs are their owners' business, but for those that were there before: what is
        // behind them was out of reach, and still is unless the owner publishes a port.
        rules.push(rule(&[IifNoBridge, OifNoBridge], Action::Drop));
        rules.push(rule(&[Oif(entry::CLOSED), Translated], Action::Accept));
        rules.push(rule(&[IifNoBridge, Oif(entry::CLOSED)], Action::Drop));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> PublishedPort {
        let host_ip = host.parse().unwrap();
        PublishedPort { protocol, container_port, host_ip, host_port, scope: Scope::Any }
    }

    fn family(subnet: &str, mode: GatewayMode) -> FamilyFacts {
        let subnet: IpNet = subnet.parse().unwrap();
        let family = if subnet.addr().is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        FamilyFacts { family, subnet, mode, masquerade: mode.is_translated(), source: None, direct: false }
    }

    fn bridge(name: &str, families: Vec<FamilyFacts>) -> BridgeFacts {
        BridgeFacts {
            name: name.into(),
            families,
            icc: true,
            internal: false,
            segments: Vec::new(),
            trusted: Vec::new(),
        }
    }

    fn ports(ip: &str, ports: Vec<PublishedPort>, opened: bool) -> PortFacts {
        let ip: IpAddr = ip.parse().unwrap();
        let family = if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        PortFacts { family, ip, ports, opened, owner: "0123456789ab".into() }
    }

    fn text(facts: &Facts) -> String {
        ruleset(facts).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_whole_table() {
        let facts = Facts {
            engine_id: "0a1b".into(),
            bridges: vec![
                bridge("knarr0", vec![family("172.17.0.0/16", GatewayMode::Nat)]),
                BridgeFacts {
                    icc: false,
                    internal: true,
                    ..bridge("br-vault", vec![family("172.18.0.0/16", GatewayMode::Nat)])
                },
            ],
            ports: vec![ports(
                "172.17.0.2",
                vec![port(Protocol::Tcp, "0.0.0.0", 8080, 80), port(Protocol::Udp, "127.0.0.1", 53, 53)],
                false,
            )],
            ..Facts::default()
        };
        insta::assert_snapshot!(text(&facts));
    }

    fn only(port: PublishedPort, sources: &str) -> PublishedPort {
        PublishedPort { scope: Scope::parse(sources.split('+')).unwrap(), ..port }
    }

    /// Ports for some senders, in both families, translated and opened.
    #[test]
    fn sources() {
        let any = |host_port, port_| port(Protocol::Tcp, "0.0.0.0", host_port, port_);
        let four = vec![
            any(80, 80),
            only(any(443, 443), "10.0.0.0/8+192.0.2.7+fd00::/8"),
            only(port(Protocol::Udp, "198.51.100.1", 53, 53), "10.0.0.0/8"),
            only(any(8443, 443), "172.16.0.0/12"),
            only(any(9000, 9000), "loopback"),
            only(any(9001, 9001), "loopback"),
        ];
        let six = vec![
            only(port(Protocol::Tcp, "::", 443, 443), "10.0.0.0/8+192.0.2.7+fd00::/8"),
            only(port(Protocol::Sctp, "2001:db8::1", 7, 7), "2001:db8::/32"),
        ];
        let facts = Facts {
            engine_id: "0a1b".into(),
            bridges: vec![bridge(
                "br-dual",
                vec![family("10.1.0.0/24", GatewayMode::Nat), family("fd00:1::/64", GatewayMode::Routed)],
            )],
            ports: vec![ports("10.1.0.2", four, true), ports("fd00:1::2", six, true)],
            ..Facts::default()
        };
        insta::assert_snapshot!(text(&facts));
    }

    /// Every mode of the gateway, in both families; forwarding that the engine turned on.
    #[test]
    fn both_families_and_every_mode() {
        let nat = FamilyFacts {
            source: Some("192.0.2.9".parse().unwrap()),
            ..family("10.1.0.0/24", GatewayMode::Nat)
        };
        let facts = Facts {
            engine_id: "0a1b".into(),
            bridges: vec![
                BridgeFacts {
                    trusted: vec!["eth1".into()],
                    ..bridge("br-dual", vec![nat, family("fd00:1::/64", GatewayMode::Routed)])
                },
                bridge("br-open", vec![family("10.2.0.0/24", GatewayMode::Unprotected)]),
                bridge(
                    "br-direct",
                    vec![FamilyFacts { direct: true, ..family("10.3.0.0/24", GatewayMode::Nat) }],
                ),
            ],
            ports: vec![
                ports("10.1.0.2", vec![port(Protocol::Tcp, "0.0.0.0", 8080, 80)], true),
                ports(
                    "fd00:1::2",
                    vec![
                        port(Protocol::Tcp, "::", 0, 80),
                        port(Protocol::Tcp, "::", 0, 81),
                        port(Protocol::Udp, "::", 0, 81),
                    ],
                    true,
                ),
            ],
            closed: vec![Family::Ipv4, Family::Ipv6],
            closed_bridges: vec!["virbr0".into()],
            ..Facts::default()
        };
        insta::assert_snapshot!(text(&facts));
    }

    /// Only what differs from a network of one bridge.
    #[test]
    fn several_bridges() {
        let one = Facts {
            engine_id: "0a1b".into(),
            bridges: vec![bridge("br-large", vec![family("10.1.0.0/16", GatewayMode::Nat)])],
            ..Facts::default()
        };
        let mut several = one.clone();
        several.bridges[0].icc = false;
        several.bridges[0].segments = vec!["kb01".into(), "kb02".into()];
        let (before, after) = (text(&one), text(&several));
        let new = after.lines().filter(|line| !before.contains(line));
        insta::assert_snapshot!(new.collect::<Vec<_>>().join("\n"));
        let forward = after.split("chain forward").nth(1).unwrap().lines().skip(2).take(4);
        insta::assert_snapshot!(forward.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn links() {
        let link = LinkFacts {
            from: "10.1.0.3".parse().unwrap(),
            protocol: Protocol::Tcp,
            to: "10.1.0.2".parse().unwrap(),
            port: 5432,
        };
        let mut facts = Facts { engine_id: "0a1b".into(), ..Facts::default() };
        let before = text(&facts);
        facts.links = vec![link];
        let after = text(&facts);
        let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).map(str::trim).collect();
        let expected = [
            "set linked {",
            "type inet_proto . ipv4_addr . inet_service . ipv4_addr",
            "elements = { tcp . 10.1.0.2 . 5432 . 10.1.0.3 }",
            "meta l4proto . ip daddr . th dport . ip saddr @linked accept",
        ];
        let expected = expected.into_iter().filter(|line| !before.contains(line));
        assert_eq!(new, expected.collect::<Vec<_>>());
    }

    #[test]
    fn runs_of_equal_ports_become_ranges() {
        let any = "0.0.0.0";
        let mut list: Vec<PublishedPort> = (100..110).map(|p| port(Protocol::Tcp, any, p, p)).collect();
        list.extend([
            port(Protocol::Tcp, any, 111, 111),
            port(Protocol::Tcp, "10.0.0.1", 112, 112),
            port(Protocol::Tcp, any, 200, 300),
            port(Protocol::Tcp, any, 201, 301),
            port(Protocol::Udp, any, 100, 100),
            port(Protocol::Tcp, any, 65535, 65535),
            port(Protocol::Tcp, any, 65534, 65534),
        ]);
        list.reverse();
        let facts = PortFacts { owner: "c".into(), ..ports("172.17.0.2", list, true) };
        let texts: Vec<String> = port_entries(&facts).iter().map(|(_, e)| e.to_string()).collect();
        insta::assert_snapshot!(texts.join("\n"), @r#"
        tcp . 100-109 comment "c" : 172.17.0.2
        tcp . 200 comment "c" : 172.17.0.2 . 300
        tcp . 201 comment "c" : 172.17.0.2 . 301
        tcp . 111 comment "c" : 172.17.0.2 . 111
        tcp . 65534-65535 comment "c" : 172.17.0.2
        tcp . 10.0.0.1 . 112 comment "c" : 172.17.0.2 . 112
        udp . 100 comment "c" : 172.17.0.2 . 100
        tcp . 172.17.0.2 . 100-109 comment "c"
        tcp . 172.17.0.2 . 111-112 comment "c"
        tcp . 172.17.0.2 . 300-301 comment "c"
        tcp . 172.17.0.2 . 65534-65535 comment "c"
        udp . 172.17.0.2 . 100 comment "c"
        "#);
    }
}
