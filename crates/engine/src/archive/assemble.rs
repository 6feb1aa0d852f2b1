//! The tree of a container that does not run, as its processes would see it: its root file system with volumes and binds on it.
//!
//! Standard: move_mount(2), mount_namespaces(7). The mounts are attached in a mount namespace that one thread makes and only a
//! descriptor keeps. Invariants: no mount shows anywhere else; sources and destinations are descriptors before they are used,
//! so no path is looked at twice; what is left out is what could not be mounted either.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, MountKind, MountRow};
use knarr_linux::mount::{self, Attributes, Propagation};
use knarr_linux::path::{Resolve, Root};
use knarr_linux::process::flags::NEWNS;
use knarr_linux::{Errno, namespace};
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// A whole tree; its mounts end with it.
pub(super) struct Assembled {
    pub root: Root,
    /// Keeps the mounts where they are.
    pub namespace: OwnedFd,
}

/// Puts the tree together. A read-only root file system is that in `writable` ones, too.
pub(super) fn assemble(engine: &Inner, container: &Container, writable: bool) -> Result<Assembled> {
    let seen = Container { mounts: engine.mounts_of(container), ..container.clone() };
    let container = &seen;
    let writable = writable && !container.host_config.readonly_rootfs;
    let (tree, missing) = in_a_thread(|| put_together(container, writable))?;
    if missing.is_empty() {
        return Ok(tree);
    }
    drop(tree);
    // As a start does; a container that never ran has no directories for its mounts.
    make_mount_points(container, &missing)?;
    in_a_thread(|| put_together(container, writable)).map(|(tree, _)| tree)
}

/// Namespaces are changed in a thread that ends.
fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::Internal("the container's tree was not put together".into())))
    })
}

/// Gives also the destinations that do not exist.
fn put_together(container: &Container, writable: bool) -> Result<(Assembled, Vec<&MountRow>)> {
    let fail = |action| move |errno: Errno| Error::io(action)(errno.into());
    namespace::unshare(NEWNS).map_err(fail("make a mount namespace"))?;
    mount::set_root_propagation(Propagation::Private, true)
        .map_err(fail("make a mount namespace private"))?;
    let root = root_mount(&container.rootfs, writable)?;
    let root = Root::from_fd(root, Resolve::InRoot);
    let mut rows: Vec<&MountRow> =
        container.mounts.iter().filter(|row| row.kind != MountKind::Tmpfs).collect();
    rows.sort_by_key(|row| Path::new(&row.destination).components().count());
    let mut missing = Vec::new();
    for row in rows {
        let Some(source) = source(row)? else { continue };
        let target = match root.open_path(&row.destination) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => match make(&root, row, &source) {
                Ok(target) => target,
                Err(_) => {
                    missing.push(row);
                    continue;
                }
            },
            Err(errno) => return Err(Error::path("open", &row.destination)(errno.into())),
        };
        if is_directory(&source) != is_directory(&target) {
            continue;
        }
        let done = attach(row, &source, &target);
        done.map_err(|errno| Error::path("mount", &row.destination)(errno.into()))?;
    }
    let namespace =
        rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let namespace = namespace.map_err(fail("keep a mount namespace"))?;
    Ok((Assembled { root, namespace }, missing))
}

/// The root file system, attached over the directory that it is kept in.
fn root_mount(rootfs: &RootfsMount, writable: bool) -> Result<OwnedFd> {
    let fail = |errno: Errno| Error::io("mount the container's root file system")(errno.into());
    let made = match writable {
        true => knarr_snapshot::view::writable(rootfs)?,
        false => knarr_snapshot::view::whole(rootfs)?,
    };
    let place = match rootfs {
        RootfsMount::Overlay { upper, .. } => upper.as_path(),
        RootfsMount::Directory { path } | RootfsMount::Copy { path, .. } => path.as_path(),
    };
    let place = open(place).map_err(fail)?;
    match mount::attach(made.as_fd(), place.as_fd()) {
        Ok(()) => Ok(made),
        // A plain directory is no mount yet.
        Err(Errno::INVAL) => {
            let copy = mount::clone_fd(made.as_fd(), false).map_err(fail)?;
            if !writable {
                let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
                mount::set_attributes(copy.as_fd(), &read_only).map_err(fail)?;
            }
            mount::attach(copy.as_fd(), place.as_fd()).map_err(fail)?;
            Ok(copy)
        }
        Err(errno) => Err(fail(errno)),
    }
}

/// What is to be mounted; `None`: it is not there (any more).
fn source(row: &MountRow) -> Result<Option<OwnedFd>> {
    if row.kind == MountKind::Image {
        return crate::start::open_image_mount(row).map(Some);
    }
    let opened = match row.subpath.as_str() {
        "" => open(&row.source),
        subpath => {
            // The volume's own directory, which the path below it was appended to.
            let depth = Path::new(subpath).components().count();
            let volume = row.source.ancestors().nth(depth).unwrap_or(&row.source);
            Root::open_beneath(volume).and_then(|root| root.open_path(subpath))
        }
    };
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::path("open", &row.source)(errno.into())),
    }
}

fn attach(row: &MountRow, source: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    if row.kind == MountKind::Image {
        // Detached and read-only already.
        return mount::attach(source.as_fd(), target.as_fd());
    }
    let copy = mount::clone_fd(source.as_fd(), row.recursive)?;
    if !row.rw {
        let recursive = row.recursive && !row.read_only_top_only;
        let read_only = Attributes { set: READ_ONLY, recursive, ..Attributes::default() };
        mount::set_attributes(copy.as_fd(), &read_only)?;
    }
    mount::attach(copy.as_fd(), target.as_fd())
}

fn make(root: &Root, row: &MountRow, source: &OwnedFd) -> Result<OwnedFd, Errno> {
    if is_directory(source) {
        root.mkdir_all(&row.destination, 0o755)?;
    } else {
        root.make_parent(&row.destination, 0o755)?;
        root.ensure_file(&row.destination, 0o644)?;
    }
    root.open_path(&row.destination)
}

fn make_mount_points(container: &Container, rows: &[&MountRow]) -> Result<()> {
    let root = Root::from_fd(knarr_snapshot::view::writable(&container.rootfs)?, Resolve::InRoot);
    for row in rows {
        if let Some(source) = source(row)? {
            let made = make(&root, row, &source);
            made.map_err(|errno| Error::path("make", &row.destination)(errno.into()))?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn is_directory(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
