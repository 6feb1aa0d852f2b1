//! The engine's side of the supervisors: an async client of the spawner and of each container's supervisor.
//!
//! * [`Spawner`]: the process that forks supervisors; started from a sealed copy of the executable, restarted when it dies.
//! * [`ShimHandle`]: one container's control connection; a stream connection per attached client.
//! * [`kept`]: descriptors that outlive the engine.
//! * [`records`]: what a supervisor leaves on disk for an engine that was away.
//!
//! Invariants: nothing here blocks the async runtime; every wait has a bound; the closing of the event channel is how the
//! death of a supervisor (or its orderly end) is noticed.
mod error;
mod handle;
pub mod kept;
pub mod records;
mod socket;
mod spawner;
mod wire;

pub use error::{Error, Result};
pub use handle::{Events, ShimHandle};
pub use spawner::{Spawned, Spawner};
