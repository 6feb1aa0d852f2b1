//! Requests, replies and events on a supervisor's control connection.
//!
//! The first control connection is a socket pair from the spawn request; later ones are made to `shim.sock`. On each,
//! the engine sends [`Request`] frames and receives [`FromShim`] frames: replies, which carry the request's number, and
//! events, which nobody asked for. [`Call::Attach`], and [`Call::Exec`] with `attach`, must be the first and only
//! request of their connection: after a successful reply the connection is the stream itself. From the
//! supervisor come Docker's multiplexed frames ([`crate::stdcopy`]), or raw bytes when there is a terminal; to the
//! supervisor goes raw standard input, whose half-close is end-of-file. A stream that is closed as a whole ends the input too,
//! but a second later, and not when the engine's control connection was closed with it: then the engine died, not the client.
use crate::exit::ExitRecord;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub number: u64,
    pub call: Call,
}

/// What is asked of a supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// Let the container's init execute the program. Answer: `Done`, or the error of `execve`.
    Start,
    /// Send a signal to the container's init, or to a command executed in it.
    Kill {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exec_id: Option<String>,
        signal: i32,
    },
    /// Execute a command in the running container. Answer: `Started`.
    Exec(ExecConfig),
    /// Set the size of the container's terminal, or of a command's.
    Resize {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exec_id: Option<String>,
        rows: u16,
        cols: u16,
    },
    /// Answer: `State`.
    State,
    /// Turn this connection into a stream of the container's output and input. Answer: `Done`, then the stream. Allowed
    /// before `Start`: nothing that the container prints is missed then.
    Attach(Streams),
    /// Keep descriptors open for engines to come, in place of those kept before; they ride on the request's first byte. What
    /// they are is the engine's affair.
    Keep,
    /// Give copies of the kept descriptors, in their order, on the first byte of the reply.
    Kept,
    /// Close and open the log file again (after a rename by somebody else).
    ReopenLogs,
    /// Everything that the supervisor knows has been taken over: end as soon as no process and no stream is left. Before
    /// `Start` it also kills the container's init.
    Shutdown,
}

/// Standard streams that a client takes part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    #[serde(default)]
    pub stdin: bool,
    #[serde(default)]
    pub stdout: bool,
    #[serde(default)]
    pub stderr: bool,
}

impl Streams {
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
    pub const OUTPUT: Self = Self { stdin: false, stdout: true, stderr: true };
}

/// A command to execute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecConfig {
    pub exec_id: String,
    /// `process` of the OCI runtime configuration, as it is to be executed; `terminal` and `consoleSize` count.
    pub process: Box<RawValue>,
    /// Streams passed on; the others are `/dev/null`. Without `attach` all are.
    #[serde(default)]
    pub streams: Streams,
    /// This connection becomes the command's stream.
    #[serde(default)]
    pub attach: bool,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub number: u64,
    pub result: Result<Answer, Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Done,
    /// The process id, as the host sees it, of an executed command.
    Started {
        pid: i32,
    },
    State(StateReport),
    /// How many descriptors come with this reply.
    Kept {
        count: usize,
    },
}

/// Everything that the supervisor knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport {
    pub phase: Phase,
    pub shim_pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Of the process `pid`; 0: not known.
    #[serde(default)]
    pub pid_start_time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitRecord>,
    /// Commands that run, and the most recent ones that ended.
    #[serde(default)]
    pub execs: Vec<ExecState>,
    /// Log messages that were lost so far.
    #[serde(default)]
    pub log_lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Created,
    Running,
    Exited,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    pub exec_id: String,
    pub pid: i32,
    /// `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitRecord>,
}

/// What happened; sent to every control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The container's init exists and waits for `Start`.
    Created {
        pid: i32,
        /// Field 22 of its `/proc/<pid>/stat`; 0: not known.
        #[serde(default)]
        start_time: u64,
    },
    /// The container could not be created; nothing of it is left, and the supervisor ends.
    CreateFailed(Failure),
    /// The container's init ended. The record is on disk already.
    Exited(ExitRecord),
    ExecExited {
        exec_id: String,
        exit: ExitRecord,
    },
    /// The kernel killed a process of the container because of its memory limit.
    Oom,
    /// Log messages were lost: how many so far, and how.
    LogLost {
        total: u64,
        why: String,
    },
}

/// Any frame from a supervisor on a control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FromShim {
    Reply(Reply),
    Event(Event),
}

/// An error that crosses the socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    /// In the words that Docker's clients expect.
    pub message: String,
    /// The system call's error number, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), errno: None }
    }
}

/// What class of failure it is; decides `docker run`'s exit code (125, 126, 127) and the status of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The program to execute does not exist: exit code 127.
    CommandNotFound,
    /// The program cannot be executed: exit code 126.
    CommandNotExecutable,
    InvalidArgument,
    NotFound,
    Conflict,
    Unavailable,
    Internal,
}

impl FailureKind {
    /// The exit code that Docker reports for a container that failed to start in this way.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::CommandNotFound => 127,
            Self::CommandNotExecutable => 126,
            _ => 128,
        }
    }
}

impl knarr_base::Kind for Failure {
    fn kind(&self) -> knarr_base::ErrorKind {
        use knarr_base::ErrorKind as Kind;
        match self.kind {
            FailureKind::CommandNotFound
            | FailureKind::CommandNotExecutable
            | FailureKind::InvalidArgument => Kind::InvalidArgument,
            FailureKind::NotFound => Kind::NotFound,
            FailureKind::Conflict => Kind::Conflict,
            FailureKind::Unavailable => Kind::Unavailable,
            FailureKind::Internal => Kind::Internal,
        }
    }
}
