//! The emergency reserve: a file whose blocks are given up when the disk is full, so that a removal can commit.
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Enough for a few copy-on-write commits of a database of some thousand rows.
const RESERVE_BYTES: usize = 2 << 20;

pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve beside the database; made now unless there is no room for it.
    pub(crate) fn beside(database: &Path) -> Self {
        let reserve = Self { path: database.with_extension("reserve") };
        if let Err(e) = reserve.fill() {
            tracing::warn!(error = %e, "no emergency reserve for the database");
        }
        reserve
    }

    /// Makes the file whole again. Cheap when it is.
    pub(crate) fn fill(&self) -> Result<()> {
        if fs::metadata(&self.path).is_ok_and(|m| m.len() == RESERVE_BYTES as u64) {
            return Ok(());
        }
        self.write().map_err(|source| {
            let _ = fs::remove_file(&self.path);
            Error::Reserve { path: self.path.clone(), source: Arc::new(source) }
        })
    }

    /// Real blocks, not a hole; the content is not all zeros for file systems that would notice.
    fn write(&self) -> std::io::Result<()> {
        let mut file = File::create(&self.path)?;
        let block: Vec<u8> = (0..4096u32).map(|i| (i % 251) as u8).collect();
        for _ in 0..RESERVE_BYTES / block.len() {
            file.write_all(&block)?;
        }
        file.sync_data()
    }

    /// Gives the blocks back to the file system; false when there was nothing to give.
    pub(crate) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
