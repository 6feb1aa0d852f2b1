//! The image service of one data root: opening, names, rows.
use crate::error::Error;
use crate::gate::{Gate, Pass};
use crate::image::Image;
use crate::index::Cache;
use crate::publish::Publisher;
use crate::pull::RunningPulls;
use crate::record::{ImageRecord, LayerRecord, LayerRef, ReferenceRecord, UseRecord};
use crate::transfers::Transfers;
use crate::whole::Sealer;
use knarr_base::ImageId;
use knarr_content::{Content, Lease};
use knarr_distribution::{Client, RegistryConfig};
use knarr_oci::digest::Digest;
use knarr_oci::image::{ImageConfig, MAX_CONFIG_LEN};
use knarr_oci::reference::Reference;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::driver::{self, Driver, Keep, Stack};
use knarr_snapshot::{Layers, Limits};
use knarr_state::{Event, ReadTx, Store, WriteTx};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// How exactly the last use of an image is known.
const USE_PRECISION_NANOS: i64 = 10 * 1_000_000_000;

/// All images of a data root. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    pub(crate) data_root: PathBuf,
    pub(crate) store: Store,
    pub(crate) content: Content,
    pub(crate) layers: Layers,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) limits: Limits,
    pub(crate) gate: Gate,
    settings: Arc<RwLock<Settings>>,
    pub(crate) base_layer: Digest,
    pub(crate) publisher: Publisher,
    pub(crate) transfers: Transfers,
    pub(crate) index: Cache,
    pub(crate) sealer: Sealer,
    pub(crate) running_pulls: RunningPulls,
    /// For work that is the same for many things.
    pub(crate) threads: usize,
}

/// What can change while images are used; work that has begun goes on with what it began with.
struct Settings {
    client: Client,
    /// Layers of one push on their way at a time.
    max_uploads: usize,
    /// Layers that one pull fetches at a time.
    max_downloads: usize,
}

impl Images {
    /// Opens the images of a data root and removes what an engine that died left behind.
    pub fn open(data_root: &Path, store: Store) -> Result<Self, Error> {
        let images = Self::open_with(data_root, store, None)?;
        images.tidy();
        Ok(images)
    }

    /// The same with a storage driver that is asked for, or else the best that works here. What was left behind stays until
    /// [`Images::tidy`].
    pub fn open_with(data_root: &Path, store: Store, wanted: Option<driver::Kind>) -> Result<Self, Error> {
        let layers = Layers::open(data_root)?;
        layers.empty_tmp()?;
        let driver = driver::open(&layers, wanted)?;
        let content = Content::open(data_root)?;
        let images = Self {
            data_root: data_root.to_owned(),
            store,
            publisher: Publisher::new(content.clone(), layers.clone()),
            transfers: Transfers::default(),
            content,
            base_layer: Self::base_layer(&layers)?,
            layers,
            driver,
            limits: Limits::default(),
            gate: Gate::default(),
            settings: Arc::new(RwLock::new(Settings {
                client: Client::new(RegistryConfig::default())?,
                max_uploads: crate::push::MAX_UPLOADS,
                max_downloads: crate::pull::MAX_DOWNLOADS,
            })),
            index: Cache::default(),
            sealer: Sealer::default(),
            running_pulls: RunningPulls::default(),
            threads: crate::parallel::threads(),
        };
        if images.layers.is_new_boot() {
            images.make_lost_layers()?;
        }
        Ok(images)
    }

    /// Removes what an engine that died left behind, and makes the index of all images, which the first list would wait for.
    /// It looks at every row and every name in the store, and nobody has to wait for it.
    pub fn tidy(&self) {
        if let Err(error) = self.list() {
            tracing::warn!(%error, "no index of images");
        }
        if let Err(error) = self.collect() {
            tracing::warn!(%error, "leftovers of images not collected");
        }
        self.sweep_quarantine();
    }

    /// Other registries, and how many layers go at a time in each direction; for what begins from now on.
    pub fn reconfigure(
        &self,
        registries: RegistryConfig,
        downloads: usize,
        uploads: usize,
    ) -> Result<(), Error> {
        let client = Client::new(registries)?;
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        *settings = Settings { client, max_uploads: uploads.max(1), max_downloads: downloads.max(1) };
        Ok(())
    }

