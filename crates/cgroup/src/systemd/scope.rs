//! One scope: its name, its start, its limits, its end.
use super::bus::Manager;
use super::properties;
use super::slice;
use super::wire::Value;
use crate::{Error, Result, Version};
use knarr_linux::prctl;
use knarr_linux::process::{self, Child, Clone3};
use knarr_oci::runtime::Resources;
use std::os::fd::AsFd;
use std::time::Duration;

/// systemd takes no longer names.
const MAX_NAME: usize = 255;
const SIGKILL: i32 = 9;
/// A placeholder never outlives the start of a container by more, whatever becomes of its parent.
const MAX_HOLD: Duration = Duration::from_secs(60);

/// What `slice:prefix:name` means: the scope `<prefix>-<name>.scope` in the slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    slice: String,
    name: String,
}

impl Unit {
    /// Whether a path of a group is meant for systemd.
    pub fn is_name(path: &str) -> bool {
        !path.contains('/') && path.matches(':').count() == 2
    }

    pub fn parse(path: &str) -> Result<Self> {
        let invalid = || Error::Path { path: path.to_owned() };
        let parts: Vec<&str> = path.split(':').collect();
        let &[slice, prefix, name] = parts.as_slice() else { return Err(invalid()) };
        let slice = match slice {
            "" if is_rootless() => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        slice::path(slice)?;
        let stem = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
        let unit = format!("{stem}.scope");
        if name.is_empty() || !is_unit_name(&stem) || unit.len() > MAX_NAME {
            return Err(invalid());
        }
        Ok(Self { slice: slice.to_owned(), name: unit })
    }

    /// Where systemd puts it. A user's own manager is asked for its place in the tree.
    pub(crate) fn path(&self) -> Result<String> {
        let root = if is_rootless() { Manager::connect()?.root()? } else { String::new() };
        Ok(format!("{}{}/{}", root.trim_end_matches('/'), slice::path(&self.slice)?, self.name))
    }

    /// Let systemd make the scope, with a process in it that only waits.
    pub(crate) fn start(&self, version: Version) -> Result<Hold> {
        let hold = Hold::new().map_err(|errno| Error::Systemd {
            action: "make a process for",
            unit: self.name.clone(),
            detail: errno.to_string(),
        })?;
        let pid = hold.pid();
        let mut properties = properties::of_scope(&self.slice, &self.name, version);
        properties.push(("PIDs", Value::U32s(vec![pid])));
        let mut manager = Manager::connect()?;
        manager.subscribe()?;
        match manager.start(&self.name, &properties) {
            // One of the same name failed before and is still remembered.
            Err(Error::Systemd { detail, .. }) if detail.contains("UnitExists") => {
                manager.reset_failed(&self.name)?;
                manager.start(&self.name, &properties)?;
            }
            result => result?,
        }
        Ok(hold)
    }

    /// Tell systemd of limits. What it knows nothing of is in the files alone.
    pub(crate) fn set(&self, version: Version, resources: &Resources) -> Result<()> {
        let properties = properties::of_limits(version, resources)?;
        if properties.is_empty() { Ok(()) } else { Manager::connect()?.set(&self.name, &properties) }
    }

    /// Stop the scope and let systemd forget it. One that is not there is stopped.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut manager = Manager::connect()?;
        manager.subscribe()?;
        manager.stop(&self.name)?;
        manager.reset_failed(&self.name)
    }
}

pub(super) fn is_unit_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\".contains(&b))
}

/// Not root on the host: then the user's own manager makes the scope.
pub(super) fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || crate::in_user_namespace()
}

/// A process that keeps a new scope alive until another one is in it; it ends when this is dropped.
#[derive(Debug, Default)]
pub struct Hold {
    child: Option<Child>,
}

impl Hold {
    fn new() -> std::result::Result<Self, knarr_linux::Errno> {
        let wait = || {
            let _ = prctl::set_parent_death_signal(SIGKILL);
            std::thread::sleep(MAX_HOLD);
            0
        };
        Ok(Self { child: Some(Clone3::default().spawn(wait)?) })
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, |child| child.pid.unsigned_abs())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            let _ = process::pidfd_send_signal(child.pidfd.as_fd(), SIGKILL);
            let _ = process::wait(child.pidfd.as_fd(), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let unit = Unit::parse("a-b.slice:libpod:ff00").unwrap();
        assert_eq!(unit.name, "libpod-ff00.scope");
        if !is_rootless() {
            assert_eq!(unit.path().unwrap(), "/a.slice/a-b.slice/libpod-ff00.scope");
            assert_eq!(Unit::parse(":knarr:x").unwrap().path().unwrap(), "/system.slice/knarr-x.scope");
        }
        assert_eq!(Unit::parse("-.slice::x").unwrap().name, "x.scope");
        for bad in ["system.slice:knarr:", "system:knarr:x", "system.slice:a b:x", "x.slice:a:b:c"] {
            assert!(Unit::parse(bad).is_err(), "{bad}");
        }
        assert!(Unit::is_name("::") && !Unit::is_name("/a:b:c") && !Unit::is_name("a:b"));
    }
}
