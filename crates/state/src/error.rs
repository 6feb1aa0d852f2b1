//! What can go wrong in the database.
use knarr_base::{ErrorKind, Kind};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Cloneable, since all members of one group commit share its fate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("open database {path}: {source}")]
    Open { path: PathBuf, source: Arc<redb::Error> },
    #[error("database {path} is in use by another engine")]
    InUse { path: PathBuf },
    #[error(
        "database has schema version {found}, this program knows up to {known}: use a newer version of Knarr"
    )]
    TooNew { found: u64, known: u64 },
    #[error("database: {0}")]
    Storage(Arc<redb::Error>),
    #[error("no space left on device while writing the database")]
    NoSpace,
    #[error("database is closed after a failed write: {0}")]
    Closed(String),
    #[error("encode a record of table {table}: {message}")]
    Encode { table: &'static str, message: String },
    #[error("reserve file {path}: {source}")]
    Reserve { path: PathBuf, source: Arc<io::Error> },
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::InUse { .. } => ErrorKind::Conflict,
            Error::NoSpace | Error::Closed(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }
}

impl Error {
    /// The database's own error; a full disk is told apart since the writer reacts to it.
    pub(crate) fn storage(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(e) if is_full(&e) => Error::NoSpace,
            other => Error::Storage(Arc::new(other)),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
