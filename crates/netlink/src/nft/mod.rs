//! nftables over `NETLINK_NETFILTER` ([nft(8)](https://man7.org/linux/man-pages/man8/nft.8.html),
//! `linux/netfilter/nf_tables.h`).
//!
//! A `Batch` is one transaction: all of it happens, or nothing.
mod batch;
mod connection;
mod expression;
mod set;
mod watch;

pub use batch::{Batch, ChainKind, ChainSpec, Hook, HookSpec, Policy};
pub use connection::{ForeignChain, Nftables};
pub use expression::{Compare, CtKey, Expression, FibResult, Header, MetaKey, Register, Verdict};
pub use set::{Element, Field, SetSpec};
pub use watch::{Change, Changes, Watch};

/// Address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Inet,
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Family::Inet, Family::Ipv4, Family::Ipv6].into_iter().find(|f| f.number() == number)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        }
    }
}

/// Type of a message: `NFT_MSG_*` in the subsystem of nftables.
pub(crate) mod message {
    const SUBSYSTEM: u16 = 10 << 8;
    pub const NEW_TABLE: u16 = SUBSYSTEM;
    pub const GET_TABLE: u16 = SUBSYSTEM | 1;
    pub const DEL_TABLE: u16 = SUBSYSTEM | 2;
    pub const NEW_CHAIN: u16 = SUBSYSTEM | 3;
    pub const GET_CHAIN: u16 = SUBSYSTEM | 4;
    pub const NEW_RULE: u16 = SUBSYSTEM | 6;
    pub const NEW_SET: u16 = SUBSYSTEM | 9;
    pub const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
    pub const DEL_ELEMENT: u16 = SUBSYSTEM | 14;
    pub const BATCH_BEGIN: u16 = 0x10;
    pub const BATCH_END: u16 = 0x11;
    /// `nfgenmsg.res_id` of a batch.
    pub const SUBSYSTEM_ID: u16 = 10;
}

/// `struct nfgenmsg`
pub(crate) fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
