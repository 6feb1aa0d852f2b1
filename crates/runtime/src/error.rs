//! What can go wrong, with the text that Docker's clients expect.
use knarr_base::{ErrorKind, Kind};
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something that makes no sense.
    #[error("invalid configuration: {what}")]
    Invalid { what: String },
    /// The configuration asks for something that this runtime or kernel does not do.
    #[error("not supported: {what}")]
    Unsupported { what: String },
    /// The command was not found or may not be executed: exit codes 127 and 126.
    #[error("exec: {command:?}: {detail}")]
    Exec { command: String, detail: String, errno: i32 },
    /// It was found, and execve(2) refused it: as Go's programs say it.
    #[error("exec {command}: {detail}")]
    Execve { command: String, detail: String, errno: i32 },
    /// A step of making the container failed.
    #[error("{stage}{}: {}", path_text(path), std::io::Error::from_raw_os_error(*errno))]
    Step { stage: String, path: Option<PathBuf>, errno: i32 },
    /// The container is not in the state that the command needs.
    #[error("{what}")]
    State { what: String },
    #[error("container {id} does not exist")]
    NoContainer { id: String },
    /// The new process ended before it was ready.
    #[error("the container's process ended unexpectedly: {how}")]
    Died { how: String },
    /// Nothing was heard of the new process, so it was killed.
    #[error("the container's process did not answer within {seconds} seconds and was killed")]
    Silent { seconds: u64 },
    #[error("error running {kind} hook #{number}: {what}")]
    Hook { kind: String, number: usize, what: String },
    /// Limits or placement.
    #[error("cgroup: {0}")]
    Cgroup(String),
    /// Interfaces of the host.
    #[error("network: {0}")]
    Network(String),
}

fn path_text(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default()
}

impl Error {
    /// The kernel's error number, if the kernel had a say.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Exec { errno, .. } | Self::Execve { errno, .. } | Self::Step { errno, .. } => Some(*errno),
            _ => None,
        }
    }
    /// Exit code that a client reports when the command itself could not be executed: 127 not found, 126 otherwise.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Exec { errno, .. } | Self::Execve { errno, .. } => {
                Some(if *errno == rustix::io::Errno::NOENT.raw_os_error() { 127 } else { 126 })
            }
            _ => None,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Exec { .. } | Self::Execve { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::NoContainer { .. } => ErrorKind::NotFound,
            Self::State { .. } => ErrorKind::Conflict,
            Self::Step { .. }
            | Self::Cgroup(_)
            | Self::Network(_)
            | Self::Died { .. }
            | Self::Silent { .. }
            | Self::Hook { .. } => ErrorKind::Internal,
        }
    }
}
