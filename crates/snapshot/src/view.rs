//! Views: a root filesystem as a detached mount, reached through a descriptor alone.
//!
//! Standard: fsopen(2), <https://docs.kernel.org/filesystems/overlayfs.html>. Invariant: the mount is never attached, so no
//! mount table shows it and it ends with its descriptor.
use crate::error::Error;
use knarr_linux::Errno;
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Features that would make an upper directory mean nothing without its lower ones.
const OFF: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];
/// Longest text that fsconfig(2) takes.
const MAX_OPTION_LEN: usize = 255;

/// A container's root filesystem, writable. Not while a container runs on it: two overlays on one upper directory do not
/// know of each other.
pub fn writable(rootfs: &RootfsMount) -> Result<OwnedFd, Error> {
    match rootfs {
        RootfsMount::Directory { path } => open(path),
        RootfsMount::Overlay { lower, upper, work } => overlay(lower, Some((upper, work))),
    }
}

/// A container's root filesystem, read-only: what it has of its own on top of its image.
pub fn whole(rootfs: &RootfsMount) -> Result<OwnedFd, Error> {
    match rootfs {
        RootfsMount::Directory { path } => open(path),
        RootfsMount::Overlay { lower, upper, .. } => {
            let all: Vec<PathBuf> = std::iter::once(upper.clone()).chain(lower.iter().cloned()).collect();
            read_only(&all)
        }
    }
}

/// Layers as one tree, top first, read-only.
pub fn read_only(layers: &[PathBuf]) -> Result<OwnedFd, Error> {
    match layers {
        [one] => open(one),
        many => overlay(many, None),
    }
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::errno("open", path))
}

fn overlay(lower: &[PathBuf], upper: Option<(&PathBuf, &PathBuf)>) -> Result<OwnedFd, Error> {
    let shown = upper.map_or_else(|| lower.first().cloned().unwrap_or_default(), |(upper, _)| upper.clone());
    let mounted = match mount(lower, upper, true) {
        // Before Linux 6.8 the list of layers is one text.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => mount(lower, upper, false),
        done => done,
    };
    mounted.map_err(Error::errno("mount overlay of", shown))
}

fn mount(lower: &[PathBuf], upper: Option<(&PathBuf, &PathBuf)>, repeated: bool) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    let mut kept = Vec::new();
    if repeated {
        for layer in lower {
            fsconfig_set_string(&context, "lowerdir+", layer.as_path())?;
        }
    } else {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for layer in lower {
            kept.push(rustix::fs::openat(CWD, layer.as_path(), flags, Mode::empty())?);
        }
        let names: Vec<String> = kept.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
        let names = names.join(":");
        if names.len() > MAX_OPTION_LEN {
            return Err(Errno::TOOBIG);
        }
        fsconfig_set_string(&context, "lowerdir", names.as_str())?;
    }
    match upper {
        Some((upper, work)) => {
            fsconfig_set_string(&context, "upperdir", upper.as_path())?;
            fsconfig_set_string(&context, "workdir", work.as_path())?;
        }
        None => fsconfig_set_flag(&context, "ro")?,
    }
    for (key, value) in OFF {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let attributes =
        if upper.is_none() { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
