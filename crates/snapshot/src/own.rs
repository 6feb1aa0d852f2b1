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
use std::io::Write;

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
