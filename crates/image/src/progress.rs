//! What long operations report while they run; the API turns it into Docker's JSON messages.

use knarr_oci::image::Descriptor;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// `{"status":...,"progressDetail":{},"id":...}`, or a line without an id.
    Status { id: Option<String>, status: String },
    /// `{"status":...,"id":...}`: what is to come, above the lines of layers.
    Heading { id: String, status: String },
    /// Like `Status`, of a layer whose bytes will be counted: so many.
    Coming { id: String, status: &'static str, size: u64 },
    /// `{"status":...,"progressDetail":{"current":...,"total":...},"id":...}`
    Transfer { id: String, status: &'static str, current: u64, total: u64 },
    /// `{"stream":...}`: a line with its newline.
    Stream(String),
    /// `{"aux":{"Tag":...,"Digest":...,"Size":...}}` at the end of a push.
    Pushed { tag: String, digest: String, size: u64 },
    /// A push sent one platform's manifest in the place of the index that it was chosen from.
    InsteadOfIndex { index: Box<Descriptor>, manifest: Box<Descriptor> },
}

impl Progress {
    pub(crate) fn status(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self::Status { id: Some(id.into()), status: status.into() }
    }
    pub(crate) fn coming(id: &str, status: &'static str, size: u64) -> Self {
        Self::Coming { id: id.to_owned(), status, size }
    }
    pub(crate) fn line(status: impl Into<String>) -> Self {
        Self::Status { id: None, status: status.into() }
    }
}

/// Where progress goes. Called from several threads.
pub type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// The same for operations that run in several tasks.
pub type SharedReport = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;
