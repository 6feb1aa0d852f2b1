//! Carrying the table to the kernel.
use crate::firewall::entry::Entry;
use crate::firewall::table::{FAMILY, Table};
use knarr_netlink::nft::{Batch, Element, Family, Nftables, Policy};
use knarr_netlink::{Error, Result};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// The engine's table in the kernel.
pub(crate) struct Firewall {
    connection: Nftables,
    table: String,
}

impl Firewall {
    pub fn open(table: String) -> Result<Self> {
        Ok(Self { connection: Nftables::open()?, table })
    }

    /// The whole table, atomically.
    pub fn replace(&mut self, table: &Table) -> Result<()> {
        self.connection.commit(table.batch())
    }

    pub fn add(&mut self, entries: &[Entry]) -> Result<()> {
        self.change(entries, Batch::add_elements)
    }

    /// Fails with "no such file" when the table or an element is gone: replace the table then.
    pub fn remove(&mut self, entries: &[Entry]) -> Result<()> {
        self.change(entries, Batch::delete_elements)
    }

    fn change(&mut self, entries: &[Entry], put: impl Fn(&mut Batch, &str, &[Element])) -> Result<()> {
        let mut sets: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
        for entry in entries {
            sets.entry(entry.set()).or_default().push(entry.element());
        }
        let mut batch = Batch::new(FAMILY, &self.table);
        sets.iter().for_each(|(set, elements)| put(&mut batch, set, elements));
        self.connection.commit(batch)
    }

    /// Name of the table, and of our changes in notifications.
    pub fn identity(&self) -> (&str, u32) {
        (&self.table, self.connection.port())
    }

    pub fn delete(&mut self) -> Result<()> {
        let mut batch = Batch::new(FAMILY, &self.table);
        batch.delete_table();
        match self.connection.commit(batch) {
            Err(e) if is_absent(&e) => Ok(()),
            result => result,
        }
    }

    /// Chains of others that drop forwarded IPv4 packets unless a rule of theirs accepts them.
    pub fn foreign_drops(&mut self) -> Result<Vec<String>> {
        let chains = self.connection.forward_chains()?;
        let foreign = chains.into_iter().filter(|c| {
            c.policy == Policy::Drop
                && c.family != Family::Ipv6
                && c.table != self.table
                && !c.table.starts_with("knarr-")
        });
        Ok(foreign.map(|c| format!("{} {} {}", c.family.as_str(), c.table, c.name)).collect())
    }
}

pub(crate) fn is_absent(error: &Error) -> bool {
    error.is(Errno::NOENT)
}
