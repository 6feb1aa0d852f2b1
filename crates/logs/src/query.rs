//! Which part of a log is wanted.
use jiff::Timestamp;
use knarr_shim_proto::stdcopy::Stream;

/// What `docker logs` asks for. `tail` counts lines of the log before any other choice is made, as Docker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    pub stdout: bool,
    pub stderr: bool,
    /// Entries of this time and later.
    pub since: Option<Timestamp>,
    /// Entries of this time and earlier.
    pub until: Option<Timestamp>,
    pub tail: Tail,
    /// Wait for more until [`crate::Control`] says that nothing more comes.
    pub follow: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { stdout: true, stderr: true, since: None, until: None, tail: Tail::All, follow: false }
    }
}

/// How many of the last lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    #[default]
    All,
    Lines(u64),
}

impl Query {
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}
