//! Reading: one snapshot over all tables.
use crate::event::{EVENTS, MINOR_EVENTS};
use crate::record::{Damaged, Record, decode, table};
use crate::{Error, Event, Result};
use redb::{ReadTransaction, ReadableTable, TableError};
use std::cell::RefCell;

/// A snapshot. Damaged rows met on the way are skipped and collected for the quarantine.
pub struct ReadTx {
    tx: ReadTransaction,
    pub(crate) damaged: RefCell<Vec<Damaged>>,
}

type Log = redb::TableDefinition<'static, u64, &'static [u8]>;
type RawTable = redb::ReadOnlyTable<&'static str, &'static [u8]>;

impl ReadTx {
    pub(crate) fn new(tx: ReadTransaction) -> Self {
        Self { tx, damaged: RefCell::default() }
    }

    fn open(&self, name: &'static str) -> Result<Option<RawTable>> {
        match self.tx.open_table(table(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(Error::storage(e)),
        }
    }

    /// The row under `key`; a damaged one counts as absent.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>> {
        Ok(self.raw(R::TABLE, key)?.and_then(|bytes| self.parse(key, &bytes)))
    }

    /// All rows in key order; damaged ones are left out.
    pub fn list<R: Record>(&self) -> Result<Vec<(String, R)>> {
        self.list_prefix("")
    }

    /// All rows whose key begins with `prefix`, in key order.
    pub fn list_prefix<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>> {
        let mut rows = Vec::new();
        self.each(R::TABLE, prefix, |key, bytes| {
            if let Some(record) = self.parse(key, bytes) {
                rows.push((key.to_owned(), record));
            }
        })?;
        Ok(rows)
    }

    /// Events with numbers above `seq`, oldest first.
    pub fn events_since(&self, seq: u64) -> Result<Vec<(u64, Event)>> {
        let mut events = self.log_since(EVENTS, seq, false)?;
        let minor = self.log_since(MINOR_EVENTS, seq, true)?;
        if !minor.is_empty() {
            events.extend(minor);
            events.sort_by_key(|(number, _)| *number);
        }
        Ok(events)
    }

    fn log_since(&self, log: Log, seq: u64, minor: bool) -> Result<Vec<(u64, Event)>> {
        let Some(table) = self.log(log)? else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        for row in table.range(seq.saturating_add(1)..).map_err(Error::storage)? {
            let (number, bytes) = row.map_err(Error::storage)?;
            match decode::<Event>(bytes.value()) {
                Ok(event) => events.push((number.value(), Event { minor, ..event })),
                Err(reason) => tracing::warn!(number = number.value(), %reason, "damaged event skipped"),
            }
        }
        Ok(events)
    }

    fn log(&self, log: Log) -> Result<Option<redb::ReadOnlyTable<u64, &'static [u8]>>> {
        match self.tx.open_table(log) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(Error::storage(e)),
        }
    }

    /// Number of the newest event; 0 when there was none.
    pub fn newest_event(&self) -> Result<u64> {
        let mut newest = 0;
        for log in [EVENTS, MINOR_EVENTS] {
            let Some(table) = self.log(log)? else { continue };
            let last = table.last().map_err(Error::storage)?;
            newest = newest.max(last.map_or(0, |(number, _)| number.value()));
        }
        Ok(newest)
    }

    pub(crate) fn raw(&self, name: &'static str, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(table) = self.open(name)? else { return Ok(None) };
        let value = table.get(key).map_err(Error::storage)?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    pub(crate) fn each(
        &self,
        name: &'static str,
        prefix: &str,
        mut f: impl FnMut(&str, &[u8]),
    ) -> Result<()> {
        let Some(table) = self.open(name)? else { return Ok(()) };
        for row in table.range(prefix..).map_err(Error::storage)? {
            let (key, value) = row.map_err(Error::storage)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            f(key.value(), value.value());
        }
        Ok(())
    }

    pub(crate) fn parse<R: Record>(&self, key: &str, bytes: &[u8]) -> Option<R> {
        match decode(bytes) {
            Ok(record) => Some(record),
            Err(reason) => {
                let row = Damaged { table: R::TABLE.into(), key: key.into(), reason, bytes: bytes.to_vec() };
                self.damaged.borrow_mut().push(row);
                None
            }
        }
    }

    pub(crate) fn quarantined(&self) -> Result<Vec<Damaged>> {
        let table = self.tx.open_table(crate::record::QUARANTINE).map_err(Error::storage)?;
        let mut rows = Vec::new();
        for row in table.iter().map_err(Error::storage)? {
            let (_, bytes) = row.map_err(Error::storage)?;
            rows.extend(decode::<Damaged>(bytes.value()).ok());
        }
        Ok(rows)
    }
}
