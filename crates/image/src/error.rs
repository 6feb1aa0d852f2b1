//! What goes wrong with images, in the words that Docker's clients show.
use knarr_base::{ErrorKind, ImageId, Kind};
use knarr_oci::image::InvalidDocument;
use knarr_oci::reference::InvalidReference;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("No such image: {0}")]
    NotFound(String),
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    #[error(transparent)]
    Document(#[from] InvalidDocument),
    #[error("invalid image archive: {0}")]
    Archive(String),
    #[error("image {id}: {reason}")]
    Image { id: ImageId, reason: String },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Conflict(String),
    #[error(transparent)]
    Content(#[from] knarr_content::Error),
    #[error(transparent)]
    Snapshot(#[from] knarr_snapshot::Error),
    #[error(transparent)]
    Registry(#[from] knarr_distribution::Error),
    #[error("task failed: {0}")]
    Task(String),
    #[error(transparent)]
    State(#[from] knarr_state::Error),
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("write archive: {0}")]
    Sink(#[source] io::Error),
    #[error("failpoint {0}")]
    Failpoint(&'static str),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl Error {
    /// Whether there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::State(knarr_state::Error::NoSpace) => return true,
            Self::Snapshot(knarr_snapshot::Error::Apply { errno, .. }) => {
                return [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT].contains(errno);
            }
            _ => {}
        }
        let source = std::error::Error::source(self);
        std::iter::successors(source, |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::Missing(_) => ErrorKind::NotFound,
            Self::Reference(_) | Self::Document(_) | Self::Archive(_) | Self::Invalid(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Content(e) => e.kind(),
            Self::Snapshot(e) => e.kind(),
            Self::State(e) => e.kind(),
            Self::Registry(e) => e.kind(),
            Self::Image { .. } | Self::Io { .. } | Self::Sink(_) | Self::Task(_) | Self::Failpoint(_) => {
                ErrorKind::Internal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_wherever_it_was_met() {
        let full = || io::Error::from(rustix::io::Errno::NOSPC);
        let blob = knarr_content::Error::Io { action: "write", path: "/x".into(), source: full() };
        let errno = rustix::io::Errno::DQUOT;
        let apply = knarr_snapshot::Error::Apply { name: "x".to_owned(), action: "write", errno };
        let registry = knarr_distribution::Error::Content(knarr_content::Error::Io {
            action: "write",
            path: "/x".into(),
            source: full(),
        });
        for error in [
            Error::io("write", "/x")(full()),
            Error::Sink(full()),
            blob.into(),
            apply.into(),
            registry.into(),
            knarr_state::Error::NoSpace.into(),
        ] {
            assert!(error.is_full(), "{error:?}");
        }
        assert!(!Error::io("write", "/x")(rustix::io::Errno::IO.into()).is_full());
    }
}