    fn settings(&self) -> RwLockReadGuard<'_, Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn max_uploads(&self) -> usize {
        self.settings().max_uploads
    }

    pub(crate) fn max_downloads(&self) -> usize {
        self.settings().max_downloads
    }

    /// Keeps collection out while data is brought in.
    pub(crate) fn enter(&self) -> Pass {
        let images = self.clone();
        self.gate.enter(move || {
            if let Err(error) = images.collect() {
                tracing::warn!(%error, "leftovers of images not collected");
            }
        })
    }

    /// Passes a result on; after a failure what was brought in for it goes as soon as nobody else brings anything.
    pub(crate) fn or_collect<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.gate.want();
        }
        result
    }

    /// The client of registries, for `login`.
    pub fn registries(&self) -> Client {
        self.settings().client.clone()
    }

    /// The blobs, for others who keep content here.
    pub fn content(&self) -> &Content {
        &self.content
    }
    pub fn layers(&self) -> &Layers {
        &self.layers
    }
    /// What makes root filesystems of the layers.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Finds an image by name, id or beginning of an id.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        let found = self.store.read(|tx| {
            let Some(id) = crate::resolve::find(tx, name)? else { return Ok(None) };
            let Some(record) = tx.get::<ImageRecord>(id.as_str())? else { return Ok(None) };
            Ok(Some((references_of(tx, &id)?, id, record)))
        })?;
        let Some((references, id, record)) = found else { return Err(crate::resolve::not_found(name)) };
        self.assemble(id, record, &references)
    }

    /// Finds an image by its full id.
    pub fn get(&self, id: &ImageId) -> Result<Image, Error> {
        self.resolve(id.as_str())
    }

    pub(crate) fn assemble(
        &self,
        id: ImageId,
        record: ImageRecord,
        names: &[Reference],
    ) -> Result<Image, Error> {
        let bytes = self.content.read(&Digest::of_image(&id), MAX_CONFIG_LEN)?;
        Ok(Image::new(id, ImageConfig::parse(&bytes)?, record, names))
    }

    /// The root filesystem of a container of this image, made in `container_dir`.
    pub fn prepare(&self, id: &ImageId, container_dir: &Path) -> Result<RootfsMount, Error> {
        self.prepare_for(id, container_dir, Keep::Durable)
    }

    /// The same for a container that may go with a power cut.
    pub fn prepare_for(&self, id: &ImageId, container_dir: &Path, keep: Keep) -> Result<RootfsMount, Error> {
        self.make_tree(id, container_dir, keep, &|held| crate::collect::hold(container_dir, held), true)
    }

    /// Another image's tree, for a container that has its own: in the directory `place`, without the base layer. Its layers
    /// are held by the container's directory.
    pub fn prepare_beside(
        &self,
        id: &ImageId,
        place: &Path,
        container_dir: &Path,
        keep: Keep,
    ) -> Result<RootfsMount, Error> {
        self.make_tree(id, place, keep, &|held| crate::collect::hold_more(container_dir, held), false)
    }

    fn make_tree(
        &self,
        id: &ImageId,
        place: &Path,
        keep: Keep,
        hold: &dyn Fn(&[&Digest]) -> Result<(), Error>,
        with_base: bool,
    ) -> Result<RootfsMount, Error> {
        let record = self.store.get::<ImageRecord>(id.as_str())?;
        let record = record.ok_or_else(|| Error::NotFound(id.to_string()))?;
        let _pass = self.enter();
        let held: Vec<&Digest> = record.layers.iter().map(|layer| &layer.diff_id).collect();
        hold(&held)?;
        let mut lower = Vec::with_capacity(record.layers.len());
        for layer in record.layers.iter().rev() {
            if !self.layers.exists(&layer.diff_id) {
                self.repair(layer)?;
            }
            lower.push(self.layers.path(&layer.diff_id));
        }
        let has_base = lower.is_empty() || with_base && crate::base_layer::suits(&lower);
        let stack = Stack {
            layers: held.into_iter().cloned().collect(),
            base: has_base.then(|| self.base_layer.clone()),
        };
        Ok(self.driver.prepare(&stack, place, keep)?)
    }

    /// After a start of the machine: layers that had not reached the disk are unpacked again, since containers may stand on them.
    fn make_lost_layers(&self) -> Result<(), Error> {
        for (_, record) in self.store.list::<ImageRecord>()? {
            for layer in record.layers.iter().filter(|layer| !self.layers.exists(&layer.diff_id)) {
                if let Err(error) = self.repair(layer) {
                    tracing::warn!(layer = %layer.diff_id, %error, "layer cannot be unpacked again");
                }
            }
        }
        Ok(())
    }

    /// Unpacks a layer again whose tree is gone.
    fn repair(&self, layer: &LayerRef) -> Result<(), Error> {
        tracing::warn!(layer = %layer.diff_id, "layer is missing: unpacked again");
        let Some(_claim) = self.layers.claim(&layer.diff_id) else { return Ok(()) };
        let staged = self.stage(layer)?;
        self.layers.commit(vec![staged])?;
        self.seal_later();
        Ok(())
    }

    /// Commits an image whose blobs and layers are durable, with its names. Returns the images that lost a name.
    pub(crate) fn commit_image(
        &self,
        id: &ImageId,
        record: &ImageRecord,
        names: &[Reference],
        event: Option<Event>,
        _lease: &Lease,
    ) -> Result<Vec<(Reference, ImageId)>, Error> {
        let sizes: Vec<u64> =
            record.layers.iter().map(|l| self.layers.meta(&l.diff_id).map_or(0, |m| m.size)).collect();
        let facts = self.facts(id)?;
        let mut superseded = false;
        let moved = self.store.write(|tx| {
            let mut record = ImageRecord { facts: Some(facts), ..record.clone() };
            let existing = tx.get::<ImageRecord>(id.as_str())?;
            if existing.is_none() {
                for (layer, size) in record.layers.iter().zip(sizes) {
                    add_layer(tx, &layer.diff_id, size)?;
                }
            } else if let Some(existing) = existing {
                let both = [existing.blobs(id), record.blobs(id)].concat();
                record.parent = record.parent.or(existing.parent);
                // A manifest, its index and the blobs that it names belong together.
                if record.manifest.is_none() && existing.manifest.is_some() {
                    record.layers = existing.layers;
                    record.manifest = existing.manifest;
                    record.index = existing.index;
                } else if record.manifest == existing.manifest {
                    record.index = record.index.or(existing.index);
                }
                let needed = record.blobs(id);
                superseded = both.iter().any(|blob| !needed.contains(blob));
            }
            tx.put(id.as_str(), &record)?;
            let mut moved = Vec::new();
            for name in names {
                moved.extend(set_reference(tx, name, id)?);
            }
            if let Some(event) = event {
                tx.emit(event);
            } else {
                for name in names {
                    let event = Event::now("image", "tag", &format!("sha256:{id}"));
                    tx.emit(event.with("name", name.familiar()));
                }
            }
            tx.put(id.as_str(), &UseRecord { used_nanos: now_nanos() })?;
            Ok::<_, Error>(moved)
        });
        self.index.changed();
        self.seal_later();
        if superseded {
            // The same image in another form: the blobs of the one before are nobody's now.
            self.gate.want();
        }
        moved
    }

    /// Notes that an image is used now. Written behind: losing it makes the image look less used than it is.
    pub fn used(&self, id: &ImageId) -> Result<(), Error> {
        let now = now_nanos();
        let known = self.store.get::<UseRecord>(id.as_str())?;
        if known.is_none_or(|known| now - known.used_nanos > USE_PRECISION_NANOS) {
            self.store.write_behind(|tx| tx.put(id.as_str(), &UseRecord { used_nanos: now }))?;
        }
        Ok(())
    }

    /// How many images there are.
    pub fn count(&self) -> Result<usize, Error> {
        Ok(self.list()?.len())
    }

    /// The id of the image that a text means; without reading what the image is.
    pub fn find(&self, name: &str) -> Result<ImageId, Error> {
        let found = self.store.read(|tx| crate::resolve::find(tx, name))?;
        found.ok_or_else(|| crate::resolve::not_found(name))
    }
}

