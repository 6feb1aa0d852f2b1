//! Reading container logs: tail, since, until, follow across rotation.
//!
//! The files are Docker's `json-file` logs or Knarr's `local` ones, written by supervisors: `<path>` is the newest, `<path>.1`
//! (or `<path>.1.gz`) the one before, and so on. [`LogReader`] gives entries oldest first; it is synchronous, for a thread that may block, and [`Control`] ends it.
//!
//! Invariants: the end is found from the end and a time by bisection, so cost does not grow with what is not wanted; memory
//! is bounded by one block and one line; a damaged or torn line is skipped, never an error.
mod blocks;
mod cursor;
mod error;
mod files;
mod follow;
mod lines;
mod query;
mod reader;
mod seek;
mod window;

pub use error::{Error, Result};
pub use follow::Control;
pub use query::{Query, Tail};
pub use reader::{Entry, LogReader};
