//! The driver that mounts: a container is an upper directory, and the kernel's overlay shows it over the layers.
//!
//! Standard: <https://docs.kernel.org/filesystems/overlayfs.html>. Costs nothing at creation but two directories; what a
//! container writes to a file of its image is copied at the first write.
use super::{Driver, Keep, Kind, Place, Stack};
use crate::error::Error;
use crate::layers::{Layers, open_dir};
use crate::view;
use knarr_linux::Errno;
use knarr_linux::path::{Dir, Root};
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use rustix::fs::{FileType, XattrFlags};
use std::path::Path;

/// Most layers: the kernel takes 500 (`OVL_MAX_STACK`), and a container that is looked at from outside is one itself.
const MAX_LOWER: usize = 499;

pub(super) struct Overlay {
    layers: Layers,
}

impl Overlay {
    /// Tries it on the data root.
    pub(super) fn open(layers: &Layers) -> Result<Self, Error> {
        if layers.are_listed() {
            return Err(unusable("layers were unpacked on a file system that keeps no whiteouts"));
        }
        let place = Place::make(&layers.data_root().join("tmp"), Some(layers.trash()))?;
        try_one(&place)?;
        Ok(Self { layers: layers.clone() })
    }
}

fn unusable(why: &'static str) -> Error {
    Error::Driver { driver: Kind::Overlay.name(), why: why.to_owned() }
}

/// Mounts a small overlay of two layers and removes a file in it.
fn try_one(place: &Place) -> Result<(), Error> {
    let fail = |action: &'static str| {
        move |errno: Errno| Error::Driver {
            driver: Kind::Overlay.name(),
            why: format!("{action}: {}", std::io::Error::from(errno)),
        }
    };
    let make = |name: &str| -> Result<Dir, Errno> {
        place.dir.mkdir(name, 0o700)?;
        place.dir.open_dir(name)
    };
    let (low, high) =
        (make("low").map_err(fail("make a layer"))?, make("high").map_err(fail("make a layer"))?);
    for name in ["kept", "hidden"] {
        low.create_new(name, 0o600).map_err(fail("make a file"))?;
    }
    high.mknod("hidden", FileType::CharacterDevice, 0, 0).map_err(fail("make a whiteout"))?;
    rustix::fs::fsetxattr(&low, crate::apply::OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(fail("set a trusted attribute"))?;
    make("upper").and_then(|_| make("work")).map_err(fail("make directories"))?;
    let path = |name: &str| place.path.join(name);
    let rootfs = RootfsMount::Overlay {
        lower: vec![path("high"), path("low")],
        upper: path("upper"),
        work: path("work"),
        volatile: true,
    };
    let mounted = view::writable(&rootfs)
        .map_err(|error| Error::Driver { driver: Kind::Overlay.name(), why: error.to_string() })?;
    let shown = Root::from_fd(mounted, knarr_linux::path::Resolve::Beneath)
        .open_dir(".")
        .map_err(fail("open an overlay"))?;
    shown.unlink("kept").map_err(fail("remove a file of a layer"))?;
    let left = shown.entries().map_err(fail("read an overlay"))?;
    let upper = open_dir(&path("upper"))?;
    let stat = upper.metadata("kept").map_err(fail("find a whiteout"))?;
    if !left.is_empty() || !crate::walk::is_whiteout(&stat) {
        return Err(unusable("whiteouts do not hide what they should"));
    }
    Ok(())
}

impl Driver for Overlay {
    fn kind(&self) -> Kind {
        Kind::Overlay
    }

    fn status(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]
    }

    fn prepare(&self, stack: &Stack, container_dir: &Path, keep: Keep) -> Result<RootfsMount, Error> {
        let fail = |errno: Errno| Error::errno("prepare", container_dir)(errno);
        let mut lower = stack.trees(&self.layers);
        if lower.len() > MAX_LOWER && stack.base.is_some() {
            // Mount points are made in the container's own directory then.
            lower.remove(0);
        }
        let root = Root::open_beneath(container_dir).map_err(fail)?;
        let upper = root.mkdir_all("upper", 0o755).map_err(fail)?;
        stack.set_top(&self.layers, &upper)?;
        root.mkdir_all("work", 0o711).map_err(fail)?;
        Ok(RootfsMount::Overlay {
            lower,
            upper: container_dir.join("upper"),
            work: container_dir.join("work"),
            volatile: keep == Keep::Volatile,
        })
    }

    fn retain(&self, _images: &mut dyn Iterator<Item = Vec<Digest>>, _base: &Digest) -> Result<(), Error> {
        Ok(())
    }
}
