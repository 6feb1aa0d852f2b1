//! The closed set of error kinds. Faces translate a kind into a status code; nothing decides by matching text.

/// What class of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    NotFound,
    InvalidArgument,
    Conflict,
    NotModified,
    Unauthorized,
    Forbidden,
    NotImplemented,
    Unavailable,
    TooLarge,
    Internal,
}

/// Implemented by every error type of Knarr's crates.
pub trait Kind {
    fn kind(&self) -> ErrorKind;
}
