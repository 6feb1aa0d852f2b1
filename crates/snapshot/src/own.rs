//! What a container has of its own: what it changed, as a list, as a layer, in bytes.
//!
//! Invariant: the same changes give the same answers, however its root filesystem is kept.
use crate::apply::Whiteouts;
use crate::changes::{self, Change};
use crate::compare::{Found, compare};
use crate::diff;
use crate::error::Error;
use crate::layers::open_dir;
use crate::union::Union;
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::FileType;
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Makes the directories of an overlay again that a loss of power took: the container's row is durable at once, its directories
/// only when something in them is synced, so whatever was lost with them had not reached the disk. `base` is the layer of mount
/// points, whose top directory is nobody's model. Whether they were lost.
pub fn remake(rootfs: &RootfsMount, base: &Path) -> Result<bool, Error> {
    let RootfsMount::Overlay { lower, upper, work, .. } = rootfs else { return Ok(false) };
    let mut lost = false;
    for (path, mode) in [(upper, 0o755), (work, 0o711)] {
        if path.is_dir() {
            continue;
        }
        lost = true;
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::io("create", path))?;
        if let Some(top) = lower.iter().find(|layer| path == upper && *layer != base) {
            let meta = std::fs::symlink_metadata(top).map_err(Error::io("look at", top))?;
            crate::flatten::set_top(&open_dir(path)?, meta.mode(), meta.uid(), meta.gid())
                .map_err(Error::errno("change owner of", path))?;
        }
    }
    Ok(lost)
}

/// What it changed, sorted by path: the list of `docker diff`. Of a plain directory nobody knows what it was.
pub fn changes(rootfs: &RootfsMount) -> Result<Vec<Change>, Error> {
    match rootfs {
        RootfsMount::Overlay { lower, upper, .. } => changes::of_overlay(lower, upper),
        RootfsMount::Copy { path, lower, complete } => {
            changes::of_copy(&Union::open(lower)?, &open_dir(path)?, *complete)
        }
        RootfsMount::Directory { .. } => Ok(Vec::new()),
    }
}

/// Writes what it changed as the tar of a layer. Of a plain directory that is everything.
pub fn layer<W: Write>(rootfs: &RootfsMount, sink: W) -> Result<W, Error> {
    match rootfs {
        RootfsMount::Overlay { upper, .. } => diff::diff(&open_dir(upper)?, Whiteouts::Overlay, sink),
        RootfsMount::Copy { path, lower, complete } => {
            diff::difference(&Union::open(lower)?, &open_dir(path)?, *complete, sink)
        }
        RootfsMount::Directory { path } => diff::diff(&open_dir(path)?, Whiteouts::Literal, sink),
    }
}

/// Bytes of the regular files that it changed or made, each counted once.
pub fn size(rootfs: &RootfsMount) -> Result<u64, Error> {
    let (path, lower, complete) = match rootfs {
        RootfsMount::Overlay { upper, .. } => return crate::walk::tree_size(&open_dir(upper)?),
        RootfsMount::Directory { path } => return crate::walk::tree_size(&open_dir(path)?),
        RootfsMount::Copy { path, lower, complete } => (path, lower, complete),
    };
    let mut total = 0u64;
    let mut seen = HashSet::new();
    compare(&Union::open(lower)?, &open_dir(path)?, *complete, &mut |found| {
        let (Found::Added(visit) | Found::Modified(visit) | Found::Touched(visit)) = found else {
            return Ok(());
        };
        let first = visit.stat.st_nlink <= 1 || seen.insert(visit.stat.st_ino);
        if visit.kind() == FileType::RegularFile && first {
            total = total.saturating_add(u64::try_from(visit.stat.st_size).unwrap_or(0));
        }
        Ok(())
    })?;
    Ok(total)
}
