//! The files of an image as a mount, or a directory or file of them.
//!
//! Standard: open_tree(2), move_mount(2). The tree is attached in a mount namespace that one thread makes and that ends with
//! it; what is given away is a detached copy. Invariants: it shows in no mount table; a path below it is resolved inside of
//! it; it is read-only.
use crate::error::{Error, Result};
use crate::record::MountRow;
use knarr_linux::mount::{self, Attributes, Propagation};
use knarr_linux::path::{Resolve, Root};
use knarr_linux::process::flags::NEWNS;
use knarr_linux::{Errno, namespace};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Directory below the container's that has one for each image that is mounted.
pub(crate) const IMAGES: &str = "images";
/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// A detached mount.
pub(crate) fn open(row: &MountRow) -> Result<OwnedFd> {
    let tree = row.tree.as_ref().ok_or_else(|| {
        Error::Internal(format!("the image {} that is mounted at {} has no tree", row.name, row.destination))
    })?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| in_namespace(tree, &row.subpath));
        let done = thread.join();
        done.unwrap_or_else(|_| Err(Error::Internal("the image's files were not mounted".to_owned())))
    })
}

fn in_namespace(tree: &RootfsMount, subpath: &str) -> Result<OwnedFd> {
    let fail = |errno: Errno| Error::io("mount an image's files")(errno.into());
    namespace::unshare(NEWNS).map_err(fail)?;
    mount::set_root_propagation(Propagation::Private, true).map_err(fail)?;
    let whole = knarr_snapshot::view::whole(tree)?;
    let (RootfsMount::Overlay { upper: place, .. }
    | RootfsMount::Copy { path: place, .. }
    | RootfsMount::Directory { path: place }) = tree;
    let place = directory(place).map_err(fail)?;
    match mount::attach(whole.as_fd(), place.as_fd()) {
        Ok(()) => {}
        // A plain directory, which is in this namespace as it is.
        Err(Errno::INVAL) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let root = Root::from_fd(whole, Resolve::InRoot);
    let wanted = root.open_path(if subpath.is_empty() { "/" } else { subpath });
    let wanted = wanted
        .map_err(|errno| Error::Invalid(format!("cannot access path {subpath} of the image: {errno}")))?;
    let copy = mount::clone_fd(wanted.as_fd(), false).map_err(fail)?;
    let attributes =
        Attributes { set: READ_ONLY, propagation: Some(Propagation::Private), ..Attributes::default() };
    mount::set_attributes(copy.as_fd(), &attributes).map_err(fail)?;
    Ok(copy)
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
