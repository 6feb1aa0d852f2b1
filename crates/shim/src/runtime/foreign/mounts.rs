//! Mounts that a foreign runtime finds by path, though no mount table of the host shows them.
//!
//! Standard: mount_namespaces(7). Made by the process that becomes the runtime, in a mount namespace of its own: the
//! container's process inherits a copy, and with the runtime's process the namespace is gone.
use crate::error::{Error, Result};
use knarr_linux::mount::{self, Propagation};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub struct Mounts {
    /// The root file system, and the directory that it comes to.
    pub root: Option<(RootfsMount, PathBuf)>,
    /// Detached mounts, and what they come to.
    pub trees: Vec<(OwnedFd, PathBuf)>,
}

impl Mounts {
    /// In the new process.
    pub fn make(&self) -> Result<()> {
        // The host's later mounts come in, nothing goes out.
        mount::set_root_propagation(Propagation::Slave, true)
            .map_err(Error::system("separate the runtime's mounts"))?;
        if let Some((RootfsMount::Overlay { lower, upper, work, volatile }, target)) = &self.root {
            let lower: Vec<CString> = lower.iter().map(|path| text(path)).collect::<Result<_>>()?;
            let (top, scratch) = (text(upper)?, text(work)?);
            // Nobody looks below the work directory's name any more.
            let overlay = mount::Overlay {
                lower: &lower,
                upper: &top,
                work: &scratch,
                options: &[],
                volatile: *volatile,
                place: &scratch,
            };
            let overlay =
                overlay.mount().map_err(|errno| Error::file("mount overlay of", upper)(errno.into()))?;
            attach(&overlay, target)?;
        }
        self.trees.iter().try_for_each(|(tree, target)| attach(tree, target))
    }
}

fn attach(tree: &OwnedFd, target: &Path) -> Result<()> {
    let attached = rustix::fs::openat(CWD, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|opened| mount::attach(tree.as_fd(), opened.as_fd()));
    attached.map_err(|errno| Error::file("mount", target)(errno.into()))
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::file("name", path)(std::io::ErrorKind::InvalidInput.into()))
}
