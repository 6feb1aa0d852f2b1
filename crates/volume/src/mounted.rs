//! What volumes' options mount, and who uses it.
//!
//! Standard: mount(2), as Docker's local driver calls it. Invariants: mounted before the first user has it, unmounted after
//! the last; a mount that an engine that died left is found again or unmounted at the next start.
use crate::error::Error;
use crate::options::{self, Asked};
use crate::{Result, Volume};
use knarr_base::VolumeId;
use knarr_linux::Errno;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Looks up the address of a server; an error is a text.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Result<IpAddr, String>;

/// Who uses which of the volumes that are mounted.
#[derive(Default)]
pub(crate) struct Mounted {
    /// Each with a lock of its own: a server that does not answer holds up its own volume only.
    users: Mutex<BTreeMap<VolumeId, Arc<Mutex<BTreeSet<String>>>>>,
}

impl Mounted {
    fn of(&self, id: &VolumeId) -> Arc<Mutex<BTreeSet<String>>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(users.entry(id.clone()).or_default())
    }

    /// Mounts it unless it is mounted. A volume without anything to mount needs nothing.
    pub fn acquire(&self, volume: &Volume, at: &Path, user: &str, resolve: Resolve<'_>) -> Result<()> {
        let Some(asked) = options::of(&volume.name, &volume.options)?.mount else { return Ok(()) };
        let users = self.of(&volume.id);
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_mounted(at) {
            mount(&asked, at, resolve)?;
        }
        users.insert(user.to_owned());
        Ok(())
    }

    /// Unmounts it after its last user.
    pub fn release(&self, volume: &Volume, at: &Path, user: &str) -> Result<()> {
        if options::of(&volume.name, &volume.options)?.mount.is_none() {
            return Ok(());
        }
        let users = self.of(&volume.id);
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        users.remove(user);
        if users.is_empty() { unmount(volume, at) } else { Ok(()) }
    }

    /// After the start of an engine: these use it, and have it mounted.
    pub fn adopt(&self, volume: &Volume, at: &Path, by: &[String]) -> Result<()> {
        if options::of(&volume.name, &volume.options)?.mount.is_none() {
            return Ok(());
        }
        let users = self.of(&volume.id);
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        users.extend(by.iter().cloned());
        if users.is_empty() { unmount(volume, at) } else { Ok(()) }
    }

    /// Before its directory goes.
    pub fn forget(&self, volume: &Volume, at: &Path) -> Result<()> {
        unmount(volume, at)?;
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(&volume.id);
        Ok(())
    }
}

/// Whether a directory is the root of a mount. A server that does not answer is not asked.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let facts = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::empty());
    match facts {
        Ok(facts) => facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        // What cannot even be looked at is no plain directory of ours.
        Err(errno) => errno != Errno::NOENT,
    }
}

fn mount(asked: &Asked, at: &Path, resolve: Resolve<'_>) -> Result<()> {
    let address = match asked.host() {
        None => None,
        Some(name) => Some(resolve(name).map_err(|why| Error::Lookup { path: at.to_owned(), why })?),
    };
    let mount = asked.mount(address);
    let data = CString::new(mount.data.as_str()).unwrap_or_default();
    let failed = |errno| {
        let mut what = format!("mount {}:{}", mount.device, at.display());
        if !mount.flags.is_empty() {
            what.push_str(&format!(", flags: 0x{:x}", mount.flags.bits()));
        }
        if !mount.data.is_empty() {
            what.push_str(&format!(", data: {}", mount.shown_data()));
        }
        Error::Mount { path: at.to_owned(), what, errno }
    };
    let (device, kind) = (mount.device.as_str(), mount.kind.as_str());
    rustix::mount::mount(device, at, kind, mount.flags, Some(data.as_c_str())).map_err(failed)?;
    let undone = |errno| {
        let _ = rustix::mount::unmount(at, UnmountFlags::DETACH);
        failed(errno)
    };
    if let Some(propagation) = mount.propagation {
        rustix::mount::mount_change(at, propagation).map_err(undone)?;
    }
    // A bind takes other flags only when it is there.
    let rest = mount.flags - (MountFlags::BIND | MountFlags::REC);
    if mount.flags.contains(MountFlags::BIND) && !rest.is_empty() {
        rustix::mount::mount_remount(at, MountFlags::BIND | rest, c"").map_err(undone)?;
    }
    Ok(())
}

/// Whoever has files open keeps them; a server that is gone holds nobody up.
fn unmount(volume: &Volume, at: &Path) -> Result<()> {
    // One that was mounted over the other goes, too.
    while is_mounted(at) {
        let failed = |errno| Error::Unmount { name: volume.name.clone(), path: at.to_owned(), errno };
        match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not a mount after all, or not in this mount namespace.
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}
