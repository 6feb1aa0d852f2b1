//! Carrying the tables to the kernel.
use crate::firewall::entry::Placed;
use crate::firewall::table::Table;
use knarr_netlink::Result;
use knarr_netlink::nft::{Batch, Element, Family, Nftables, Policy};
use std::collections::BTreeMap;

/// The engine's tables in the kernel.
pub(crate) struct Firewall {
    connection: Nftables,
    table: String,
    /// Whether there is one for IPv6, as far as we know.
    has_v6: bool,
}

impl Firewall {
    pub fn open(table: String) -> Result<Self> {
        let mut connection = Nftables::open()?;
        let has_v6 = connection.has_table(Family::Ipv6, &table).unwrap_or(false);
        Ok(Self { connection, table, has_v6 })
    }

    /// All tables, atomically: what is not among them goes.
    pub fn replace(&mut self, tables: &[Table]) -> Result<()> {
        let wants_v6 = tables.iter().any(|t| t.family == Family::Ipv6);
        let mut batch = Batch::new(Family::Ipv4, &self.table);
        tables.iter().for_each(|table| table.put(&mut batch));
        if self.has_v6 && !wants_v6 {
            batch.in_family(Family::Ipv6);
            batch.remove_table();
        }
        self.connection.commit(batch)?;
        self.has_v6 = wants_v6;
        Ok(())
    }

    /// Whether there is a table for each of the entries.
    pub fn has_room_for(&self, entries: &[Placed]) -> bool {
        self.has_v6 || entries.iter().all(|(family, _)| *family == Family::Ipv4)
    }

    pub fn add(&mut self, entries: &[Placed]) -> Result<()> {
        self.change(entries, Batch::add_elements)
    }

    /// Fails with "no such file" when a table or an element is gone: replace the tables then.
    pub fn remove(&mut self, entries: &[Placed]) -> Result<()> {
        self.change(entries, Batch::delete_elements)
    }

    fn change(&mut self, entries: &[Placed], put: impl Fn(&mut Batch, &str, &[Element])) -> Result<()> {
        let mut sets: BTreeMap<(bool, &str), Vec<Element>> = BTreeMap::new();
        for (family, entry) in entries {
            sets.entry((*family == Family::Ipv6, entry.set())).or_default().push(entry.element());
        }
        let mut batch = Batch::new(Family::Ipv4, &self.table);
        for ((six, set), elements) in sets {
            batch.in_family(if six { Family::Ipv6 } else { Family::Ipv4 });
            put(&mut batch, set, &elements);
        }
        self.connection.commit(batch)
    }

    /// Name of the tables, and of our changes in notifications.
    pub fn identity(&self) -> (&str, u32) {
        (&self.table, self.connection.port())
    }

    pub fn delete(&mut self) -> Result<()> {
        let mut batch = Batch::new(Family::Ipv4, &self.table);
        batch.remove_table();
        if self.has_v6 {
            batch.in_family(Family::Ipv6);
            batch.remove_table();
        }
        self.connection.commit(batch)?;
        self.has_v6 = false;
        Ok(())
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
