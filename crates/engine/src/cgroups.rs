//! Control groups as the engine uses them: by the path that follows from the id.
use crate::error::{Error, Result};
use knarr_cgroup::Cgroup;

/// Removes a container's group if its supervisor did not. Best effort: the sweep comes again.
pub(crate) fn remove(path: &str) {
    match Cgroup::new(path) {
        Ok(group) if group.exists() => {
            let removed = group.kill_all().and_then(|()| group.destroy());
            if let Err(error) = removed {
                tracing::warn!(path, %error, "control group not removed");
            }
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(path, %error, "control group not looked at"),
    }
}

/// Kills every process in the group.
pub(crate) fn kill(path: &str) -> Result<()> {
    let group = Cgroup::new(path)?;
    if group.exists() {
        group.kill_all()?;
    }
    Ok(())
}

pub(crate) fn freeze(path: &str, frozen: bool) -> Result<()> {
    let group = Cgroup::new(path)?;
    if frozen {
        group.freeze()?
    } else {
        group.thaw()?
    }
    Ok(())
}

pub(crate) fn is_frozen(path: &str) -> Result<bool> {
    Ok(Cgroup::new(path)?.is_frozen()?)
}

/// A parent for the systemd driver, with Docker's words.
pub(crate) fn check_slice(parent: &str) -> Result<()> {
    if knarr_cgroup::systemd::is_slice(parent) {
        return Ok(());
    }
    let text = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
    Err(Error::Invalid(text.to_owned()))
}
