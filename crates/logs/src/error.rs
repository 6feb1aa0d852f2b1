//! What can go wrong while reading a log.
use knarr_base::{ErrorKind, Kind};
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{action}: {source}")]
    Follow { action: &'static str, source: std::io::Error },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }
    pub(crate) fn follow(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Follow { action, source: errno.into() }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}
