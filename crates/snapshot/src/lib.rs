//! Layered root filesystems: apply (tar to directory), diff (directory to tar), storage drivers, views.
//!
//! Layers live at `<data-root>/layers/<diff-id hex>/fs`, unpacked once per diff id and independent of what lies below
//! them. Invariant: nothing is believed of an archive but what was verified, and none of its names reaches outside.
pub mod apply;
pub mod archive;
mod changes;
mod claims;
mod compare;
pub mod decompress;
mod diff;
mod difference;
pub mod driver;
mod entry;
mod error;
mod flatten;
mod fresh;
mod hidden;
mod layers;
mod measure;
mod number;
pub mod own;
mod pipeline;
mod sparse;
mod trash;
mod tree;
mod union;
pub mod view;
mod walk;
mod writer;

pub use apply::{Applied, Whiteouts};
pub use archive::{Archive, FileData, Limits};
pub use changes::{Change, ChangeKind};
pub use diff::diff;
pub use difference::difference;
pub use entry::{Entry, EntryKind};
pub use error::Error;
pub use layers::{Claim, LayerMeta, Layers, Staged};
pub use measure::{Measure, disk_usage, measure, measure_all};
pub use trash::Trash;
pub use walk::tree_size;
pub use writer::TarWriter;
