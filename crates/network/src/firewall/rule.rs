//! Rules in the words of people, and their expressions.
use crate::firewall::entry;
use knarr_netlink::nft::{Compare, CtKey, Expression, FibResult, Header, MetaKey, Register, Verdict};
use std::fmt;

/// A condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Iif(&'static str),
    Oif(&'static str),
    /// Incoming and outgoing interface together.
    Pair(&'static str),
    /// Outgoing interface and source address together.
    OifSource(&'static str),
    SourceLoopback,
    DestinationLoopback,
    DestinationNotLoopback,
    /// The destination is an address of this host.
    DestinationLocal,
    Established,
    /// The destination was translated.
    Translated,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
    Masquerade,
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
/// Offsets in an IPv4 header, and of the destination port in TCP, UDP and SCTP alike.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const DESTINATION_PORT: u32 = 2;
const LOOPBACK_NET: u8 = 127;
const RTN_LOCAL: u32 = 2;
const ESTABLISHED_RELATED: u32 = 2 | 4;
const STATUS_DST_NAT: u32 = 0x20;

impl Rule {
    pub fn expressions(&self) -> Vec<Expression> {
        let mut all: Vec<Expression> = self.matches.iter().flat_map(Match::expressions).collect();
        all.extend(self.action.expressions());
        all
    }
}

fn in_set(set: &'static str) -> Expression {
    Expression::Lookup { set, from: KEY, to: None, inverted: false }
}

fn loopback(offset: u32, op: Compare) -> Vec<Expression> {
    vec![
        Expression::Payload { header: Header::Network, offset, len: 1, to: KEY },
        Expression::Compare { from: KEY, op, value: vec![LOOPBACK_NET] },
    ]
}

fn bits(key: CtKey, mask: u32) -> Vec<Expression> {
    vec![
        Expression::Ct { key, to: KEY },
        Expression::Mask { from: KEY, to: KEY, mask: mask.to_ne_bytes().to_vec() },
        Expression::Compare { from: KEY, op: Compare::NotEqual, value: vec![0; 4] },
    ]
}

impl Match {
    fn expressions(&self) -> Vec<Expression> {
        let meta = |key, to| Expression::Meta { key, to };
        match self {
            Match::Iif(set) => vec![meta(MetaKey::IifName, KEY), in_set(set)],
            Match::Oif(set) => vec![meta(MetaKey::OifName, KEY), in_set(set)],
            Match::Pair(set) => {
                vec![meta(MetaKey::IifName, KEY), meta(MetaKey::OifName, Register(4)), in_set(set)]
            }
            Match::OifSource(set) => vec![
                meta(MetaKey::OifName, KEY),
                Expression::Payload { header: Header::Network, offset: SOURCE, len: 4, to: Register(4) },
                in_set(set),
            ],
            Match::SourceLoopback => loopback(SOURCE, Compare::Equal),
            Match::DestinationLoopback => loopback(DESTINATION, Compare::Equal),
            Match::DestinationNotLoopback => loopback(DESTINATION, Compare::NotEqual),
            Match::DestinationLocal => vec![
                Expression::Fib { result: FibResult::DestinationType, to: KEY },
                Expression::Compare {
                    from: KEY,
                    op: Compare::Equal,
                    value: RTN_LOCAL.to_ne_bytes().to_vec(),
                },
            ],
            Match::Established => bits(CtKey::State, ESTABLISHED_RELATED),
            Match::Translated => bits(CtKey::Status, STATUS_DST_NAT),
        }
    }
}

impl Action {
    fn expressions(&self) -> Vec<Expression> {
        match self {
            Action::Accept => vec![Expression::Verdict(Verdict::Accept)],
            Action::Drop => vec![Expression::Verdict(Verdict::Drop)],
            Action::Return => vec![Expression::Verdict(Verdict::Return)],
            Action::Jump(chain) => vec![Expression::Verdict(Verdict::Jump(chain))],
            Action::Masquerade => vec![Expression::Masquerade],
            Action::Published => translate(entry::PUBLISHED, true, true),
            Action::PublishedAny => translate(entry::PUBLISHED_ANY, false, true),
            Action::Ranges => translate(entry::RANGES, true, false),
            Action::RangesAny => translate(entry::RANGES_ANY, false, false),
        }
    }
}

/// `dnat to meta l4proto [. ip daddr] . th dport map @set`
fn translate(set: &'static str, with_address: bool, with_port: bool) -> Vec<Expression> {
    let mut all = vec![Expression::Meta { key: MetaKey::L4Proto, to: KEY }];
    let mut next = 1;
    if with_address {
        let to = Register(next);
        all.push(Expression::Payload { header: Header::Network, offset: DESTINATION, len: 4, to });
        next += 1;
    }
    let to = Register(next);
    all.push(Expression::Payload { header: Header::Transport, offset: DESTINATION_PORT, len: 2, to });
    all.push(Expression::Lookup { set, from: KEY, to: Some(KEY), inverted: false });
    all.push(Expression::DestinationNat { address: KEY, port: with_port.then_some(Register(1)) });
    all
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            match condition {
                Match::Iif(set) => write!(f, "iifname @{set} "),
                Match::Oif(set) => write!(f, "oifname @{set} "),
                Match::Pair(set) => write!(f, "iifname . oifname @{set} "),
                Match::OifSource(set) => write!(f, "oifname . ip saddr @{set} "),
                Match::SourceLoopback => f.write_str("ip saddr 127.0.0.0/8 "),
                Match::DestinationLoopback => f.write_str("ip daddr 127.0.0.0/8 "),
                Match::DestinationNotLoopback => f.write_str("ip daddr != 127.0.0.0/8 "),
                Match::DestinationLocal => f.write_str("fib daddr type local "),
                Match::Established => f.write_str("ct state established,related "),
                Match::Translated => f.write_str("ct status dnat "),
            }?;
        }
        match self.action {
            Action::Accept => f.write_str("accept"),
            Action::Drop => f.write_str("drop"),
            Action::Return => f.write_str("return"),
            Action::Jump(chain) => write!(f, "jump {chain}"),
            Action::Masquerade => f.write_str("masquerade"),
            Action::Published => {
                write!(f, "dnat ip to meta l4proto . ip daddr . th dport map @{}", entry::PUBLISHED)
            }
            Action::PublishedAny => {
                write!(f, "dnat ip to meta l4proto . th dport map @{}", entry::PUBLISHED_ANY)
            }
            Action::Ranges => {
                write!(f, "dnat ip to meta l4proto . ip daddr . th dport map @{}", entry::RANGES)
            }
            Action::RangesAny => write!(f, "dnat ip to meta l4proto . th dport map @{}", entry::RANGES_ANY),
        }
    }
}
