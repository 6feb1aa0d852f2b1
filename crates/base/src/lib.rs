//! Ids, names, the closed set of error kinds, units: the vocabulary of every crate.
//!
//! Invariant: no I/O, no unsafe code, no dependency on another Knarr crate.
pub mod failpoint;
pub mod id;
pub mod kind;
pub mod units;

pub use id::{ContainerId, ExecId, Id, ImageId, NetworkId, VolumeId};
pub use kind::{ErrorKind, Kind};
