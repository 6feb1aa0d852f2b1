//! What the kernel refused, on which object, and why.
use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel answered with an error.
    #[error("{operation}: {}{}", errno_text(*errno), message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Refused {
        /// What was asked for, with the object: `create link kv0123456789a`.
        operation: String,
        errno: i32,
        /// The kernel's extended acknowledgement.
        message: Option<String>,
    },
    #[error("{operation}: {source}")]
    Socket { operation: String, source: io::Error },
    #[error("{operation}: malformed answer from the kernel: {reason}")]
    Malformed { operation: String, reason: &'static str },
}

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Refused { errno, .. } => Some(*errno),
            Error::Socket { source, .. } => source.raw_os_error(),
            Error::Malformed { .. } => None,
        }
    }

    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.errno() == Some(errno.raw_os_error())
    }
}

fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    plain.to_lowercase()
}
