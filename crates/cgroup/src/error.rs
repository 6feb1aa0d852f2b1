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
    /// A value that the kernel refused.
    #[error("write {value:?} to {path:?}: {errno}")]
    Write { path: PathBuf, value: String, errno: Errno },
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
    /// A limit that is below what is in use, refused because it was to be looked at before.
    #[error("rejecting {what} limit {limit}: {usage} are in use")]
    InUse { what: &'static str, limit: i64, usage: u64 },
    #[error("systemd: {action} {unit}: {detail}")]
    Systemd { action: &'static str, unit: String, detail: String },
    #[error("no connection to systemd: {detail}")]
    NoSystemd { detail: String },
}

impl Error {
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::File { errno, .. } | Self::Write { errno, .. } => Some(*errno),
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
            Self::Busy { .. } | Self::InUse { .. } => ErrorKind::Conflict,
            Self::NoSystemd { .. } => ErrorKind::Unavailable,
            Self::File { .. } | Self::Write { .. } | Self::NoHierarchy | Self::Systemd { .. } => {
                ErrorKind::Internal
            }
        }
    }
}
