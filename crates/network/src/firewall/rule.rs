//! Rules in the words of people, and their expressions.
use crate::firewall::entry;
use knarr_netlink::nft::{Compare, CtKey, Expression, Family, FibResult, Header, MetaKey, Register, Verdict};
use std::fmt::Write;

/// A condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Iif(&'static str),
    Oif(&'static str),
    /// Incoming and outgoing interface together.
    Pair(&'static str),
    /// Outgoing interface and source address together.
    OifSource(&'static str),
    /// Protocol, destination address and port together.
    Destination(&'static str),
    /// The same and the source address.
    Triple(&'static str),
    NotTriple(&'static str),
    /// The interface is no bridge of anybody's.
    IifNoBridge,
    OifNoBridge,
    SourceLoopback,
    DestinationLoopback,
    DestinationNotLoopback,
    /// The destination is an address of this host.
    DestinationLocal,
    Established,
    /// The destination was translated.
    Translated,
    /// ICMP of the family.
    Icmp,
    /// An IPv6 router introduces itself.
    RouterAdvertisement,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
    Masquerade,
    NoTrack,
    /// Source from a map of incoming interfaces.
    Source,
    /// Destination from a map of protocol, address and port.
    Published,
    /// The same without the address.
    PublishedAny,
    Ranges,
    RangesAny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub matches: Vec<Match>,
    pub action: Action,
}

pub(crate) fn rule(matches: &[Match], action: Action) -> Rule {
    Rule { matches: matches.to_vec(), action }
}

const KEY: Register = Register(0);
/// Of the destination port in TCP, UDP and SCTP alike.
const DESTINATION_PORT: u32 = 2;
const RTN_LOCAL: u32 = 2;
const ESTABLISHED_RELATED: u32 = 2 | 4;
const STATUS_DST_NAT: u32 = 0x20;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const KIND_BYTES: usize = 16;

/// Where addresses lie in the family's header, and how long they are.
struct Addresses {
    source: u32,
    destination: u32,
    len: u32,
}

fn addresses(family: Family) -> Addresses {
    match family {
        Family::Ipv6 => Addresses { source: 8, destination: 24, len: 16 },
        Family::Ipv4 | Family::Inet => Addresses { source: 12, destination: 16, len: 4 },
    }
}

/// Registers that an address fills.
fn width(family: Family) -> u8 {
    if family == Family::Ipv6 { 4 } else { 1 }
}

impl Rule {
    pub fn expressions(&self, family: Family) -> Vec<Expression> {
        let mut all: Vec<Expression> = self.matches.iter().flat_map(|m| m.expressions(family)).collect();
        all.extend(self.action.expressions(family));
        all
    }

    /// In `nft`'s language.
    pub fn text(&self, family: Family) -> String {
        let mut text = String::new();
        for condition in &self.matches {
            text.push_str(&condition.text(family));
            text.push(' ');
        }
        text.push_str(&self.action.text(family));
        text
    }
}

fn in_set(set: &'static str) -> Expression {
    Expression::Lookup { set, from: KEY, to: None, inverted: false }
}

fn meta(key: MetaKey, to: Register) -> Expression {
    Expression::Meta { key, to }
}

/// Whether the address is one of the loopback's: 127.0.0.0/8, ::1.
fn loopback(family: Family, offset: u32, op: Compare) -> Vec<Expression> {
    let value = match family {
        Family::Ipv6 => std::net::Ipv6Addr::LOCALHOST.octets().to_vec(),
        Family::Ipv4 | Family::Inet => vec![127],
    };
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    vec![
        Expression::Payload { header: Header::Network, offset, len, to: KEY },
        Expression::Compare { from: KEY, op, value },
    ]
}

fn bits(key: CtKey, mask: u32) -> Vec<Expression> {
    vec![
        Expression::Ct { key, to: KEY },
        Expression::Mask { from: KEY, to: KEY, mask: mask.to_ne_bytes().to_vec() },
        Expression::Compare { from: KEY, op: Compare::NotEqual, value: vec![0; 4] },
    ]
}

fn equal(value: Vec<u8>) -> Expression {
    Expression::Compare { from: KEY, op: Compare::Equal, value }
}

fn no_bridge(key: MetaKey) -> Vec<Expression> {
    let mut value = b"bridge".to_vec();
    value.resize(KIND_BYTES, 0);
    vec![meta(key, KEY), Expression::Compare { from: KEY, op: Compare::NotEqual, value }]
}

fn icmp(family: Family) -> (u8, &'static str) {
    if family == Family::Ipv6 { (ICMP_V6, "ipv6-icmp") } else { (ICMP, "icmp") }
}

/// Protocol, destination address unless it does not matter, and destination port, one behind the other.
fn destination(family: Family, with_address: bool) -> Vec<Expression> {
    let Addresses { destination: offset, len, .. } = addresses(family);
    let mut all = vec![meta(MetaKey::L4Proto, KEY)];
    let mut next = 1;
    if with_address {
        all.push(Expression::Payload { header: Header::Network, offset, len, to: Register(next) });
        next += width(family);
    }
    let (offset, to) = (DESTINATION_PORT, Register(next));
    all.push(Expression::Payload { header: Header::Transport, offset, len: 2, to });
    all
}

impl Match {
    fn expressions(&self, family: Family) -> Vec<Expression> {
        let at = addresses(family);
        match self {
            Match::Iif(set) => vec![meta(MetaKey::IifName, KEY), in_set(set)],
            Match::Oif(set) => vec![meta(MetaKey::OifName, KEY), in_set(set)],
            Match::Pair(set) => {
                vec![meta(MetaKey::IifName, KEY), meta(MetaKey::OifName, Register(4)), in_set(set)]
            }
            Match::OifSource(set) => vec![
                meta(MetaKey::OifName, KEY),
                Expression::Payload {
                    header: Header::Network,
                    offset: at.source,
                    len: at.len,
                    to: Register(4),
                },
                in_set(set),
            ],
            Match::Destination(set) => {
                let mut all = destination(family, true);
                all.push(in_set(set));
                all
            }
            Match::Triple(set) | Match::NotTriple(set) => {
                let inverted = matches!(self, Match::NotTriple(_));
                let mut all = destination(family, true);
                let to = Register(1 + width(family) + 1);
                all.push(Expression::Payload { header: Header::Network, offset: at.source, len: at.len, to });
                all.push(Expression::Lookup { set, from: KEY, to: None, inverted });
                all
            }
            Match::IifNoBridge => no_bridge(MetaKey::IifKind),
            Match::OifNoBridge => no_bridge(MetaKey::OifKind),
            Match::SourceLoopback => loopback(family, at.source, Compare::Equal),
            Match::DestinationLoopback => loopback(family, at.destination, Compare::Equal),
            Match::DestinationNotLoopback => loopback(family, at.destination, Compare::NotEqual),
            Match::DestinationLocal => vec![
                Expression::Fib { result: FibResult::DestinationType, to: KEY },
                equal(RTN_LOCAL.to_ne_bytes().to_vec()),
            ],
            Match::Established => bits(CtKey::State, ESTABLISHED_RELATED),
            Match::Translated => bits(CtKey::Status, STATUS_DST_NAT),
            Match::Icmp => vec![meta(MetaKey::L4Proto, KEY), equal(vec![icmp(family).0])],
            Match::RouterAdvertisement => vec![
                meta(MetaKey::L4Proto, KEY),
                equal(vec![ICMP_V6]),
                Expression::Payload { header: Header::Transport, offset: 0, len: 1, to: KEY },
                equal(vec![ROUTER_ADVERTISEMENT]),
            ],
        }
    }

    fn text(&self, family: Family) -> String {
        let ip = family.as_str();
        let loopback = if family == Family::Ipv6 { "::1" } else { "127.0.0.0/8" };
        match self {
            Match::Iif(set) => format!("iifname @{set}"),
            Match::Oif(set) => format!("oifname @{set}"),
            Match::Pair(set) => format!("iifname . oifname @{set}"),
            Match::OifSource(set) => format!("oifname . {ip} saddr @{set}"),
            Match::Destination(set) => format!("meta l4proto . {ip} daddr . th dport @{set}"),
            Match::Triple(set) => format!("meta l4proto . {ip} daddr . th dport . {ip} saddr @{set}"),
            Match::NotTriple(set) => format!("meta l4proto . {ip} daddr . th dport . {ip} saddr != @{set}"),
            Match::IifNoBridge => "meta iifkind != \"bridge\"".to_owned(),
            Match::OifNoBridge => "meta oifkind != \"bridge\"".to_owned(),
            Match::SourceLoopback => format!("{ip} saddr {loopback}"),
            Match::DestinationLoopback => format!("{ip} daddr {loopback}"),
            Match::DestinationNotLoopback => format!("{ip} daddr != {loopback}"),
            Match::DestinationLocal => "fib daddr type local".to_owned(),
            Match::Established => "ct state established,related".to_owned(),
            Match::Translated => "ct status dnat".to_owned(),
            Match::Icmp => format!("meta l4proto {}", icmp(family).1),
            Match::RouterAdvertisement => "icmpv6 type nd-router-advert".to_owned(),
        }
    }
}

impl Action {
    fn expressions(&self, family: Family) -> Vec<Expression> {
        match self {
            Action::Accept => vec![Expression::Verdict(Verdict::Accept)],
            Action::Drop => vec![Expression::Verdict(Verdict::Drop)],
            Action::Return => vec![Expression::Verdict(Verdict::Return)],
            Action::Jump(chain) => vec![Expression::Verdict(Verdict::Jump(chain))],
            Action::Masquerade => vec![Expression::Masquerade],
            Action::NoTrack => vec![Expression::NoTrack],
            Action::Source => vec![
                meta(MetaKey::IifName, KEY),
                Expression::Lookup { set: entry::SOURCES, from: KEY, to: Some(KEY), inverted: false },
                Expression::SourceNat { family, address: KEY },
            ],
            Action::Published => translate(family, entry::PUBLISHED, true, true),
            Action::PublishedAny => translate(family, entry::PUBLISHED_ANY, false, true),
            Action::Ranges => translate(family, entry::RANGES, true, false),
            Action::RangesAny => translate(family, entry::RANGES_ANY, false, false),
        }
    }

    fn text(&self, family: Family) -> String {
        let ip = family.as_str();
        let mut text = String::new();
        let translated =
            |set: &str, address: &str| format!("dnat {ip} to meta l4proto . {address}th dport map @{set}");
        let daddr = format!("{ip} daddr . ");
        match self {
            Action::Accept => text.push_str("accept"),
            Action::Drop => text.push_str("drop"),
            Action::Return => text.push_str("return"),
            Action::Jump(chain) => drop(write!(text, "jump {chain}")),
            Action::Masquerade => text.push_str("masquerade"),
            Action::NoTrack => text.push_str("notrack"),
            Action::Source => drop(write!(text, "snat {ip} to iifname map @{}", entry::SOURCES)),
            Action::Published => text.push_str(&translated(entry::PUBLISHED, &daddr)),
            Action::PublishedAny => text.push_str(&translated(entry::PUBLISHED_ANY, "")),
            Action::Ranges => text.push_str(&translated(entry::RANGES, &daddr)),
            Action::RangesAny => text.push_str(&translated(entry::RANGES_ANY, "")),
        }
        text
    }
}

/// `dnat to meta l4proto [. ip daddr] . th dport map @set`
fn translate(family: Family, set: &'static str, with_address: bool, with_port: bool) -> Vec<Expression> {
    let mut all = destination(family, with_address);
    all.push(Expression::Lookup { set, from: KEY, to: Some(KEY), inverted: false });
    let port = with_port.then(|| Register(width(family)));
    all.push(Expression::DestinationNat { family, address: KEY, port });
    all
}
