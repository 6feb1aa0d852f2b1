//! A container's tree as seen from outside: by its process while it runs, else by a detached mount.
//!
//! Invariant: what is returned resolves paths inside of the tree only, and no mount shows in any mount table.
use crate::error::{Error, Result};
use knarr_linux::path::{Resolve, Root};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};

/// The tree for reading. `pid` is the container's init, when it runs.
pub(crate) fn view(rootfs: &RootfsMount, pid: Option<i32>) -> Result<Root> {
    match pid {
        Some(pid) => of_process(pid),
        None => Ok(Root::from_fd(knarr_snapshot::view::whole(rootfs)?, Resolve::InRoot)),
    }
}

/// The root of a process, with everything that is mounted in its namespace.
fn of_process(pid: i32) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty());
    let fd = fd.map_err(|errno| Error::io("open the root of the container's process")(errno.into()))?;
    Ok(Root::from_fd(fd, Resolve::InRoot))
}
