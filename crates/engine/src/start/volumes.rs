//! Sources of bind mounts and volumes: there before a process looks for them.
use crate::create::open_subpath;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, MountKind, MountRow};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Directories below volumes, opened: the path to one may lead elsewhere a moment later, since containers write there.
/// They are mounted by these descriptors, which have to be kept until the container exists.
#[derive(Default)]
pub(super) struct Opened(Vec<(String, OwnedFd)>);

impl Opened {
    /// By destination, as another process of the host sees them.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let own = std::process::id();
        let path = |fd: &OwnedFd| PathBuf::from(format!("/proc/{own}/fd/{}", fd.as_raw_fd()));
        self.0.iter().map(|(destination, fd)| (destination.clone(), path(fd))).collect()
    }
}

/// Checks every source; `-v` makes a missing directory, `--mount` does not.
pub(super) fn prepare(engine: &Inner, container: &Container) -> Result<Opened> {
    let mut opened = Opened::default();
    for row in &container.mounts {
        match row.kind {
            MountKind::Bind => bind(row)?,
            MountKind::Volume => {
                engine.volumes.get(&row.name)?;
                if !row.subpath.is_empty() {
                    let fd = open_subpath(&engine.volumes.mountpoint(&row.name), &row.subpath)?;
                    opened.0.push((row.destination.clone(), fd));
                }
            }
            MountKind::Tmpfs => {}
        }
        label(engine, container, row)?;
    }
    Ok(opened)
}

/// `z` and `Z`, where there is SELinux.
fn label(engine: &Inner, container: &Container, row: &MountRow) -> Result<()> {
    let flag = |flag: &str| row.mode.split(',').any(|mode| mode == flag);
    if engine.lsm.selinux.is_none() || container.labels.mount.is_empty() || row.kind == MountKind::Tmpfs {
        return Ok(());
    }
    match (flag("z"), flag("Z")) {
        (false, false) => Ok(()),
        (shared, _) => crate::lsm::relabel(&row.source, &container.labels.mount, shared),
    }
}

pub(crate) fn bind(row: &MountRow) -> Result<()> {
    match fs::metadata(&row.source) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && row.create_source => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&row.source);
            made.map_err(|e| {
                Error::Invalid(format!(
                    "error while creating mount source path '{}': {e}",
                    row.source.display()
                ))
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::Invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            row.source.display()
        ))),
        Err(e) => Err(Error::path("look at", &row.source)(e)),
    }
}
