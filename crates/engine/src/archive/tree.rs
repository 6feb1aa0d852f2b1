//! A container's tree for copying: through its process while it runs; else put together from its root file system and mounts.
use super::assemble::assemble;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::registry::Snapshot;
use crate::start;
use knarr_linux::path::Root;
use knarr_linux::user_namespace::IdMaps;
use rustix::fs::StatVfsMountFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

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
    /// Keeps the mounts of a tree that was put together.
    pub _namespace: Option<OwnedFd>,
    /// Keeps what volumes have mounted.
    pub _volumes: Option<Volumes>,
}

/// Volumes of a container that are used by somebody who is no container.
pub(crate) struct Volumes {
    engine: Arc<Inner>,
    container: Arc<Container>,
    user: String,
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.engine.release_volumes(&self.container, &self.user);
    }
}

impl Tree {
    /// Opens what `path` lies in. Writing to what the container cannot write is refused.
    pub fn open(engine: &Arc<Inner>, snapshot: &Snapshot, path: &str, access: Access) -> Result<Self> {
        if path.contains('\0') {
            return Err(Error::Invalid("path contains a NUL byte".to_owned()));
        }
        let container = &snapshot.container;
        let path = absolute(path);
        let tree = if snapshot.is_live() {
            let root = start::view(&container.rootfs, Some(&snapshot.status))?;
            Self { root, path, ids: start::live_id_maps(snapshot)?, _namespace: None, _volumes: None }
        } else {
            let volumes = Volumes {
                engine: Arc::clone(engine),
                container: Arc::clone(container),
                user: crate::create::random_id().to_string(),
            };
            engine.acquire_volumes(container, &volumes.user)?;
            let whole = assemble(engine, container, access == Access::Write)?;
            let (root, namespace) = (whole.root, Some(whole.namespace));
            Self { root, path, ids: None, _namespace: namespace, _volumes: Some(volumes) }
        };
        if access == Access::Write {
            tree.check_writable()?;
        }
        Ok(tree)
    }

    /// By where the path leads, with all links on the way: the mount there decides. A path that leads nowhere is another
    /// error, at another place.
    fn check_writable(&self) -> Result<()> {
        let (Ok(place), Ok(top)) = (self.root.open_path(&self.path), self.root.open_path("/")) else {
            return Ok(());
        };
        let read_only = |fd: &OwnedFd| {
            rustix::fs::fstatvfs(fd).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::RDONLY))
        };
        if !read_only(&place) {
            return Ok(());
        }
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd.as_fd()).map(|stat| stat.st_dev).ok();
        Err(Error::Forbidden(match device(&place) == device(&top) {
            true => "container rootfs is marked read-only".into(),
            false => "mounted volume is marked read-only".into(),
        }))
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}
