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
    #[error("create {name}: volume option {option:?} is not supported by the local driver of this engine")]
    UnsupportedOption { name: String, option: String },
    #[error("a volume named {0} already exists with other options")]
    Differs(String),
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
            Error::InUse { .. } | Error::Differs(_) => ErrorKind::Conflict,
            Error::NameTooShort(_) | Error::NameInvalid(_) => ErrorKind::InvalidArgument,
            Error::UnsupportedOption { .. } => ErrorKind::NotImplemented,
            Error::Io { .. } | Error::Copy { .. } => ErrorKind::Internal,
            Error::State(e) => e.kind(),
        }
    }
}
