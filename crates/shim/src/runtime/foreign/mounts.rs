//! Mounts that a foreign runtime finds by path, though no mount table of the host shows them.
//!
//! Standard: mount_namespaces(7). Made by the process that becomes the runtime, in a mount namespace of its own: the
//! container's process inherits a copy, and with the runtime's process the namespace is gone.
use crate::error::{Error, Result};
use knarr_linux::mount::{self, Propagation};
use knarr_oci::rootfs::RootfsMount;
use knarr_runtime::OVERLAY_OPTIONS;
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub struct Mounts {
    /// The root file system, and the directory that it comes to.
    pub root: Option<(RootfsMount, PathBuf)>,
    /// SELinux label of everything in an overlay, where the kernel has SELinux: the runtime does not mount it and so does not
    /// label it.
    pub label: Option<CString>,
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
            let options = self.options();
            // Nobody looks below the work directory's name any more.
            let overlay = mount::Overlay {
                lower: &lower,
                upper: &top,
                work: &scratch,
                options: &options,
                volatile: *volatile,
                place: &scratch,
            };
            let overlay =
                overlay.mount().map_err(|errno| Error::file("mount overlay of", upper)(errno.into()))?;
            attach(&overlay, target)?;
        }
        self.trees.iter().try_for_each(|(tree, target)| attach(tree, target))
    }

    /// Those of the engine's own runtime: a container has the same layers whichever it runs with.
    fn options(&self) -> Vec<(&CStr, &CStr)> {
        let label = self.label.as_deref().map(|label| (c"context", label));
        OVERLAY_OPTIONS.iter().copied().chain(label).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_an_overlay() {
        let plain = Mounts::default();
        assert_eq!(plain.options(), OVERLAY_OPTIONS);
        let labelled = Mounts { label: Some(c"u:r:t:s0:c1,c2".to_owned()), ..Mounts::default() };
        let options = labelled.options();
        let (last, first) = options.split_last().unwrap();
        assert_eq!((first, *last), (OVERLAY_OPTIONS, (c"context", c"u:r:t:s0:c1,c2")));
    }
}
