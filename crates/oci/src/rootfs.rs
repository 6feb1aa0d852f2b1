//! The neutral value between the image side, which knows layers, and the run side, which mounts.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a container's root filesystem is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum RootfsMount {
    /// Overlay of unpacked layers under a private writable directory.
    Overlay {
        /// Read-only layers, top first.
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// What is written need not survive a power cut: nothing is synced, neither when the mount goes nor when a program
        /// asks. `work` has to be empty when it is mounted again.
        #[serde(default)]
        volatile: bool,
    },
    /// A plain directory, used as it is.
    Directory { path: PathBuf },
    /// A directory of the container's own that was made from layers, where no overlay is mounted.
    Copy {
        path: PathBuf,
        /// What it was made from, top first.
        lower: Vec<PathBuf>,
        /// Seconds and nanoseconds: what was changed in it since has no earlier change time.
        complete: (i64, i64),
    },
}
