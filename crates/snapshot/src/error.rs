//! What goes wrong with layers.
use knarr_base::{ErrorKind, Kind};
use knarr_linux::Errno;
use knarr_oci::digest::Digest;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream that the archive comes from ended early, is not what its compression says, or failed.
    #[error("read archive: {0}")]
    Source(#[source] io::Error),
    #[error("invalid tar header at byte {offset}: {reason}")]
    Header { offset: u64, reason: &'static str },
    #[error("archive entry {name:?}: {reason}")]
    Entry { name: String, reason: &'static str },
    #[error("archive entry {name:?}: {action}: {}", io::Error::from(*errno))]
    Apply { name: String, action: &'static str, errno: Errno },
    #[error("archive exceeds the limit of {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    #[error("layer verification failed: expected diff id {expected}, got {found}")]
    DiffId { expected: Digest, found: Digest },
    #[error("layer {0} not found")]
    NoLayer(Digest),
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("write archive: {0}")]
    Sink(#[source] io::Error),
    /// It cannot be used for this data root.
    #[error("storage driver {driver} cannot be used: {why}")]
    Driver { driver: &'static str, why: String },
    #[error("failpoint {0}")]
    Failpoint(&'static str),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
    pub(crate) fn errno(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |errno| Self::Io { action, path, source: errno.into() }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(e) => match e.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                    ErrorKind::InvalidArgument
                }
                _ => ErrorKind::Internal,
            },
            Self::Apply { errno, .. } => match *errno {
                Errno::NOSPC
                | Errno::DQUOT
                | Errno::IO
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::ROFS => ErrorKind::Internal,
                _ => ErrorKind::InvalidArgument,
            },
            Self::Header { .. } | Self::Entry { .. } | Self::DiffId { .. } => ErrorKind::InvalidArgument,
            Self::Limit { .. } => ErrorKind::TooLarge,
            Self::NoLayer(_) => ErrorKind::NotFound,
            Self::Driver { .. } => ErrorKind::Unavailable,
            Self::Io { .. } | Self::Sink(_) | Self::Failpoint(_) => ErrorKind::Internal,
        }
    }
}
