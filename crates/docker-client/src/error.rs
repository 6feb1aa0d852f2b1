//! What can go wrong between a client and an engine.
use knarr_base::{ErrorKind, Kind};
use std::io;
use std::path::PathBuf;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Api { status: u16, message: String },
    // Docker's words: scripts wait for them to go away
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect { host: String, source: io::Error },
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}")]
    PermissionDenied { host: String, source: io::Error },
    #[error("invalid host {host:?}: {reason}")]
    InvalidHost { host: String, reason: &'static str },
    #[error("could not read TLS file {path}: {reason}")]
    TlsFile { path: PathBuf, reason: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("connection to the engine: {0}")]
    Http(#[from] hyper::Error),
    #[error("connection to the engine: {0}")]
    Io(#[from] io::Error),
    #[error("unexpected answer from the engine: {0}")]
    Protocol(String),
    #[error("unexpected answer from the engine: {source}")]
    Decode { source: serde_json::Error },
    /// A name that would make the path another one.
    #[error("invalid {kind} name or ID: value is empty")]
    EmptyName { kind: &'static str },
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    #[error("answer from the engine is longer than {limit} bytes")]
    TooLong { limit: usize },
}

impl Error {
    /// The status code of the engine's answer, if it gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }
    /// The engine's text without the prefix that names it as the engine's.
    pub fn api_message(&self) -> Option<&str> {
        match self {
            Self::Api { message, .. } => Some(message),
            _ => None,
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::PermissionDenied { .. })
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Api { status, .. } => match status {
                304 => ErrorKind::NotModified,
                400 => ErrorKind::InvalidArgument,
                401 => ErrorKind::Unauthorized,
                403 => ErrorKind::Forbidden,
                404 => ErrorKind::NotFound,
                409 => ErrorKind::Conflict,
                413 => ErrorKind::TooLarge,
                501 => ErrorKind::NotImplemented,
                503 => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Connect { .. } | Self::Http(_) | Self::Io(_) => ErrorKind::Unavailable,
            Self::PermissionDenied { .. } => ErrorKind::Forbidden,
            Self::InvalidHost { .. }
            | Self::EmptyName { .. }
            | Self::InvalidRequest(_)
            | Self::TlsFile { .. } => ErrorKind::InvalidArgument,
            Self::TooLong { .. } => ErrorKind::TooLarge,
            Self::Tls(_) | Self::Protocol(_) | Self::Decode { .. } => ErrorKind::Internal,
        }
    }
}
