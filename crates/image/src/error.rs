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
    /// Of work that was done for several at once.
    #[error(transparent)]
    Shared(std::sync::Arc<Self>),
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
            Self::Shared(e) => e.kind(),
            Self::Image { .. } | Self::Io { .. } | Self::Sink(_) | Self::Task(_) | Self::Failpoint(_) => {
                ErrorKind::Internal
            }
        }
    }
}
