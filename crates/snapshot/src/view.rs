//! Views: a root filesystem as a detached mount, reached through a descriptor alone.
//!
//! Standard: fsopen(2), <https://docs.kernel.org/filesystems/overlayfs.html>. Invariant: the mount is never attached, so no
//! mount table shows it and it ends with its descriptor.
use crate::error::Error;
use knarr_linux::Errno;
use knarr_linux::mount::Propagation;
use knarr_linux::namespace;
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Features that would make an upper directory mean nothing without its lower ones.
const OFF: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// A container's root filesystem, writable. Not while a container runs on it: two overlays on one upper directory do not
/// know of each other.
pub fn writable(rootfs: &RootfsMount) -> Result<OwnedFd, Error> {
    match rootfs {
        RootfsMount::Directory { path } | RootfsMount::Copy { path, .. } => open(path),
        RootfsMount::Overlay { lower, upper, work, .. } => overlay(lower, Some((upper, work))),
    }
}

/// A container's root filesystem, read-only: what it has of its own on top of its image.
pub fn whole(rootfs: &RootfsMount) -> Result<OwnedFd, Error> {
    match rootfs {
        RootfsMount::Directory { path } | RootfsMount::Copy { path, .. } => open(path),
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

/// Upper and work directory.
type Writable<'a> = Option<(&'a PathBuf, &'a PathBuf)>;

fn overlay(lower: &[PathBuf], upper: Writable<'_>) -> Result<OwnedFd, Error> {
    let shown = upper.map_or_else(|| lower.first().cloned().unwrap_or_default(), |(upper, _)| upper.clone());
    let mounted = match mount(lower, upper) {
        // Before Linux 6.8 the list of layers is one text.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => mount_apart(lower, upper),
        done => done,
    };
    mounted.map_err(Error::errno("mount overlay of", shown))
}

fn mount(lower: &[PathBuf], upper: Writable<'_>) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    for layer in lower {
        fsconfig_set_string(&context, "lowerdir+", layer.as_path())?;
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

/// The same with mount(2), whose options are one page of text, in a mount namespace and with a working directory that
/// only one thread has; the mount is taken out of it as a descriptor. Layers are named by their descriptors' numbers in
/// `/proc/self/fd`, so that several hundred fit.
fn mount_apart(lower: &[PathBuf], upper: Writable<'_>) -> Result<OwnedFd, Errno> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| mount_by_text(lower, upper));
        thread.join().unwrap_or(Err(Errno::IO))
    })
}

fn mount_by_text(lower: &[PathBuf], upper: Writable<'_>) -> Result<OwnedFd, Errno> {
    let target = lower.first().ok_or(Errno::INVAL)?;
    // First: overlayfs takes only directories of the mount namespace that it is mounted in.
    namespace::unshare(knarr_linux::process::flags::NEWNS)?;
    knarr_linux::mount::set_root_propagation(Propagation::Private, true)?;
    let fd_of = |path: &PathBuf| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path.as_path(), flags, Mode::empty())
    };
    let layers = lower.iter().map(fd_of).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = layers.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let mut text = format!("lowerdir={}", names.join(":"));
    let writable = match upper {
        Some((upper, work)) => Some((fd_of(upper)?, fd_of(work)?)),
        None => None,
    };
    if let Some((upper, work)) = &writable {
        text.push_str(&format!(",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd()));
    }
    for (key, value) in OFF {
        text.push_str(&format!(",{key}={value}"));
    }
    let text = CString::new(text).map_err(|_| Errno::INVAL)?;
    let flags = if writable.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
    rustix::process::chdir("/proc/self/fd")?;
    rustix::mount::mount("overlay", target.as_path(), "overlay", flags, Some(text.as_c_str()))?;
    open_tree(CWD, target.as_path(), OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mount: &OwnedFd) -> Vec<String> {
        let root = format!("/proc/self/fd/{}/", mount.as_raw_fd());
        let mut names: Vec<String> = std::fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn old_kernels_see_the_same_tree_of_many_layers() {
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<PathBuf> = (0..150).map(|n| dir.path().join(format!("{n:03}"))).collect();
        for layer in &lower {
            std::fs::create_dir(layer).unwrap();
            std::fs::write(layer.join(layer.file_name().unwrap()), "x").unwrap();
            std::fs::write(layer.join("same"), layer.to_str().unwrap()).unwrap();
        }
        let before = std::env::current_dir().unwrap();
        let new = mount(&lower, None).unwrap();
        let old = mount_apart(&lower, None).unwrap();
        assert_eq!(names(&new), names(&old));
        assert_eq!(names(&old).len(), 151);
        let same = format!("/proc/self/fd/{}/same", old.as_raw_fd());
        assert_eq!(std::fs::read_to_string(&same).unwrap(), lower[0].to_str().unwrap());
        assert!(std::fs::write(&same, "").is_err(), "read-only");
        assert_eq!(std::env::current_dir().unwrap(), before);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()), "seen by others");

        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let writable = mount_apart(&lower, Some((&upper, &work))).unwrap();
        std::fs::write(format!("/proc/self/fd/{}/new", writable.as_raw_fd()), "y").unwrap();
        assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "y");
    }
}
