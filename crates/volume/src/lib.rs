//! Named and anonymous volumes: directories of the data root that outlive containers.
//!
//! A volume is a row and `<data-root>/volumes/<name>/_data`. Its shape is Docker's `local` driver
//! (<https://docs.docker.com/engine/storage/volumes/>). Whoever holds a volume holds its id, which a change of its name
//! would not touch. Invariants: the directory exists before its row; the row goes before the directory; content is copied
//! through descriptors (`knarr_linux::path`), never by path text; what a volume's options mount is mounted at its directory
//! as long as somebody uses it, and a directory that something is mounted on is never removed.
mod copy;
mod error;
mod mounted;
mod options;
mod quota;
mod volume;
mod volumes;

pub use copy::copy_tree;
pub use error::Error;
pub use mounted::Resolve;
pub use volume::{ANONYMOUS_LABEL, CreateVolume, Volume};
pub use volumes::{CopyUp, Volumes};

/// Result of an operation on volumes.
pub type Result<T, E = Error> = std::result::Result<T, E>;
