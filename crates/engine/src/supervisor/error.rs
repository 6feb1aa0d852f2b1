//! What can go wrong between the engine and a supervisor.
use knarr_base::{ErrorKind, Kind};
use knarr_shim_proto::Failure;
use knarr_shim_proto::frame::FrameError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor's own answer.
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("{action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the supervisor is gone")]
    Gone,
    #[error("no answer from the supervisor in {0:?}")]
    Timeout(Duration),
    #[error("unexpected answer from the supervisor")]
    Unexpected,
}

impl Error {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// What the supervisor said, if it was the supervisor.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Failure(failure) => failure.kind(),
            Self::Connect { .. } | Self::Gone | Self::Timeout(_) => ErrorKind::Unavailable,
            Self::Io { .. } | Self::Frame(_) | Self::Unexpected => ErrorKind::Internal,
        }
    }
}
