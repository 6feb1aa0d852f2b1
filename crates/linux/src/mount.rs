//! Mounts by descriptor: a mount is made detached, given its attributes, then attached to an opened directory or file.
//!
//! Standard: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2). Invariant: a target is
//! always a descriptor, so no path is resolved twice.
use crate::{Errno, Result, syscall};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree,
};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub use rustix::mount::MountAttrFlags;

/// How mount events travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What mount_setattr(2) changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
    pub propagation: Option<Propagation>,
    pub recursive: bool,
}

/// A new filesystem instance, detached. A parameter without value is a flag.
pub fn filesystem(
    kind: &CStr,
    parameters: &[(CString, Option<CString>)],
    attributes: u32,
) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(&context, key.as_c_str())?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes))
}

/// The same as [`filesystem`] for a device or label as source.
pub fn filesystem_from(
    kind: &CStr,
    source: &CStr,
    parameters: &[(CString, Option<CString>)],
    attributes: u32,
) -> Result<OwnedFd> {
    let mut all = vec![(c"source".to_owned(), Some(source.to_owned()))];
    all.extend_from_slice(parameters);
    filesystem(kind, &all, attributes)
}

/// Change parameters of the filesystem whose mount a descriptor is the root of.
pub fn reconfigure(mount: BorrowedFd<'_>, parameters: &[(CString, Option<CString>)]) -> Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(mount, c"", flags)?;
    for (key, value) in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(&context, key.as_c_str())?,
        }
    }
    fsconfig_reconfigure(&context)
}

/// A detached copy of the mount at a host path (links followed), with what is mounted below it if `recursive`.
pub fn clone_path(path: &CStr, recursive: bool) -> Result<OwnedFd> {
    open_tree(CWD, path, tree_flags(recursive))
}

/// A detached copy of the mount that a descriptor is in, with the descriptor's object as its root.
pub fn clone_fd(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    open_tree(fd, c"", tree_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn tree_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attach a detached mount to the object that a descriptor names.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Change attributes of the mount whose root a descriptor names.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes) -> Result<()> {
    let arguments = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    set_attr(mount, &arguments, attributes.recursive)
}

/// Make a detached mount show ids through the mapping of a user namespace.
pub fn set_id_mapping(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let arguments = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    set_attr(mount, &arguments, recursive)
}

fn set_attr(mount: BorrowedFd<'_>, arguments: &libc::mount_attr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string; the structure and its size agree and are only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(arguments),
            size_of::<libc::mount_attr>(),
        )
    };
    syscall::check(result).map(drop)
}

/// Propagation of the root mount in the caller's mount namespace, and of everything below it if `recursive`.
pub fn set_root_propagation(propagation: Propagation, recursive: bool) -> Result<()> {
    let root = root_path()?;
    let attributes = Attributes { propagation: Some(propagation), recursive, ..Attributes::default() };
    set_attributes(root.as_fd(), &attributes)
}

fn root_path() -> Result<OwnedFd> {
    rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Attach a detached mount over the root of the caller's mount namespace: nothing sees it there until [`pivot`].
pub fn attach_over_root(mount: BorrowedFd<'_>) -> Result<()> {
    attach(mount, root_path()?.as_fd())
}

/// Make an attached mount the root, and drop the old root with all that is below it. The working directory becomes `/`.
/// `shared`: mounts of the old root may be shared with another namespace, whose copies have to stay.
pub fn pivot(new_root: BorrowedFd<'_>, shared: bool) -> Result<()> {
    let old = rustix::fs::open(c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(new_root)?;
    rustix::process::pivot_root(c".", c".")?;
    // The old root now lies over the new one.
    rustix::process::fchdir(&old)?;
    if shared {
        let private =
            Attributes { propagation: Some(Propagation::Private), recursive: true, ..Attributes::default() };
        set_attributes(old.as_fd(), &private)?;
    }
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Drop an attached mount that a descriptor is the root of, and what is mounted below it.
pub fn detach(mount: BorrowedFd<'_>) -> Result<()> {
    let before = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(mount)?;
    let done = rustix::mount::unmount(c".", UnmountFlags::DETACH);
    rustix::process::fchdir(&before)?;
    done
}

/// What an overlay is made of.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Top first.
    pub lower: &'a [CString],
    pub upper: &'a CStr,
    pub work: &'a CStr,
    pub options: &'a [(&'a CStr, &'a CStr)],
    /// Never sync: <https://docs.kernel.org/filesystems/overlayfs.html#volatile-mount>.
    pub volatile: bool,
    /// A directory that kernels without repeated `lowerdir+` (before 6.8) mount over, in the caller's mount namespace.
    pub place: &'a CStr,
}

impl Overlay<'_> {
    /// A new overlay, detached.
    pub fn mount(&self) -> Result<OwnedFd> {
        match self.appended() {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.by_option_string(),
            done => done,
        }
    }

    fn appended(&self) -> Result<OwnedFd> {
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, c"source", c"overlay")?;
        for directory in self.lower {
            fsconfig_set_string(&context, c"lowerdir+", directory.as_c_str())?;
        }
        fsconfig_set_string(&context, c"upperdir", self.upper)?;
        fsconfig_set_string(&context, c"workdir", self.work)?;
        for (key, value) in self.options {
            fsconfig_set_string(&context, *key, *value)?;
        }
        if self.volatile {
            fsconfig_set_flag(&context, c"volatile")?;
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    }

    /// The way of kernels before 6.8, for [`Overlay::mount`]. The option string is one page at most. Directories are opened and named by their descriptors' numbers relative to
    /// `/proc/self/fd`, so that several hundred layers fit.
    pub fn by_option_string(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &CStr| rustix::fs::open(path, flags, Mode::empty());
        let lower = self.lower.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let (upper, work) = (open(self.upper)?, open(self.work)?);
        let (place, before) = (open(self.place)?, open(c".")?);
        let names: Vec<String> = lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut text = format!(
            "lowerdir={},upperdir={},workdir={}",
            names.join(":"),
            upper.as_raw_fd(),
            work.as_raw_fd()
        );
        for (key, value) in self.options {
            text.push_str(&format!(",{}={}", key.to_string_lossy(), value.to_string_lossy()));
        }
        if self.volatile {
            text.push_str(",volatile");
        }
        let text = CString::new(text).map_err(|_| Errno::INVAL)?;
        rustix::process::chdir(c"/proc/self/fd")?;
        let target = CString::new(place.as_raw_fd().to_string()).map_err(|_| Errno::INVAL)?;
        let mounted = rustix::mount::mount(
            c"overlay",
            target.as_c_str(),
            c"overlay",
            rustix::mount::MountFlags::empty(),
            Some(text.as_c_str()),
        );
        rustix::process::fchdir(&before)?;
        mounted?;
        // A copy is attached nowhere, so that it can be attached in any mount namespace.
        let mounted = open(self.place)?;
        let copy = clone_fd(mounted.as_fd(), false);
        detach(mounted.as_fd())?;
        copy
    }
}
