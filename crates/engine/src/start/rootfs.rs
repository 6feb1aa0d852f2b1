//! A container's tree as seen from outside: by its process while it runs, else by a detached mount.
//!
//! Invariant: what is returned resolves paths inside of the tree only, and no mount shows in any mount table.
use crate::error::{Error, Result};
use knarr_linux::Errno;
use knarr_linux::path::{Resolve, Root};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use std::path::{Path, PathBuf};

/// The tree for reading. `pid` is the container's init, when it runs.
pub(crate) fn view(rootfs: &RootfsMount, pid: Option<i32>) -> Result<Root> {
    if let Some(pid) = pid {
        return of_process(pid);
    }
    let root = match rootfs {
        RootfsMount::Directory { path } => Root::open(path),
        RootfsMount::Overlay { lower, upper, .. } => {
            let mut layers: Vec<&Path> = vec![upper];
            layers.extend(lower.iter().map(PathBuf::as_path));
            read_only_overlay(&layers).map(|fd| Root::from_fd(fd, Resolve::InRoot))
        }
    };
    root.map_err(|errno| Error::io("open the container's root file system")(errno.into()))
}

/// The root of a process, with everything that is mounted in its namespace.
pub(crate) fn of_process(pid: i32) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty());
    let fd = fd.map_err(|errno| Error::io("open the root of the container's process")(errno.into()))?;
    Ok(Root::from_fd(fd, Resolve::InRoot))
}

/// The layers, top first, without an upper directory: nothing can be written.
fn read_only_overlay(layers: &[&Path]) -> Result<std::os::fd::OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let appended = layers.iter().try_for_each(|layer| fsconfig_set_string(&context, c"lowerdir+", *layer));
    let context = match appended {
        Ok(()) => context,
        // Before Linux 6.8 there is only the one option with all directories.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let text: Vec<_> = layers.iter().map(|l| l.to_string_lossy()).collect();
            fsconfig_set_string(&context, c"lowerdir", text.join(":").as_str())?;
            context
        }
        Err(errno) => return Err(errno),
    };
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}
