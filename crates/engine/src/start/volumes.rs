//! Sources of mounts: there before a process looks for them.
use super::image_mount;
use crate::create::{open_subpath, sees};
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, MountKind, MountRow};
use knarr_state::Event;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where sources are that have no path of their own in the row. Directories below volumes are opened: the path to one may
/// lead elsewhere a moment later, since containers write there. They are mounted by these descriptors, which have to be
/// kept until the container exists.
#[derive(Default)]
pub(super) struct Sources {
    opened: Vec<(String, OwnedFd)>,
    paths: BTreeMap<String, PathBuf>,
    /// `mount` of each volume.
    pub events: Vec<Event>,
}

impl Sources {
    /// By destination, as another process of the host sees them.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let own = std::process::id();
        let path = |fd: &OwnedFd| PathBuf::from(format!("/proc/{own}/fd/{}", fd.as_raw_fd()));
        let opened = self.opened.iter().map(|(destination, fd)| (destination.clone(), path(fd)));
        self.paths.clone().into_iter().chain(opened).collect()
    }
}

/// Checks every source; `-v` makes a missing directory, `--mount` does not. What volumes mount is mounted.
pub(super) fn prepare(engine: &Inner, container: &Container) -> Result<Sources> {
    let mut sources = Sources::default();
    engine.acquire_volumes(container, container.id.as_str())?;
    let rows = engine.mounts_of(container);
    let mut mounts: Option<String> = None;
    for row in &rows {
        let place = || row.destination.clone();
        match row.kind {
            MountKind::Bind => {
                bind(row)?;
                if matches!(row.propagation.as_str(), "shared" | "rshared" | "slave" | "rslave") {
                    let read = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
                    let text = mounts.get_or_insert_with(read);
                    let source = row.source.canonicalize().map_err(Error::path("resolve", &row.source))?;
                    let can = can_propagate(text, &source, &row.propagation);
                    // There it may not have been asked for, and nothing comes from a mount that is private.
                    let by_itself = row.propagation == "rslave" && sees(&engine.paths.data_root, &row.source);
                    can.or_else(|why| if by_itself { Ok(()) } else { Err(Error::Invalid(why)) })?;
                    // Opened here, in the mount namespace that its mounts shall go to.
                    if row.propagation.ends_with("shared") {
                        let flags = OFlags::PATH | OFlags::CLOEXEC;
                        let opened = rustix::fs::open(&source, flags, Mode::empty());
                        let opened = opened.map_err(|errno| Error::path("open", &source)(errno.into()))?;
                        sources.opened.push((place(), opened));
                    }
                }
            }
            MountKind::Volume => {
                let volume = engine.volume_of(row)?;
                let mountpoint = engine.volumes.mountpoint(&volume.name);
                match row.subpath.as_str() {
                    "" => drop(sources.paths.insert(place(), mountpoint)),
                    subpath => sources.opened.push((place(), open_subpath(&mountpoint, subpath)?)),
                }
                sources.events.push(crate::volume_use::event("mount", row, container));
            }
            MountKind::Image => sources.opened.push((place(), image_mount::open(row)?)),
            MountKind::Tmpfs => {}
        }
        label(engine, container, row)?;
    }
    Ok(sources)
}

/// `z` and `Z`, where there is SELinux.
fn label(engine: &Inner, container: &Container, row: &MountRow) -> Result<()> {
    let flag = |flag: &str| row.mode.split(',').any(|mode| mode == flag);
    let is_labelled = matches!(row.kind, MountKind::Bind | MountKind::Volume);
    if engine.lsm.selinux.is_none() || container.labels.mount.is_empty() || !is_labelled {
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

/// Whether mounts travel from and to where the source lies, by the text of mountinfo(5). The errors are Docker's.
fn can_propagate(mountinfo: &str, source: &Path, propagation: &str) -> Result<(), String> {
    let mut found: Option<(PathBuf, &str)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ');
        let Some(at) = fields.nth(4).map(unescaped) else { continue };
        let is_longer =
            found.as_ref().is_none_or(|(before, _)| at.as_os_str().len() >= before.as_os_str().len());
        if source.starts_with(&at) && is_longer {
            let optional = line.split_once(" - ").map_or("", |(head, _)| head);
            found = Some((at, optional));
        }
    }
    let (at, optional) = found.unwrap_or_else(|| (PathBuf::from("/"), ""));
    let has = |name: &str| optional.split(' ').skip(6).any(|field| field.starts_with(name));
    let (ok, wanted) = match propagation {
        "shared" | "rshared" => (has("shared:"), "a shared mount"),
        _ => (has("shared:") || has("master:"), "a shared or slave mount"),
    };
    if ok {
        return Ok(());
    }
    Err(format!("path {} is mounted on {} but it is not {wanted}", source.display(), at.display()))
}

/// The kernel writes some characters as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_travel_only_from_shared_places() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                    30 22 0:5 / /srv/my\\040files rw - tmpfs tmpfs rw\n\
                    31 22 0:6 / /slave rw master:1 - tmpfs tmpfs rw\n";
        let ask = |source: &str, how: &str| can_propagate(text, Path::new(source), how);
        assert_eq!(ask("/etc", "rshared"), Ok(()));
        assert_eq!(ask("/slave/x", "rslave"), Ok(()));
        assert_eq!(
            ask("/slave/x", "shared"),
            Err("path /slave/x is mounted on /slave but it is not a shared mount".to_owned())
        );
        assert_eq!(
            ask("/srv/my files/a", "slave"),
            Err("path /srv/my files/a is mounted on /srv/my files but it is not a shared or slave mount"
                .to_owned())
        );
    }
}
