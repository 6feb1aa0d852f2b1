//! What goes wrong with blobs.
use knarr_base::{ErrorKind, Kind};
use knarr_oci::digest::Digest;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("content {0} not found")]
    NotFound(Digest),
    #[error("content {0} is in use")]
    Leased(Digest),
    #[error("content verification failed: expected {expected}, got {found}")]
    DigestMismatch { expected: Digest, found: Digest },
    #[error("content {name} has {found} bytes, expected {expected}")]
    SizeMismatch { name: String, expected: u64, found: u64 },
    #[error("content {name} is larger than the {limit} bytes that are allowed")]
    TooLarge { name: String, limit: u64 },
    #[error("content {name}: bytes at {at} without those before")]
    Gap { name: String, at: u64 },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Leased(_) => ErrorKind::Conflict,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::InvalidArgument,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Io { .. } | Self::Gap { .. } => ErrorKind::Internal,
        }
    }
}
