//! Storage drivers: how the layers of an image become the root filesystem of a container.
//!
//! What all of them share is the layers themselves, unpacked once per diff id. A driver only decides what a container gets: an
//! overlay of the layers ([`overlay`]), or a directory of its own that is made from them ([`btrfs`], [`copy`]). What a container
//! got is in its row ([`RootfsMount`]), so containers of one driver go on under another. Invariants: a driver that is chosen
//! was tried on the data root's file system; nothing that a container writes reaches a layer.
mod btrfs;
mod copy;
mod overlay;

use crate::error::Error;
use crate::flatten;
use crate::layers::{Layers, open_dir};
use crate::trash::Trash;
use knarr_linux::path::Dir;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{FileType, XattrFlags};
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the clock of change times is looked at again, and for how long at most: it moves every ten milliseconds or sooner.
const TICK: Duration = Duration::from_micros(500);
const MAX_TICKS: u32 = 200;

/// Drivers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Overlay,
    Btrfs,
    Copy,
}

impl Kind {
    /// The names of Docker's drivers are taken for those that do the same.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "overlay" | "overlay2" | "overlayfs" => Some(Self::Overlay),
            "btrfs" => Some(Self::Btrfs),
            "copy" | "vfs" => Some(Self::Copy),
            _ => None,
        }
    }
    /// What Docker's clients know it as.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay2",
            Self::Btrfs => "btrfs",
            Self::Copy => "vfs",
        }
    }
    /// The driver that made a container's root.
    pub fn of(rootfs: &RootfsMount) -> Self {
        match rootfs {
            RootfsMount::Overlay { .. } => Self::Overlay,
            RootfsMount::Directory { path } | RootfsMount::Copy { path, .. } => {
                let is_subvolume =
                    open_dir(path).is_ok_and(|dir| knarr_linux::btrfs::is_subvolume(dir) == Ok(true));
                if is_subvolume { Self::Btrfs } else { Self::Copy }
            }
        }
    }
}

/// Whether a container's root has to outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Durable,
    /// The container goes when it ends.
    Volatile,
}

/// What a container stands on.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The image's layers, bottom first.
    pub layers: Vec<Digest>,
    /// The layer of mount points above them.
    pub base: Option<Digest>,
}

impl Stack {
    /// Trees of all layers, top first.
    fn trees(&self, layers: &Layers) -> Vec<PathBuf> {
        self.base.iter().chain(self.layers.iter().rev()).map(|diff_id| layers.path(diff_id)).collect()
    }

    /// A container's top directory looks as the image's does.
    fn set_top(&self, layers: &Layers, dir: &Dir) -> Result<(), Error> {
        let Some(top) = self.layers.last() else { return Ok(()) };
        let path = layers.path(top);
        let meta = std::fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
        flatten::set_top(dir, meta.mode(), meta.uid(), meta.gid())
            .map_err(Error::errno("change owner of", path))
    }
}

/// A storage driver of one data root.
pub trait Driver: Send + Sync {
    fn kind(&self) -> Kind;
    /// What `info` shows beside the backing file system.
    fn status(&self) -> Vec<(&'static str, &'static str)>;
    /// Makes a container's root in its directory. All layers are there.
    fn prepare(&self, stack: &Stack, container_dir: &Path, keep: Keep) -> Result<RootfsMount, Error>;
    /// Drops what is kept for images that are none of these: their layers, bottom first. `base` is the layer of mount points.
    fn retain(&self, images: &mut dyn Iterator<Item = Vec<Digest>>, base: &Digest) -> Result<(), Error>;
}

/// Opens the driver that is asked for, or else the best that works here. Why it is not the first choice is logged.
pub fn open(layers: &Layers, wanted: Option<Kind>) -> Result<Arc<dyn Driver>, Error> {
    let driver: Arc<dyn Driver> = match wanted {
        Some(Kind::Overlay) => Arc::new(overlay::Overlay::open(layers)?),
        Some(Kind::Btrfs) => Arc::new(btrfs::Btrfs::open(layers)?),
        Some(Kind::Copy) => Arc::new(copy::Copy::open(layers)?),
        None => best(layers)?,
    };
    if driver.kind() != Kind::Btrfs {
        btrfs::discard(layers)?;
    }
    Ok(driver)
}

fn best(layers: &Layers) -> Result<Arc<dyn Driver>, Error> {
    let why = match overlay::Overlay::open(layers) {
        Ok(overlay) => return Ok(Arc::new(overlay)),
        Err(error) => error,
    };
    if let Ok(btrfs) = btrfs::Btrfs::open(layers) {
        tracing::info!(%why, "no overlay here: containers are snapshots of btrfs");
        return Ok(Arc::new(btrfs));
    }
    tracing::warn!(%why, "no overlay here: each container gets a copy of its image (storage driver vfs)");
    Ok(Arc::new(copy::Copy::open(layers)?))
}

/// Whether overlayfs's marks can be kept in a directory: devices without numbers, attributes of the kernel's own.
pub(crate) fn keeps_marks(tmp: &Path) -> Result<bool, Error> {
    let place = Place::make(tmp, None)?;
    let mark = place.dir.mknod("mark", FileType::CharacterDevice, 0, 0);
    let attribute = rustix::fs::fsetxattr(&place.dir, crate::apply::OPAQUE_XATTR, b"y", XattrFlags::empty());
    Ok(mark.is_ok() && attribute.is_ok())
}

/// A directory to try something in; it goes with this.
struct Place {
    tmp: Dir,
    name: String,
    dir: Dir,
    path: PathBuf,
    /// Nobody waits for its removal.
    trash: Option<Trash>,
}

impl Place {
    fn make(tmp: &Path, trash: Option<&Trash>) -> Result<Self, Error> {
        // Two engines never have one data root; an earlier one may have left this.
        let name = "layer-try".to_owned();
        let path = tmp.join(&name);
        let parent = open_dir(tmp)?;
        parent.remove_tree(&name).map_err(Error::errno("remove", &path))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create", &path))?;
        let dir = open_dir(&path)?;
        Ok(Self { tmp: parent, name, dir, path, trash: trash.cloned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(trash) = &self.trash {
            return trash.discard(&self.path);
        }
        if let Err(errno) = self.tmp.remove_tree(&self.name) {
            tracing::warn!(path = %self.path.display(), %errno, "not removed");
        }
    }
}

/// Change times that are given from now on are not before the moment that this returns, and with `wait` all given so far are.
fn moment(dir: &Path, wait: bool) -> Result<(i64, i64), Error> {
    let dir_fd = open_dir(dir)?;
    let touch = || {
        let mode = rustix::fs::fstat(&dir_fd)?.st_mode & 0o7777;
        rustix::fs::fchmod(dir_fd.as_fd(), rustix::fs::Mode::from_raw_mode(mode))?;
        let stat = rustix::fs::fstat(&dir_fd)?;
        Ok((stat.st_ctime, stat.st_ctime_nsec as i64))
    };
    let first = touch().map_err(Error::errno("touch", dir))?;
    if !wait {
        return Ok(first);
    }
    for _ in 0..MAX_TICKS {
        let now = touch().map_err(Error::errno("touch", dir))?;
        if now > first {
            return Ok(now);
        }
        std::thread::sleep(TICK);
    }
    // The clock was set back: change times do not help, the other facts have to.
    Ok(first)
}

/// Directories of what is kept for images, by name, but for these.
fn strangers(dir: &Path, kept: &HashSet<String>) -> Result<Vec<PathBuf>, Error> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
            list.push(entry.path());
        }
    }
    Ok(list)
}
