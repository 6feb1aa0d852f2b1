//! Layered root filesystems: apply (tar to directory), diff (directory to tar), overlay views.
//!
//! Layers live at `<data-root>/layers/<diff-id hex>/fs`, unpacked once per diff id and independent of what lies below
//! them. Invariant: nothing is believed of an archive but what was verified, and none of its names reaches outside.
pub mod apply;
pub mod archive;
mod changes;
pub mod decompress;
mod diff;
mod entry;
mod error;
mod layers;
mod number;
mod pipeline;
mod sparse;
mod trash;
mod tree;
pub mod view;
mod walk;
mod writer;

pub use apply::{Applied, Whiteouts};
pub use archive::{Archive, FileData, Limits};
pub use changes::{Change, ChangeKind, changes};
pub use diff::diff;
pub use entry::{Entry, EntryKind};
pub use error::Error;
pub use layers::{Claim, LayerMeta, Layers, Staged};
pub use trash::Trash;
pub use walk::tree_size;
pub use writer::TarWriter;
