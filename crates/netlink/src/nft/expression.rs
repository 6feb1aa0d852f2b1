//! Expressions: the small instructions that a rule is made of.
use super::Family;
use super::set::ifname;
use crate::Request;

const NAME: u16 = 1;
const DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_PAYLOAD_CSUM_INET`
const CHECKSUM_INTERNET: u32 = 1;

/// One of the kernel's sixteen 32-bit registers. A value longer than four bytes takes the following ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    IifName,
    OifName,
    /// What made the incoming interface: `bridge`, `veth`, ...
    IifKind,
    OifKind,
    L4Proto,
    NfProto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// Bits: 2 established, 4 related, 8 new, 1 invalid.
    State,
    /// Bits of `enum ip_conntrack_status`: 0x20 destination translated.
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Network,
    Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibResult {
    /// `RTN_*`: 2 is local.
    DestinationType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
    Goto(&'static str),
}

impl Verdict {
    fn code(&self) -> u32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => (-3i32).cast_unsigned(),
            Verdict::Goto(_) => (-4i32).cast_unsigned(),
            Verdict::Return => (-5i32).cast_unsigned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    Meta {
        key: MetaKey,
        to: Register,
    },
    Ct {
        key: CtKey,
        to: Register,
    },
    Payload {
        header: Header,
        offset: u32,
        len: u32,
        to: Register,
    },
    /// Puts a value into a register.
    Value {
        value: Vec<u8>,
        to: Register,
    },
    /// Changes the packet; the checksum (RFC 1071) at `checksum` in the same header follows.
    PayloadWrite {
        header: Header,
        offset: u32,
        len: u32,
        from: Register,
        checksum: u32,
    },
    /// `(from & mask) ^ 0`
    Mask {
        from: Register,
        to: Register,
        mask: Vec<u8>,
    },
    Compare {
        from: Register,
        op: Compare,
        value: Vec<u8>,
    },
    /// Breaks off the rule unless the key is in the set; with `to`, the map's value goes there.
    Lookup {
        set: &'static str,
        from: Register,
        to: Option<Register>,
        inverted: bool,
    },
    Fib {
        result: FibResult,
        to: Register,
    },
    /// Translates the destination to an address of the family, and a port.
    DestinationNat {
        family: Family,
        address: Register,
        port: Option<Register>,
    },
    /// Translates the source.
    SourceNat {
        family: Family,
        address: Register,
    },
    Masquerade,
    /// The connection is not followed; only before it is.
    NoTrack,
    Counter,
    Verdict(Verdict),
}

impl Expression {
    /// Compares with an interface's name.
    pub fn interface(from: Register, name: &str) -> Self {
        Expression::Compare { from, op: Compare::Equal, value: ifname(name) }
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Meta { .. } => "meta",
            Expression::Ct { .. } => "ct",
            Expression::Payload { .. } | Expression::PayloadWrite { .. } => "payload",
            Expression::Mask { .. } => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Fib { .. } => "fib",
            Expression::DestinationNat { .. } | Expression::SourceNat { .. } => "nat",
            Expression::Masquerade => "masq",
            Expression::NoTrack => "notrack",
            Expression::Counter => "counter",
            Expression::Verdict(_) | Expression::Value { .. } => "immediate",
        }
    }

    pub(crate) fn put(&self, request: Request) -> Request {
        request.nest(LIST_ELEMENT, |r| r.text(NAME, self.name()).nest(DATA, |r| self.body(r)))
    }

    fn body(&self, r: Request) -> Request {
        match self {
            Expression::Meta { key, to } => r.be32(2, meta_key(*key)).be32(1, to.number()),
            Expression::Ct { key, to } => r.be32(2, ct_key(*key)).be32(1, to.number()),
            Expression::Payload { header, offset, len, to } => {
                r.be32(1, to.number()).be32(2, base(*header)).be32(3, *offset).be32(4, *len)
            }
            Expression::PayloadWrite { header, offset, len, from, checksum } => r
                .be32(2, base(*header))
                .be32(3, *offset)
                .be32(4, *len)
                .be32(5, from.number())
                .be32(6, CHECKSUM_INTERNET)
                .be32(7, *checksum),
            Expression::Value { value, to } => r.be32(1, to.number()).nest(2, |r| r.bytes(VALUE, value)),
            Expression::Mask { from, to, mask } => r
                .be32(1, from.number())
                .be32(2, to.number())
                .be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX))
                .nest(4, |r| r.bytes(VALUE, mask))
                .nest(5, |r| r.bytes(VALUE, &vec![0; mask.len()])),
            Expression::Compare { from, op, value } => {
                let op = match op {
                    Compare::Equal => 0,
                    Compare::NotEqual => 1,
                };
                r.be32(1, from.number()).be32(2, op).nest(3, |r| r.bytes(VALUE, value))
            }
            Expression::Lookup { set, from, to, inverted } => {
                let r = r.text(1, set).be32(2, from.number());
                let r = match to {
                    Some(to) => r.be32(3, to.number()),
                    None => r,
                };
                if *inverted { r.be32(5, 1) } else { r }
            }
            Expression::Fib { result: FibResult::DestinationType, to } => {
                r.be32(1, to.number()).be32(2, 3).be32(3, 2)
            }
            Expression::SourceNat { family, address } => {
                r.be32(1, 0).be32(2, family.number().into()).be32(3, address.number())
            }
            Expression::DestinationNat { family, address, port } => {
                let r = r.be32(1, 1).be32(2, family.number().into()).be32(3, address.number());
                match port {
                    Some(port) => r.be32(5, port.number()),
                    None => r,
                }
            }
            Expression::Masquerade | Expression::NoTrack | Expression::Counter => r,
            Expression::Verdict(verdict) => r.be32(1, 0).nest(2, |r| {
                r.nest(VERDICT, |r| {
                    let r = r.be32(VERDICT_CODE, verdict.code());
                    match verdict {
                        Verdict::Jump(chain) | Verdict::Goto(chain) => r.text(VERDICT_CHAIN, chain),
                        _ => r,
                    }
                })
            }),
        }
    }
}

/// `enum nft_payload_bases`
fn base(header: Header) -> u32 {
    match header {
        Header::Network => 1,
        Header::Transport => 2,
    }
}

fn meta_key(key: MetaKey) -> u32 {
    match key {
        MetaKey::IifName => 6,
        MetaKey::OifName => 7,
        MetaKey::IifKind => 26,
        MetaKey::OifKind => 27,
        MetaKey::NfProto => 15,
        MetaKey::L4Proto => 16,
    }
}

fn ct_key(key: CtKey) -> u32 {
    match key {
        CtKey::State => 0,
        CtKey::Status => 2,
    }
}
