//! How a command ends badly: an exit code and what is printed on standard error.
use knarr_docker_client::Error as ClientError;
use std::fmt;
use std::io;

/// Exit code of a flag or engine error of `run`, and of a flag error anywhere.
pub const EXIT_USAGE: i32 = 125;

/// A failed command. An empty message prints nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
    pub fn with_code(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// Only an exit code.
    pub fn status(code: i32) -> Self {
        Self { code, message: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // the reader of our output went away: end as a program killed by SIGPIPE, without a word
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::status(141);
        }
        Self::new(os_text(&error))
    }
}
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}
impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

/// The system's text for an error number in the letter case that Go prints ("no such file or directory").
pub fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Several failures of one command, one line each; Ok when there are none.
pub fn joined(failures: Vec<String>) -> Outcome {
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
}
