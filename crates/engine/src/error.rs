//! What can go wrong, in the words that Docker's clients show.
use knarr_base::{ErrorKind, Kind};
use std::io;
use std::path::PathBuf;

/// Result of an operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an engine says that is in no swarm, to whom wants a manager.
pub const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
    node to swarm and try again.";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken { name: String, id: String },
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousPrefix(String),
    /// A request that makes no sense; the text says which part.
    #[error("{0}")]
    Invalid(String),
    /// A request that does not fit the object's state.
    #[error("{0}")]
    Conflict(String),
    /// The object is in the wanted state already.
    #[error("{0}")]
    NotModified(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0} is not implemented")]
    NotImplemented(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("{action} {path}: {source}")]
    Path { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    State(#[from] knarr_state::Error),
    #[error(transparent)]
    Image(#[from] knarr_image::Error),
    #[error(transparent)]
    Network(#[from] knarr_network::Error),
    #[error(transparent)]
    Volume(#[from] knarr_volume::Error),
    #[error(transparent)]
    Snapshot(#[from] knarr_snapshot::Error),
    #[error(transparent)]
    Cgroup(#[from] knarr_cgroup::Error),
    #[error(transparent)]
    Supervisor(#[from] crate::supervisor::Error),
    /// The network of a start.
    #[error("failed to set up container networking: {0}")]
    Networking(knarr_network::Error),
    /// The container's process was not made or not executed.
    #[error("{text}")]
    Start { text: String, failure: knarr_shim_proto::Failure },
    /// An error that several waited for.
    #[error("{text}")]
    Repeated { text: String, kind: ErrorKind },
    /// Something that should not happen.
    #[error("{0}")]
    Internal(String),
    #[error("failpoint {0}")]
    Failpoint(&'static str),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NoSuchContainer(_)
            | Error::NoSuchExec(_)
            | Error::NoSuchVolume(_)
            | Error::NotFound(_) => ErrorKind::NotFound,
            Error::NameTaken { .. } | Error::Conflict(_) => ErrorKind::Conflict,
            Error::Invalid(_) | Error::AmbiguousPrefix(_) => ErrorKind::InvalidArgument,
            Error::NotModified(_) => ErrorKind::NotModified,
            Error::Forbidden(_) => ErrorKind::Forbidden,
            Error::NotImplemented(_) => ErrorKind::NotImplemented,
            Error::Unavailable(_) => ErrorKind::Unavailable,
            Error::State(e) => e.kind(),
            Error::Image(e) => e.kind(),
            Error::Network(e) | Error::Networking(e) => e.kind(),
            Error::Volume(e) => e.kind(),
            Error::Snapshot(e) => e.kind(),
            Error::Cgroup(e) => e.kind(),
            Error::Supervisor(e) => e.kind(),
            Error::Start { failure, .. } => failure.kind(),
            Error::Repeated { kind, .. } => *kind,
            Error::Io { .. } | Error::Path { .. } | Error::Internal(_) | Error::Failpoint(_) => {
                ErrorKind::Internal
            }
        }
    }
}

impl Error {
    /// The same for another who waited.
    pub(crate) fn repeat(&self) -> Self {
        Error::Repeated { text: self.to_string(), kind: self.kind() }
    }

    /// For `map_err`: an input or output error of `action`.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Error::Io { action, source }
    }

    /// For `map_err`: an error of `action` on `path`.
    pub(crate) fn path(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Path { action, path, source }
    }
}
