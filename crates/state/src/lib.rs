//! The one database: typed tables, a single writer with group commit, migrations, events committed with the change.
//!
//! Storage is [redb](https://github.com/cberner/redb/blob/master/docs/design.md). A value is JSON behind a checksum
//! (`record`). A row that fails its checksum or no longer parses is moved to the quarantine table, reported once and
//! skipped, so that one damaged record never takes the rest with it.
//!
//! Invariants: what `write` returned is on disk (`write_behind` says when its is); a change and the events that report it are in one transaction;
//! readers see a snapshot and wait for nobody; a transaction that removes something finds room on a full disk.
mod checksum;
mod error;
mod event;
mod group;
mod read;
mod record;
mod reserve;
mod schema;
mod store;
mod syncer;
mod write;

pub use error::Error;
pub use event::{Event, MAX_EVENTS, MAX_MINOR_EVENTS};
pub use read::ReadTx;
pub use record::{Damaged, Record};
pub use store::{Store, WeakStore};
pub use syncer::SYNC_AFTER;
pub use write::WriteTx;

/// Result of a database operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
