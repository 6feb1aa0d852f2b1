//! Named and anonymous volumes: directories of the data root that outlive containers.
//!
//! A volume is a row and `<data-root>/volumes/<name>/_data`. Its shape is Docker's `local` driver
//! (<https://docs.docker.com/engine/storage/volumes/>). Invariants: the directory exists before its row; the row goes
//! before the directory; content is copied through descriptors (`knarr_linux::path`), never by path text.
mod copy;
mod error;
mod volumes;

pub use copy::copy_tree;
pub use error::Error;
pub use volumes::{CopyUp, CreateVolume, Volume, Volumes};

/// Result of an operation on volumes.
pub type Result<T, E = Error> = std::result::Result<T, E>;