/// Points a name at an image. Returns the image that had the name before.
pub(crate) fn set_reference(
    tx: &mut WriteTx<'_>,
    name: &Reference,
    id: &ImageId,
) -> Result<Option<(Reference, ImageId)>, Error> {
    let key = name.to_string();
    let before = tx.get::<ReferenceRecord>(&key)?.map(|r| r.image).filter(|before| before != id);
    tx.put(&key, &ReferenceRecord { image: id.clone() })?;
    Ok(before.map(|before| (name.clone(), before)))
}

/// One more image uses the layer.
pub(crate) fn add_layer(tx: &mut WriteTx<'_>, diff_id: &Digest, size: u64) -> Result<(), Error> {
    let key = diff_id.to_string();
    let images = tx.get::<LayerRecord>(&key)?.map_or(0, |l| l.images);
    tx.put(&key, &LayerRecord { size, images: images + 1 })?;
    Ok(())
}

/// All names with their images.
pub(crate) fn all_references(tx: &ReadTx) -> knarr_state::Result<Vec<(Reference, ImageId)>> {
    let rows = tx.list::<ReferenceRecord>()?;
    Ok(rows.into_iter().filter_map(|(key, r)| Some((Reference::parse_name(&key).ok()?, r.image))).collect())
}

/// All names of one image.
pub(crate) fn references_of(tx: &ReadTx, id: &ImageId) -> knarr_state::Result<Vec<Reference>> {
    Ok(all_references(tx)?.into_iter().filter(|(_, image)| image == id).map(|(name, _)| name).collect())
}

/// Nanoseconds since the epoch.
pub(crate) fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
