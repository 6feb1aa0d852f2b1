//! Errors of the face and the one table from [`ErrorKind`] to HTTP status.
use http::StatusCode;
use knarr_base::{ErrorKind, Kind};

/// An error as a client sees it: a status and `{"message": text}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

/// The one table.
pub fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status: status_of(kind), message: message.into() }
    }
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }
    /// What Docker says to a path or method that it does not have.
    pub fn page_not_found() -> Self {
        Self::new(ErrorKind::NotFound, "page not found")
    }
    /// The same error with more words before it.
    pub fn context(self, words: &str) -> Self {
        Self { status: self.status, message: format!("{words}: {}", self.message) }
    }
}

impl From<knarr_engine::Error> for ApiError {
    fn from(error: knarr_engine::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<knarr_docker_types::filters::InvalidFilter> for ApiError {
    fn from(error: knarr_docker_types::filters::InvalidFilter) -> Self {
        Self::invalid(error.to_string())
    }
}
