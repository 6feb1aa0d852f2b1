//! All that the supervisor and the engine agree on: messages, framing, exit record, log line format.
//!
//! * [`spawn`]: what the engine asks of the spawner.
//! * [`control`]: requests, replies and events on a supervisor's socket.
//! * [`frame`]: how a message lies on a stream socket.
//! * [`exit`]: the records that a supervisor leaves on disk.
//! * [`line`]: output cut into messages; [`json_log`]: Docker's `json-file` format; [`local_log`]: Knarr's own; [`stdcopy`]: Docker's multiplexed stream.
//!
//! Invariant: pure. No I/O, no clock; everything here is tested as text.
pub mod config;
pub mod control;
pub mod exit;
pub mod frame;
pub mod json_log;
pub mod line;
pub mod local_log;
pub mod spawn;
pub mod stdcopy;

pub use config::{CgroupConfig, LogConfig, LogDriver, LogTarget, RemoteLog, RuntimeProgram, ShimConfig};
pub use config::{SyslogFormat, SyslogTransport};
pub use control::{Answer, Call, Event, ExecConfig, ExecState, Failure, FailureKind};
pub use control::{FromShim, Phase, Reply, Request, StateReport, Streams};
pub use exit::{ExitRecord, ShimRecord};
pub use spawn::{FdRole, SpawnReply, SpawnRequest};

/// Names of the files in a container's run directory (`<exec-root>/containers/<id>/`).
pub mod file {
    /// The OCI runtime configuration, written by the engine.
    pub const CONFIG: &str = "config.json";
    /// The supervisor's listening socket.
    pub const SOCKET: &str = "shim.sock";
    /// [`crate::ShimRecord`], written by the supervisor when the container's process exists.
    pub const SHIM: &str = "shim.json";
    /// [`crate::ExitRecord`], written by the supervisor before it tells anyone.
    pub const EXIT: &str = "exit.json";
}
