//! The container's user namespace: given, joined by its path, or new with the maps of the configuration.
use crate::created::step_error;
use crate::{CreateOptions, Error, Result, plan};
use knarr_linux::user_namespace::{self, IdMaps, Range, Writer};
use knarr_linux::{Errno, caps};
use knarr_oci::runtime::{Linux, NamespaceType};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    let stage = step_error("make a user namespace");
    if is_privileged() {
        return user_namespace::create(maps, &Writer::Privileged).map_err(stage);
    }
    if is_own_only(maps) {
        return user_namespace::create(maps, &Writer::Own).map_err(stage);
    }
    let programs = Programs::find()?;
    user_namespace::create(maps, &Writer::Other(&|pid| programs.write(pid, maps))).map_err(stage)
}

/// What every user may map: itself, and one group of its own.
fn is_own_only(maps: &IdMaps) -> bool {
    let one =
        |ranges: &[Range], id: u32| matches!(ranges, [range] if range.count == 1 && range.outside == id);
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    one(&maps.users, user.as_raw()) && one(&maps.groups, group.as_raw())
}

/// `newuidmap` and `newgidmap`, which write the ranges that `/etc/subuid` and `/etc/subgid` give to the user.
struct Programs {
    users: PathBuf,
    groups: PathBuf,
}

impl Programs {
    fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let find = |name: &str| {
            let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
            found.ok_or_else(|| Error::Unsupported {
                what: format!(
                    "id maps of more than the caller's own user and group: {name} is not installed"
                ),
            })
        };
        Ok(Self { users: find("newuidmap")?, groups: find("newgidmap")? })
    }

    fn write(&self, pid: i32, maps: &IdMaps) -> knarr_linux::Result<()> {
        let run = |program: &Path, ranges: &[Range]| {
            let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
            let mut command = Command::new(program);
            command.arg(pid.to_string()).args(numbers.map(|n| n.to_string())).stdin(Stdio::null());
            // It says itself on standard error what it refuses.
            match command.status() {
                Ok(status) if status.success() => Ok(()),
                Ok(_) => Err(Errno::PERM),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        };
        run(&self.users, &maps.users)?;
        run(&self.groups, &maps.groups)
    }
}

/// Whether groups can be changed in a namespace with these maps that the caller makes: who may map only itself gives that up,
/// or it could leave a group that denies it something.
pub(crate) fn can_set_groups(maps: &IdMaps) -> bool {
    is_privileged() || !is_own_only(maps)
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
