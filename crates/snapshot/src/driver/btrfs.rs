//! The driver of btrfs: an image's tree is a subvolume, a container is a snapshot of it.
//!
//! Standard: <https://btrfs.readthedocs.io/en/latest/Subvolumes.html>; names are chain ids,
//! <https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid>. `<data-root>/btrfs/<chain id hex>` is
//! made at an image's first container, from the longest chain below it that is there, and shares its blocks with the layers.
//! Invariants: a subvolume appears under its name when it is complete and synced; containers do not need it any more when
//! they have their snapshot, so it may go at any time.
use super::copy::TREE;
use super::{Driver, Keep, Kind, Place, Stack, moment, strangers};
use crate::claims::Claims;
use crate::error::Error;
use crate::flatten::{Onto, flatten};
use crate::layers::{Layers, open_dir};
use crate::union::Union;
use knarr_linux::btrfs;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Directory of the chains in the data root.
const CHAINS: &str = "btrfs";

pub(super) struct Btrfs {
    layers: Layers,
    claims: Claims,
    chains: PathBuf,
}

impl Btrfs {
    /// Tries it on the data root.
    pub(super) fn open(layers: &Layers) -> Result<Self, Error> {
        let fail = |action: &'static str| {
            move |errno: knarr_linux::Errno| Error::Driver {
                driver: Kind::Btrfs.name(),
                why: format!("{action}: {}", std::io::Error::from(errno)),
            }
        };
        let place = Place::make(&layers.data_root().join("tmp"), Some(layers.trash()))?;
        if !btrfs::is_btrfs(&place.dir).map_err(fail("look at the file system"))? {
            let why = format!("{} is not on btrfs", layers.data_root().display());
            return Err(Error::Driver { driver: Kind::Btrfs.name(), why });
        }
        btrfs::create(&place.dir, "one").map_err(fail("make a subvolume"))?;
        let one = place.dir.open_dir("one").map_err(fail("open a subvolume"))?;
        btrfs::snapshot(&one, &place.dir, "two").map_err(fail("make a snapshot"))?;
        btrfs::destroy(&place.dir, "two").map_err(fail("remove a snapshot"))?;
        let chains = layers.data_root().join(CHAINS);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&chains)
            .map_err(Error::io("create", &chains))?;
        Ok(Self { layers: layers.clone(), claims: Claims::default(), chains })
    }

    fn path(&self, chain: &Digest) -> PathBuf {
        self.chains.join(chain.hex())
    }

    /// The subvolume of an image with its base layer, made if need be.
    fn tree(&self, stack: &Stack) -> Result<PathBuf, Error> {
        let chains = chain_ids(&stack.layers);
        let image = match chains.last() {
            Some(chain) => Some(self.image(stack, &chains, chain)?),
            None => None,
        };
        let Some(base) = &stack.base else {
            let nothing =
                || Error::Driver { driver: Kind::Btrfs.name(), why: "image without layers".to_owned() };
            return image.ok_or_else(nothing);
        };
        let whole = with_layer(chains.last(), base);
        let path = self.path(&whole);
        if let Some(_claim) = self.claims.claim(&whole, || path.is_dir()) {
            self.make(image.as_deref(), &[self.layers.path(base)], stack, &path)?;
        }
        Ok(path)
    }

    fn image(&self, stack: &Stack, chains: &[Digest], chain: &Digest) -> Result<PathBuf, Error> {
        let path = self.path(chain);
        if let Some(_claim) = self.claims.claim(chain, || path.is_dir()) {
            let below = chains.iter().rposition(|chain| self.path(chain).is_dir());
            let from = below.map(|number| self.path(&chains[number]));
            let rest = &stack.layers[below.map_or(0, |number| number + 1)..];
            let trees: Vec<PathBuf> = rest.iter().rev().map(|diff_id| self.layers.path(diff_id)).collect();
            self.make(from.as_deref(), &trees, stack, &path)?;
        }
        Ok(path)
    }

    /// Makes a subvolume of another one, or of nothing, with layers (top first) on it.
    fn make(&self, from: Option<&Path>, trees: &[PathBuf], stack: &Stack, path: &Path) -> Result<(), Error> {
        let tmp = self.layers.new_dir("layer")?;
        let done = self.fill(from, trees, stack, &tmp).and_then(|()| {
            let made = tmp.join(TREE);
            fs::rename(&made, path).map_err(Error::io("rename", made))
        });
        self.layers.trash().discard(&tmp);
        done
    }

    fn fill(&self, from: Option<&Path>, trees: &[PathBuf], stack: &Stack, tmp: &Path) -> Result<(), Error> {
        let dir = open_dir(tmp)?;
        let path = tmp.join(TREE);
        match from {
            Some(from) => {
                let source = open_dir(from)?;
                btrfs::snapshot(&source, &dir, TREE).map_err(Error::errno("make a snapshot of", from))?;
            }
            None => btrfs::create(&dir, TREE).map_err(Error::errno("make subvolume", &path))?,
        }
        let top = open_dir(&path)?;
        stack.set_top(&self.layers, &top)?;
        let onto = if from.is_some() { Onto::Lower } else { Onto::Empty };
        flatten(&Union::open(trees)?, top, onto)?;
        rustix::fs::syncfs(&dir).map_err(Error::errno("sync", &path))?;
        knarr_base::failpoint!("driver.chain", Error::Failpoint("driver.chain"));
        // Whatever is changed in a snapshot of it is changed later.
        moment(tmp, true).map(drop)
    }
}

impl Driver for Btrfs {
    fn kind(&self) -> Kind {
        Kind::Btrfs
    }

    fn status(&self) -> Vec<(&'static str, &'static str)> {
        vec![("Btrfs", "")]
    }

    fn prepare(&self, stack: &Stack, container_dir: &Path, _keep: Keep) -> Result<RootfsMount, Error> {
        let tree = self.tree(stack)?;
        let dir = open_dir(container_dir)?;
        let source = open_dir(&tree)?;
        btrfs::snapshot(&source, &dir, TREE).map_err(Error::errno("make a snapshot of", &tree))?;
        knarr_base::failpoint!("driver.made", Error::Failpoint("driver.made"));
        Ok(RootfsMount::Copy {
            path: container_dir.join(TREE),
            lower: stack.trees(&self.layers),
            complete: moment(container_dir, false)?,
        })
    }

    fn retain(&self, images: &mut dyn Iterator<Item = Vec<Digest>>, base: &Digest) -> Result<(), Error> {
        let mut kept = HashSet::new();
        for layers in images {
            let chains = chain_ids(&layers);
            kept.extend(chains.last().map(|chain| chain.hex().to_owned()));
            kept.insert(with_layer(chains.last(), base).hex().to_owned());
        }
        for path in strangers(&self.chains, &kept)? {
            self.layers.trash().take(&path)?;
        }
        Ok(())
    }
}

/// Of each layer with all that lie below it, bottom first.
fn chain_ids(layers: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        chains.push(with_layer(chains.last(), layer));
    }
    chains
}

fn with_layer(chain: Option<&Digest>, layer: &Digest) -> Digest {
    chain.map_or_else(|| layer.clone(), |chain| Digest::sha256(format!("{chain} {layer}").as_bytes()))
}

/// For a data root that another driver works on now: what is kept for images goes, containers have their own.
pub(super) fn discard(layers: &Layers) -> Result<(), Error> {
    layers.trash().take(&layers.data_root().join(CHAINS)).map(drop)
}
