//! What can go wrong with control groups.
use knarr_base::{ErrorKind, Kind};
use knarr_linux::Errno;
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{action} {path:?}: {errno}")]
    File { action: &'static str, path: PathBuf, errno: Errno },
    #[error("the limit {file:?} needs the {controller} controller, which this host does not have")]
    NoController { controller: String, file: String },
    #[error("invalid limit: {what}")]
    Invalid { what: String },
    #[error("invalid cgroup path {path:?}")]
    Path { path: String },
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    #[error("not supported: {what}")]
    Unsupported { what: String },
    #[error("processes of cgroup {path} are still alive")]
    Busy { path: String },
}

impl Error {
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::File { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoController { .. } | Self::Invalid { .. } | Self::Path { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::File { errno: Errno::NOENT, .. } => ErrorKind::NotFound,
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::File { .. } | Self::NoHierarchy => ErrorKind::Internal,
        }
    }
}
