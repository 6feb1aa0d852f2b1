//! Writing: changes are collected over a snapshot and handed to the group commit when the closure succeeds.
use crate::record::{Record, encode};
use crate::{Event, ReadTx, Result};
use std::collections::BTreeMap;

/// Changed rows: a value, or `None` for a deleted row.
pub(crate) type Changes = BTreeMap<(&'static str, String), Option<Vec<u8>>>;

/// A transaction being put together. It sees the snapshot, the group's earlier members and its own changes.
pub struct WriteTx<'a> {
    pub(crate) snapshot: &'a ReadTx,
    pub(crate) group: &'a Changes,
    pub(crate) changes: Changes,
    pub(crate) events: Vec<Event>,
    pub(crate) next_event: u64,
}

impl WriteTx<'_> {
    pub fn put<R: Record>(&mut self, key: &str, record: &R) -> Result<()> {
        let bytes = encode(R::TABLE, record)?;
        self.changes.insert((R::TABLE, key.to_owned()), Some(bytes));
        Ok(())
    }

    /// Whether there was such a row (a damaged row counts: it is deleted too).
    pub fn delete<R: Record>(&mut self, key: &str) -> Result<bool> {
        let existed = self.bytes(R::TABLE, key)?.is_some();
        if existed {
            self.changes.insert((R::TABLE, key.to_owned()), None);
        }
        Ok(existed)
    }

    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>> {
        Ok(self.bytes(R::TABLE, key)?.and_then(|bytes| self.snapshot.parse(key, &bytes)))
    }

    pub fn list<R: Record>(&self) -> Result<Vec<(String, R)>> {
        self.list_prefix("")
    }

    pub fn list_prefix<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>> {
        let mut rows: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        self.snapshot.each(R::TABLE, prefix, |key, bytes| {
            rows.insert(key.to_owned(), bytes.to_vec());
        })?;
        let changed = self.group.iter().chain(&self.changes);
        for ((table, key), value) in changed.filter(|((t, k), _)| *t == R::TABLE && k.starts_with(prefix)) {
            debug_assert_eq!(*table, R::TABLE);
            match value {
                Some(bytes) => rows.insert(key.clone(), bytes.clone()),
                None => rows.remove(key),
            };
        }
        let parsed = rows.into_iter().filter_map(|(key, bytes)| {
            let record = self.snapshot.parse(&key, &bytes)?;
            Some((key, record))
        });
        Ok(parsed.collect())
    }

    /// Adds an event to the transaction; returns its number.
    pub fn emit(&mut self, event: Event) -> u64 {
        let number = self.next_event + self.events.len() as u64;
        self.events.push(event);
        number
    }

    fn bytes(&self, table: &'static str, key: &str) -> Result<Option<Vec<u8>>> {
        let at = (table, key.to_owned());
        match self.changes.get(&at).or_else(|| self.group.get(&at)) {
            Some(value) => Ok(value.clone()),
            None => self.snapshot.raw(table, key),
        }
    }
}
