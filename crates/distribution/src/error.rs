//! What can go wrong between us and a registry, in the words that Docker's clients show.
use http::StatusCode;
use knarr_base::{ErrorKind, Kind};
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("manifest for {reference} not found: {cause}")]
    ManifestUnknown { reference: String, cause: RegistryError },
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {cause}"
    )]
    PullDenied { name: String, cause: RegistryError },
    #[error("{cause}")]
    PushDenied { cause: RegistryError },
    #[error("{method} \"{url}\": {cause}")]
    Unauthorized { method: http::Method, url: String, cause: RegistryError },
    #[error("{method} \"{url}\": no basic auth credentials")]
    NoCredentials { method: http::Method, url: String },
    #[error("toomanyrequests: {message}")]
    TooManyRequests { message: String, retry_after: Option<Duration> },
    /// Any other answer that is not what was asked for.
    #[error("{method} \"{url}\": {cause}")]
    Status {
        method: http::Method,
        url: String,
        status: StatusCode,
        cause: RegistryError,
        retry_after: Option<Duration>,
    },
    /// No answer.
    #[error("{method} \"{url}\": {cause}")]
    Transport {
        method: http::Method,
        url: String,
        cause: String,
        temporary: bool,
        connected: bool,
        /// The server speaks TLS, and did not want to with us.
        refused: bool,
    },
    #[error("{url}: no answer in {limit:?}")]
    Timeout { url: String, limit: Duration },
    #[error("{url}: answer is larger than {limit} bytes")]
    TooLarge { url: String, limit: usize },
    #[error("{url}: unexpected answer: {what}")]
    Protocol { url: String, what: String },
    #[error("manifest verification failed for digest {expected}")]
    DigestMismatch { expected: knarr_oci::digest::Digest, found: knarr_oci::digest::Digest },
    #[error("invalid registry configuration: {0}")]
    Config(String),
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Content(#[from] knarr_content::Error),
    #[error("read blob: {0}")]
    Read(std::io::Error),
    #[error("transfer was cancelled")]
    Cancelled,
}

/// The error in a registry's answer (`{"errors":[{"code":..,"message":..}]}`), printed as Docker prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct RegistryError {
    /// Such as `MANIFEST_UNKNOWN`; empty if the answer was no document.
    pub code: String,
    pub message: String,
}

/// Most characters of an answer that are shown.
const SHOWN: usize = 256;

impl RegistryError {
    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }

    fn text(&self) -> String {
        let code = self.code.to_ascii_lowercase().replace('_', " ");
        match (code.is_empty(), self.message.is_empty()) {
            (true, _) => self.message.clone(),
            (false, true) => code,
            (false, false) => format!("{code}: {}", self.message),
        }
    }

    /// From the body of an answer, or from its status when the body says nothing.
    pub(crate) fn parse(status: StatusCode, body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Document {
            errors: Vec<Entry>,
        }
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        if let Ok(document) = serde_json::from_slice::<Document>(body)
            && let Some(first) = document.errors.into_iter().next()
        {
            return Self { code: first.code, message: clean(&first.message) };
        }
        match status {
            StatusCode::UNAUTHORIZED => Self::new("UNAUTHORIZED", "authentication required"),
            StatusCode::FORBIDDEN => Self::new("DENIED", "requested access to the resource is denied"),
            _ => {
                let text = clean(&String::from_utf8_lossy(body));
                let message = if text.is_empty() {
                    format!("unexpected status code {status}")
                } else {
                    format!("unexpected status code {status}: {text}")
                };
                Self { code: String::new(), message }
            }
        }
    }
}

/// Without control characters, and not too long: it goes to terminals and logs.
fn clean(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

impl Error {
    /// Whether the registry says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::ManifestUnknown { .. } => true,
            Self::Status { status, .. } => *status == StatusCode::NOT_FOUND,
            _ => false,
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Transport { temporary, .. } => *temporary,
            Self::Timeout { .. } => true,
            // A server that does not say when is not asked again: each request may make it worse.
            Self::TooManyRequests { retry_after, .. } => retry_after.is_some(),
            Self::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            _ => false,
        }
    }
}

impl Error {
    /// What the server said about when to come back.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ManifestUnknown { .. } | Self::PullDenied { .. } => ErrorKind::NotFound,
            Self::PushDenied { .. } => ErrorKind::Forbidden,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Status { status, .. } => match *status {
                StatusCode::NOT_FOUND => ErrorKind::NotFound,
                StatusCode::FORBIDDEN => ErrorKind::Forbidden,
                StatusCode::CONFLICT => ErrorKind::Conflict,
                status if status.is_server_error() => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::TooManyRequests { .. } | Self::Timeout { .. } => ErrorKind::Unavailable,
            // Docker's daemon answers 500 when a registry cannot be reached, and when nobody gave credentials: its client
            // takes 401 for a reason to ask for some.
            Self::NoCredentials { .. }
            | Self::Transport { .. }
            | Self::Protocol { .. }
            | Self::Read(_)
            | Self::Cancelled => ErrorKind::Internal,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::DigestMismatch { .. } | Self::Config(_) | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Content(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_dockers() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let cause = RegistryError::parse(StatusCode::NOT_FOUND, body);
        let error = Error::ManifestUnknown { reference: "busybox:nope".to_owned(), cause };
        assert_eq!(
            error.to_string(),
            "manifest for busybox:nope not found: manifest unknown: manifest unknown"
        );
        let cause = RegistryError::parse(StatusCode::FORBIDDEN, b"");
        let error = Error::PullDenied { name: "foo".to_owned(), cause };
        assert_eq!(
            error.to_string(),
            "pull access denied for foo, repository does not exist or may require 'docker login': denied: \
             requested access to the resource is denied"
        );
        let long = RegistryError::parse(StatusCode::BAD_GATEWAY, &[b'\x1b'; 5000]);
        assert!(long.to_string().len() < 400 && !long.to_string().contains('\x1b'));
    }
}
