//! A container's tree as seen from outside: by its process while it runs, else by a detached mount.
//!
//! Invariant: what is returned resolves paths inside of the tree only, and no mount shows in any mount table.
use crate::error::Result;
use crate::process::Process;
use crate::record::Status;
use knarr_linux::path::{Resolve, Root};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::OFlags;

/// The tree for reading. `init` is what is known of the container's process, when it runs.
pub(crate) fn view(rootfs: &RootfsMount, init: Option<&Status>) -> Result<Root> {
    match init {
        Some(status) => of_process(&Process::init(status)?),
        None => Ok(Root::from_fd(knarr_snapshot::view::whole(rootfs)?, Resolve::InRoot)),
    }
}

/// The root of a process, with everything that is mounted in its namespace.
fn of_process(process: &Process) -> Result<Root> {
    let fd = process.open_below("root", OFlags::PATH | OFlags::DIRECTORY)?;
    Ok(Root::from_fd(fd, Resolve::InRoot))
}
