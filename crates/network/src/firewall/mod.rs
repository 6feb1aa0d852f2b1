//! The firewall: one nftables table per engine and family, a pure function of networks and endpoints.
//!
//! `ruleset` renders facts to `Table`s, whose text is `nft`'s own language; `apply` carries a table, or single
//! elements of it, to the kernel in one transaction. Rules of others live in other tables and are never touched.
mod apply;
mod entry;
mod rule;
mod ruleset;
mod table;

pub(crate) use apply::Firewall;
pub(crate) use entry::Placed;
pub(crate) use ruleset::{
    BridgeFacts, Facts, FamilyFacts, LinkFacts, PortFacts, port_entries, ruleset, table_name,
};
