//! One small single-threaded supervisor per container: stdio, logs, reaping, exit record; the spawner that forks
//! them; PID 1 for `--init`.
//!
//! * [`spawner`]: a single-threaded process beside the engine; forks one supervisor per request.
//! * [`supervisor`]: the event loop of one container.
//! * `runtime`: the OCI runtimes that a supervisor may use.
//! * [`init`]: the first process inside a container started with `--init`.
//!
//! Invariants: no thread, no async runtime, no database; a supervisor needs nothing of the engine after it was forked;
//! what it holds in memory is bounded by named constants; an exit is on disk before anybody is told.
pub mod init;
pub mod spawner;
pub mod supervisor;

mod error;
mod passed_fds;
mod process_time;
mod record_file;
mod runtime;

pub use error::Error;
