//! Bind sources that lie in the mount namespace of another process, as `/dev/shm` of a container that shares its IPC.
//!
//! Standard: open_tree(2) copies mounts of the caller's own mount namespace only, so it is called by a process that has
//! joined (setns(2)) the other one; the detached copy may then be attached anywhere. Invariants: the caller itself never
//! leaves its namespace; what is opened by the process's number is one process's; the path is resolved inside of the other process's root, without magic links.
use crate::Error;
use crate::plan::{MAX_FOREIGN, MapBy, Mapping, Plan, Source, Step};
use knarr_linux::mount::{Attributes, Propagation};
use knarr_linux::path::{Resolve, Root};
use knarr_linux::process::{self, Clone3, flags};
use knarr_linux::{Errno, Result, fdpass, mount, namespace, prctl};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Detached copies of all foreign sources, in the order of the steps.
pub(crate) fn open(
    plan: &Plan,
    userns: Option<BorrowedFd<'_>>,
    id_maps: &[OwnedFd],
) -> crate::Result<Vec<OwnedFd>> {
    let mut trees = Vec::new();
    for step in &plan.steps {
        let Step::Mount(mount) = step else { continue };
        let tree = match &mount.source {
            Source::Foreign { pid, path, recursive, .. } => mount_of_process(*pid, path, *recursive)?,
            Source::Descriptor { pid, path, recursive, mapping, .. } => {
                let by = mapping.map(|Mapping { by, recursive }| match by {
                    MapBy::Container => (userns, recursive),
                    MapBy::Own(number) => (id_maps.get(number).map(AsFd::as_fd), recursive),
                });
                let propagation = mount.propagation.map_or(Propagation::Private, |(kind, _)| kind);
                of_descriptor(*pid, path, *recursive, by, propagation).map_err(|errno| Error::Step {
                    stage: "bind the descriptor".to_owned(),
                    path: Some(OsStr::from_bytes(path.to_bytes()).into()),
                    errno: errno.raw_os_error(),
                })?
            }
            _ => continue,
        };
        debug_assert!(trees.len() < MAX_FOREIGN);
        trees.push(tree);
    }
    Ok(trees)
}

/// The process's descriptors name mounts of the caller's own namespace, or detached ones. The copy must not send mounts back
/// there.
fn of_descriptor(
    pid: i32,
    path: &CStr,
    recursive: bool,
    mapping: Option<(Option<BorrowedFd<'_>>, bool)>,
    propagation: Propagation,
) -> Result<OwnedFd> {
    let pidfd = process::pidfd_open(pid)?;
    let copy = match mount::clone_path(path, recursive) {
        // A detached mount was made for this container; kernels before 6.15 copy none.
        Err(Errno::INVAL) => rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        copy => copy?,
    };
    process::pidfd_send_signal(pidfd.as_fd(), 0)?;
    let attributes = Attributes { propagation: Some(propagation), recursive: true, ..Attributes::default() };
    mount::set_attributes(copy.as_fd(), &attributes)?;
    if let Some((namespace, recursive)) = mapping {
        mount::set_id_mapping(copy.as_fd(), namespace.ok_or(Errno::BADF)?, recursive)?;
    }
    Ok(copy)
}

/// A detached copy of what is mounted at a path of another process's root, for callers that mount by themselves.
pub fn mount_of_process(pid: i32, path: &CStr, recursive: bool) -> crate::Result<OwnedFd> {
    tree(pid, path, recursive).map_err(|errno| Error::Step {
        stage: format!("bind from the mounts of process {pid}:"),
        path: Some(OsStr::from_bytes(path.to_bytes()).into()),
        errno: errno.raw_os_error(),
    })
}

fn tree(pid: i32, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let open = |name: &str, flags: OFlags| {
        rustix::fs::openat(CWD, format!("/proc/{pid}/{name}"), flags | OFlags::CLOEXEC, Mode::empty())
    };
    let pidfd = process::pidfd_open(pid)?;
    let namespace = open("ns/mnt", OFlags::RDONLY)?;
    let root = Root::from_fd(open("root", OFlags::PATH | OFlags::DIRECTORY)?, Resolve::InRoot);
    // Alive still, so all of it was this process and not a later one of the same number.
    process::pidfd_send_signal(pidfd.as_fd(), 0)?;
    let source = root.open_path(OsStr::from_bytes(path.to_bytes()))?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = Clone3::default().spawn(|| {
        match copy(namespace.as_fd(), source.as_fd(), recursive)
            .and_then(|tree| fdpass::send(&theirs, &[0], &[tree.as_fd()]))
        {
            Ok(_) => 0,
            // Error numbers of these calls are small.
            Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX),
        }
    })?;
    drop(theirs);
    let received = fdpass::receive(&ours, &mut [0]);
    let exit = process::wait(child.pidfd.as_fd(), true)?;
    match (exit, received?.1.pop()) {
        (_, Some(tree)) => Ok(tree),
        (Some(process::Exit::Code(errno)), None) if errno != 0 => Err(Errno::from_raw_os_error(errno)),
        _ => Err(Errno::IO),
    }
}

/// In a process of its own: it shares root and working directory, which change here, with nobody.
fn copy(namespace: BorrowedFd<'_>, source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    // Processes of the other container may see this one.
    prctl::set_dumpable(false)?;
    namespace::join(namespace, flags::NEWNS)?;
    mount::clone_fd(source, recursive)
}
