//! What can go wrong in a supervisor, and how it is told to the engine.
use knarr_base::{ErrorKind, Kind};
use knarr_shim_proto::{Failure, FailureKind, frame::FrameError};
use rustix::io::Errno;
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{action}: {source}")]
    System { action: &'static str, source: std::io::Error },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{}: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("spawn request without a control connection, or with other descriptors than it says")]
    Descriptors,
    #[error("failed to initialize logging driver: {0}")]
    Log(Box<Error>),
    #[error("{action}: {why}")]
    LogTarget { action: &'static str, why: String },
    #[error("invalid process: {0}")]
    Process(serde_json::Error),
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("container {id} is already started")]
    AlreadyStarted { id: String },
    #[error("No such exec instance: {exec_id}")]
    NoSuchExec { exec_id: String },
    #[error("exec {exec_id} exists already")]
    ExecExists { exec_id: String },
    #[error("too many {what}: at most {most}")]
    TooMany { what: &'static str, most: usize },
    #[error(transparent)]
    Runtime(#[from] knarr_runtime::Error),
    /// A runtime that is a program of its own failed; the words are its.
    #[error("{message}")]
    Foreign { command: &'static str, message: String },
}

impl Error {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { action, source: errno.into() }
    }
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::File { source, .. } | Self::System { source, .. } => source.raw_os_error(),
            Self::Runtime(error) => error.errno(),
            _ => None,
        }
    }

    /// The same error as it crosses the socket.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Runtime(error) => match (error.exit_code(), error.kind()) {
                (Some(127), _) => FailureKind::CommandNotFound,
                (Some(_), _) => FailureKind::CommandNotExecutable,
                (None, ErrorKind::InvalidArgument | ErrorKind::NotImplemented) => {
                    FailureKind::InvalidArgument
                }
                (None, ErrorKind::NotFound) => FailureKind::NotFound,
                (None, ErrorKind::Conflict) => FailureKind::Conflict,
                (None, _) => FailureKind::Internal,
            },
            Self::Foreign { message, .. } => crate::runtime::failure_kind(message),
            Self::Process(_) => FailureKind::InvalidArgument,
            Self::NoSuchExec { .. } => FailureKind::NotFound,
            Self::NotRunning { .. } | Self::AlreadyStarted { .. } | Self::ExecExists { .. } => {
                FailureKind::Conflict
            }
            Self::TooMany { .. } => FailureKind::Unavailable,
            _ => FailureKind::Internal,
        };
        Failure { kind, message: self.to_string(), errno: self.errno() }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        self.failure().kind()
    }
}
