//! What can go wrong, with the texts that Docker's clients know.
use knarr_base::{ErrorKind, Kind};
use knarr_linux::Errno;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("get {0}: no such volume")]
    NotFound(String),
    #[error("remove {name}: volume is in use - [{}]", containers.join(", "))]
    InUse { name: String, containers: Vec<String> },
    #[error("create {0}: volume name is too short, names should be at least two alphanumeric characters")]
    NameTooShort(String),
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    NameInvalid(String),
    #[error("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found")]
    UnknownDriver { name: String, driver: String },
    #[error("create {name}: {why}")]
    InvalidOption { name: String, why: String },
    #[error("create {0}: quota size requested but no quota support")]
    NoQuota(String),
    #[error("limit the size of volume {name}: {errno}")]
    Quota { name: String, errno: Errno },
    #[error(
        "error while mounting volume '{}': error resolving passed in network volume address: {why}",
        path.display()
    )]
    Lookup { path: PathBuf, why: String },
    #[error("error while mounting volume '{}': failed to mount local volume: {what}: {errno}", path.display())]
    Mount { path: PathBuf, what: String, errno: Errno },
    #[error("unmount volume {name} at {}: {errno}", path.display())]
    Unmount { name: String, path: PathBuf, errno: Errno },
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("copy {path} into the volume: {errno}")]
    Copy { path: PathBuf, errno: Errno },
    #[error(transparent)]
    State(#[from] knarr_state::Error),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound(_) | Error::UnknownDriver { .. } => ErrorKind::NotFound,
            Error::InUse { .. } => ErrorKind::Conflict,
            Error::NameTooShort(_)
            | Error::NameInvalid(_)
            | Error::InvalidOption { .. }
            | Error::NoQuota(_) => ErrorKind::InvalidArgument,
            Error::Io { .. }
            | Error::Copy { .. }
            | Error::Quota { .. }
            | Error::Lookup { .. }
            | Error::Mount { .. }
            | Error::Unmount { .. } => ErrorKind::Internal,
            Error::State(e) => e.kind(),
        }
    }
}
