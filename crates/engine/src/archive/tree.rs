//! A container's tree for copying: through its process while it runs; else its root file system and volumes.
use crate::create::mounts::clean_path;
use crate::error::{Error, Result};
use crate::record::{MountKind, MountRow};
use crate::registry::Snapshot;
use crate::start;
use knarr_linux::path::{Resolve, Root};
use knarr_linux::user_namespace::IdMaps;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One root to resolve in, and a path below it.
pub(crate) struct Tree {
    pub root: Root,
    /// As the root sees it; absolute.
    pub path: String,
    /// Of the user namespace whose view it is: there the host's ids show.
    pub ids: Option<IdMaps>,
}

impl Tree {
    /// Opens what `path` lies in. Writing to what the container cannot write is refused.
    pub fn open(snapshot: &Snapshot, path: &str, access: Access) -> Result<Self> {
        if path.contains('\0') {
            return Err(Error::Invalid("path contains a NUL byte".to_owned()));
        }
        let container = &snapshot.container;
        let clean = clean_path(path);
        let mount = mount_of(&container.mounts, &clean);
        if access == Access::Write {
            match mount {
                Some(row) if !row.rw => {
                    return Err(Error::Forbidden("mounted volume is marked read-only".into()));
                }
                None if container.host_config.readonly_rootfs => {
                    return Err(Error::Forbidden("container rootfs is marked read-only".into()));
                }
                _ => {}
            }
        }
        if snapshot.is_live() {
            return Ok(Self {
                root: start::view(&container.rootfs, Some(&snapshot.status))?,
                path: absolute(path),
                ids: start::live_id_maps(snapshot)?,
            });
        }
        if let Some(row) = mount.filter(|row| row.kind != MountKind::Tmpfs) {
            return below_mount(row, path, &clean);
        }
        let fd = match access {
            Access::Read => knarr_snapshot::view::whole(&container.rootfs)?,
            Access::Write => knarr_snapshot::view::writable(&container.rootfs)?,
        };
        Ok(Self { root: Root::from_fd(fd, Resolve::InRoot), path: absolute(path), ids: None })
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The deepest mount that the path lies on or below.
fn mount_of<'a>(mounts: &'a [MountRow], path: &str) -> Option<&'a MountRow> {
    let covers = |row: &&MountRow| {
        path.strip_prefix(row.destination.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().filter(covers).max_by_key(|row| row.destination.len())
}

fn below_mount(row: &MountRow, path: &str, clean: &str) -> Result<Tree> {
    let rest = clean.strip_prefix(row.destination.as_str()).unwrap_or("");
    // A slash or dot at the end means "what is inside".
    let tail = if path.ends_with("/.") || path.ends_with('/') { "/." } else { "" };
    let source = std::fs::metadata(&row.source).map_err(Error::path("look at", &row.source))?;
    if source.is_dir() {
        let root = Root::open(&row.source).map_err(|e| Error::path("open", &row.source)(e.into()))?;
        let inner =
            if rest.is_empty() && tail.is_empty() { "/.".to_owned() } else { format!("{rest}{tail}") };
        return Ok(Tree { root, path: inner, ids: None });
    }
    let parent: PathBuf = row.source.parent().unwrap_or(&row.source).to_owned();
    let root = Root::open(&parent).map_err(|e| Error::path("open", &parent)(e.into()))?;
    let name = row.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Tree { root, path: format!("/{name}"), ids: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let rows = ["/a", "/a/b", "/ab"].map(|d| MountRow::new(MountKind::Bind, d));
        let of = |path: &str| mount_of(&rows, path).map(|row| row.destination.as_str());
        assert_eq!(of("/a/b/c"), Some("/a/b"));
        assert_eq!(of("/a/bc"), Some("/a"));
        assert_eq!(of("/abc"), None);
        assert_eq!(of("/ab"), Some("/ab"));
    }
}
