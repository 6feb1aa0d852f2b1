//! The driver for any file system: a container is a copy of its image's tree, made from the layers.
//!
//! Where the file system shares blocks between files (`FICLONE`: XFS, btrfs, bcachefs) a copy takes the time of its files'
//! names and no space; else it takes what the image takes. Nothing but the layers is kept for images.
use super::{Driver, Keep, Kind, Stack, moment};
use crate::error::Error;
use crate::flatten::{Onto, flatten};
use crate::layers::{Layers, open_dir};
use crate::union::Union;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use std::path::Path;

/// The tree's name in a container's directory.
pub(super) const TREE: &str = "fs";

pub(super) struct Copy {
    layers: Layers,
}

impl Copy {
    pub(super) fn open(layers: &Layers) -> Result<Self, Error> {
        Ok(Self { layers: layers.clone() })
    }
}

impl Driver for Copy {
    fn kind(&self) -> Kind {
        Kind::Copy
    }

    fn status(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    fn prepare(&self, stack: &Stack, container_dir: &Path, keep: Keep) -> Result<RootfsMount, Error> {
        let dir = open_dir(container_dir)?;
        let path = container_dir.join(TREE);
        dir.mkdir(TREE, 0o755).map_err(Error::errno("create", &path))?;
        let lower = stack.trees(&self.layers);
        let top = open_dir(&path)?;
        stack.set_top(&self.layers, &top)?;
        flatten(&Union::open(&lower)?, top, Onto::Empty)?;
        if keep == Keep::Durable {
            rustix::fs::syncfs(&dir).map_err(Error::errno("sync", &path))?;
        }
        knarr_base::failpoint!("driver.made", Error::Failpoint("driver.made"));
        Ok(RootfsMount::Copy { path, lower, complete: moment(container_dir, true)? })
    }

    fn retain(&self, _images: &mut dyn Iterator<Item = Vec<Digest>>, _base: &Digest) -> Result<(), Error> {
        Ok(())
    }
}
