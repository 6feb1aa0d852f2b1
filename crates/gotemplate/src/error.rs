//! What can go wrong, with Go's texts.

/// The stage at which a template failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Parse,
    Execute,
}

/// A template that does not parse or cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("template: :{line}: {message}")]
    Parse { line: usize, message: String },
    #[error("template: :{line}:{column}: executing {name} at <{context}>: {message}", name = crate::quote(template))]
    Execute { template: String, line: usize, column: usize, context: String, message: String },
}

impl Error {
    pub(crate) fn parse(line: usize, message: String) -> Self {
        Self::Parse { line, message }
    }
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse { .. } => ErrorKind::Parse,
            Self::Execute { .. } => ErrorKind::Execute,
        }
    }
}
