//! The container's user namespace: given, joined by its path, or new with the maps of the configuration.
use crate::created::step_error;
use crate::{CreateOptions, Error, Result, plan};
use knarr_linux::caps;
use knarr_linux::user_namespace::{self, IdMaps, Writer};
use knarr_oci::runtime::{Linux, NamespaceType};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process may mount, and map ids, in its own user namespace.
pub(crate) fn is_privileged() -> bool {
    rustix::process::geteuid().is_root()
        && caps::get().is_ok_and(|sets| sets.effective.contains(CAP_SYS_ADMIN))
}

/// `None`: the container stays in the caller's.
pub(crate) fn of_container(options: &CreateOptions<'_>, linux: &Linux) -> Result<Option<(OwnedFd, IdMaps)>> {
    let entry = linux.namespace(NamespaceType::User);
    let known = plan::id_maps(&linux.uid_mappings, &linux.gid_mappings);
    let joined = match (options.userns, entry.map(|entry| &entry.path)) {
        (Some(given), _) => {
            rustix::io::fcntl_dupfd_cloexec(given, 3).map_err(step_error("duplicate a descriptor"))?
        }
        (None, Some(Some(path))) => open(path)?,
        (None, Some(None)) => {
            if known.users.is_empty() || known.groups.is_empty() {
                let what = "a user namespace needs uidMappings and gidMappings".to_owned();
                return Err(Error::Invalid { what });
            }
            return Ok(Some((of_maps(&known)?, known)));
        }
        (None, None) => return Ok(None),
    };
    if user_namespace::is_own(joined.as_fd()).map_err(step_error("examine the user namespace"))? {
        return Ok(None);
    }
    let maps = if known.users.is_empty() || known.groups.is_empty() {
        user_namespace::maps(joined.as_fd()).map_err(step_error("read the maps of the user namespace"))?
    } else {
        known
    };
    Ok(Some((joined, maps)))
}

/// A new one, with these maps.
pub(crate) fn of_maps(maps: &IdMaps) -> Result<OwnedFd> {
    let writer = if is_privileged() { Writer::Privileged } else { Writer::Own };
    user_namespace::create(maps, &writer).map_err(step_error("make a user namespace"))
}

/// The maps of the namespace that a process is in; `None` if it is the caller's.
pub(crate) fn of_process(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Option<IdMaps>> {
    let namespace = open(Path::new(&format!("/proc/{pid}/ns/user")))?;
    let own = user_namespace::is_own(namespace.as_fd()).map_err(step_error("examine the user namespace"))?;
    let maps = if own { Ok(None) } else { user_namespace::maps_of(pid).map(Some) };
    // The number was that process's all the time.
    knarr_linux::process::pidfd_send_signal(pidfd, 0)
        .map_err(step_error("examine the container's process"))?;
    maps.map_err(step_error("read the maps of the user namespace"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        Error::Step {
            stage: "open user namespace".to_owned(),
            path: Some(path.to_owned()),
            errno: errno.raw_os_error(),
        }
    })
}
