//! Carrying the tables to the kernel.
use crate::firewall::entry::{Entry, Placed};
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
    ///
    /// Sets of intervals come into force a moment after the rest of their transaction. So where ports are limited, what is
    /// published follows in a second one: too little for a moment is nothing, too much would last as long as a connection.
    pub fn replace(&mut self, tables: &[Table]) -> Result<()> {
        let wants_v6 = tables.iter().any(|t| t.family == Family::Ipv6);
        let limited = tables.iter().flat_map(|t| &t.entries).any(Entry::limits);
        let mut batch = Batch::new(Family::Ipv4, &self.table);
        tables.iter().for_each(|table| table.put(&mut batch, |entry| !(limited && entry.publishes())));
        if self.has_v6 && !wants_v6 {
            batch.in_family(Family::Ipv6);
            batch.remove_table();
        }
        self.connection.commit(batch)?;
        self.has_v6 = wants_v6;
        if !limited {
            return Ok(());
        }
        let of = |t: &Table| {
            let published = t.entries.iter().filter(|e| e.publishes()).cloned();
            published.map(|e| (t.family, e)).collect::<Vec<_>>()
        };
        let published: Vec<Placed> = tables.iter().flat_map(of).collect();
        self.change(published.iter(), Batch::add_elements)
    }

    /// Whether there is a table for each of the entries.
    pub fn has_room_for(&self, entries: &[Placed]) -> bool {
        self.has_v6 || entries.iter().all(|(family, _)| *family == Family::Ipv4)
    }

    pub fn add(&mut self, entries: &[Placed]) -> Result<()> {
        let (limits, others): (Vec<&Placed>, Vec<&Placed>) = entries.iter().partition(|(_, e)| e.limits());
        self.change(limits, Batch::add_elements)?;
        self.change(others, Batch::add_elements)
    }

    /// Fails with "no such file" when a table or an element is gone: replace the tables then.
    pub fn remove(&mut self, entries: &[Placed]) -> Result<()> {
        let (limits, others): (Vec<&Placed>, Vec<&Placed>) = entries.iter().partition(|(_, e)| e.limits());
        self.change(others, Batch::delete_elements)?;
        self.change(limits, Batch::delete_elements)
    }

    fn change<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Placed>,
        put: impl Fn(&mut Batch, &str, &[Element]),
    ) -> Result<()> {
        let mut sets: BTreeMap<(bool, &str), Vec<Element>> = BTreeMap::new();
        for (family, entry) in entries {
            sets.entry((*family == Family::Ipv6, entry.set())).or_default().push(entry.element());
        }
        if sets.is_empty() {
            return Ok(());
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

    /// Chains of others that drop forwarded packets unless a rule of theirs accepts them. Those for IPv6 alone count
    /// where there is any.
    pub fn foreign_drops(&mut self, ipv6: bool) -> Result<Vec<String>> {
        let chains = self.connection.forward_chains()?;
        let foreign = chains.into_iter().filter(|c| {
            c.policy == Policy::Drop
                && (ipv6 || c.family != Family::Ipv6)
                && c.table != self.table
                && !c.table.starts_with("knarr-")
        });
        Ok(foreign.map(|c| format!("{} {} {}", c.family.as_str(), c.table, c.name)).collect())
    }
}
