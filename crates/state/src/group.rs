//! Group commit: writers that wait for the same disk share one durable commit.
//!
//! A writer adds its changes to the open group. The last one in line commits for all of them, so a writer alone pays
//! one commit and a hundred writers pay a few. Invariant: a group's members succeed or fail together.
use crate::event::{EVENTS, MAX_EVENTS, MAX_MINOR_EVENTS, MINOR_EVENTS};
use crate::record::{encode, table};
use crate::write::Changes;
use crate::{Error, Event, Result};
use redb::{Database, ReadableTableMetadata};
use std::sync::{Arc, OnceLock};

/// Writers that share one commit at most.
pub(crate) const MAX_MEMBERS: usize = 64;

/// The fate of a group, shared by its members.
pub(crate) type Outcome = Arc<OnceLock<Result<()>>>;

pub(crate) struct Group {
    pub(crate) changes: Changes,
    pub(crate) events: Vec<Event>,
    pub(crate) members: usize,
    /// Whether a member waits for the commit.
    pub(crate) awaited: bool,
    /// Whether it holds changes that nobody waits for.
    pub(crate) behind: bool,
    pub(crate) outcome: Outcome,
    /// Number of the first event of this group.
    pub(crate) first_event: u64,
}

impl Group {
    pub(crate) fn new(first_event: u64) -> Self {
        Self {
            changes: Changes::new(),
            events: Vec::new(),
            members: 0,
            awaited: false,
            behind: false,
            outcome: Outcome::default(),
            first_event,
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.first_event + self.events.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }

    /// Whether something is removed: such a group may use the emergency reserve.
    pub(crate) fn removes(&self) -> bool {
        self.changes.values().any(Option::is_none)
    }

    /// Writes the group; durable on return.
    pub(crate) fn apply(&self, db: &Database) -> Result<()> {
        let tx = db.begin_write().map_err(Error::storage)?;
        for ((name, key), value) in &self.changes {
            let mut rows = tx.open_table(table(name)).map_err(Error::storage)?;
            match value {
                Some(bytes) => drop(rows.insert(key.as_str(), bytes.as_slice()).map_err(Error::storage)?),
                None => drop(rows.remove(key.as_str()).map_err(Error::storage)?),
            }
        }
        for (minor, log, most) in [(false, EVENTS, MAX_EVENTS), (true, MINOR_EVENTS, MAX_MINOR_EVENTS)] {
            let numbered = (self.first_event..).zip(&self.events).filter(|(_, event)| event.minor == minor);
            let mut numbered = numbered.peekable();
            if numbered.peek().is_none() {
                continue;
            }
            let mut rows = tx.open_table(log).map_err(Error::storage)?;
            for (number, event) in numbered {
                rows.insert(number, encode("events", event)?.as_slice()).map_err(Error::storage)?;
            }
            while rows.len().map_err(Error::storage)? > most {
                rows.pop_first().map_err(Error::storage)?;
            }
        }
        tx.commit().map_err(Error::storage)
    }
}
