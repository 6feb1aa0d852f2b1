//! Documents of the image specification, and their Docker twins.
//!
//! Standards: <https://github.com/opencontainers/image-spec>,
//! <https://github.com/distribution/distribution/blob/main/docs/content/spec/manifest-v2-2.md>. Invariants: a document
//! is bounded in bytes and counts before it is believed; a body that could be read as two kinds of document is
//! refused (CVE-2021-41190); the bytes that a digest covers are never written anew.
mod config;
mod descriptor;
pub(crate) mod lenient;
mod manifest;
pub mod media_type;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, ImageDocument, RootFs};
pub use descriptor::Descriptor;
pub use manifest::{Document, Index, Manifest};

/// Largest manifest or index that is read, as registries also bound it.
pub const MAX_MANIFEST_LEN: usize = 4 << 20;
/// Largest image configuration that is read.
pub const MAX_CONFIG_LEN: usize = 8 << 20;
/// Most layers of one image: the kernel's overlay takes 500 lower directories, one of which is a container's own where it is
/// looked at from outside.
pub const MAX_LAYERS: usize = 499;
/// Most entries of one index.
pub const MAX_INDEX_ENTRIES: usize = 4096;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    #[error("invalid {what}: {reason}")]
    Syntax { what: &'static str, reason: String },
    #[error("ambiguous document: {0}")]
    Ambiguous(String),
    #[error("media type mismatch: declared {declared:?}, document says {found:?}")]
    MediaType { declared: String, found: String },
    #[error("unsupported media type {0:?}")]
    Unsupported(String),
    #[error("{what}: {count} entries, at most {limit} are allowed")]
    TooMany { what: &'static str, count: usize, limit: usize },
}
