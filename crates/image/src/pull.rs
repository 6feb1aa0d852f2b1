//! `pull`: an image from a registry.
//!
//! Blobs come in several at a time, and each layer is unpacked as soon as it is there, while others still come. Invariant:
//! what arrived of a pull that failed is held for its next attempt by a row in `pulls`; the image's own row comes last.
use crate::error::Error;
use crate::gate::Pass;
use crate::progress::{Progress, SharedReport};
use crate::record::{ImageRecord, LayerRef, PullRecord};
use crate::service::{Images, now_nanos};
use knarr_base::ImageId;
use knarr_content::Lease;
use knarr_distribution::{Access, Credentials, Fetched, Repository, Select};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, Document, ImageConfig, MAX_CONFIG_LEN, Manifest, media_type};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_state::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Layers that are fetched at the same time, as in Docker.
const MAX_DOWNLOADS: usize = 3;
/// Bytes between two progress messages of one layer.
const REPORT_EVERY: u64 = 512 << 10;

/// What `pull` is to fetch.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Not this machine's.
    pub platform: Option<Platform>,
    pub credentials: Option<Credentials>,
}

/// A manifest on its way, and what it is known as.
struct Wanted {
    /// The digest that the registry knows the reference by: an index's, if it is one.
    top: Digest,
    manifest: Manifest,
    descriptor: Descriptor,
    bytes: Vec<u8>,
}

/// What the tasks of one pull share.
#[derive(Clone)]
struct Pull {
    images: Images,
    repository: Arc<Repository>,
    lease: Arc<Lease>,
    report: SharedReport,
    slots: Arc<Semaphore>,
    /// Keeps collection out.
    pass: Arc<Pass>,
}

impl Images {
    /// Fetches an image and gives it the name that it was asked for by.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: PullOptions,
        report: SharedReport,
    ) -> Result<ImageId, Error> {
        let images = self.clone();
        let pass = Arc::new(blocking(move || Ok(images.enter())).await?);
        let repository = self.client.repository(reference, options.credentials, Access::Pull)?;
        let pull = Pull {
            images: self.clone(),
            repository: Arc::new(repository),
            lease: Arc::new(self.content.lease()),
            report,
            slots: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
            pass,
        };
        let selected = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        // Nothing is said before it is known that there is such an image: the first message decides the answer's status.
        let wanted = pull.wanted(options.platform.as_ref()).await?;
        (pull.report)(Progress::status(selected, format!("Pulling from {}", reference.path())));
        let config = pull.config(&wanted).await?;
        let layers = layers_of(&config, &wanted.manifest)?;
        pull.hold(reference, &wanted, &layers).await?;
        pull.fetch_layers(&layers).await?;
        let (id, newer) = pull.finish(reference, &wanted, &config, layers).await?;
        (pull.report)(Progress::line(format!("Digest: {}", wanted.top)));
        let status = if newer { "Downloaded newer image" } else { "Image is up to date" };
        (pull.report)(Progress::line(format!("Status: {status} for {}", reference.familiar())));
        Ok(id)
    }
}

/// The layers of an image whose configuration and manifest agree.
fn layers_of(config: &ImageConfig, manifest: &Manifest) -> Result<Vec<LayerRef>, Error> {
    crate::load::check_counts(config, manifest.layers.len())?;
    let pairs = config.diff_ids().iter().zip(&manifest.layers);
    Ok(pairs.map(|(diff_id, blob)| LayerRef { diff_id: diff_id.clone(), blob: blob.clone() }).collect())
}

impl Pull {
    /// Work that waits for a disk. It goes on when the request is gone, so it keeps collection out by itself.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let held = (Arc::clone(&self.pass), Arc::clone(&self.lease));
        blocking(move || {
            let result = work();
            drop(held);
            result
        })
        .await
    }

    /// Follows the reference to one image's manifest.
    async fn wanted(&self, platform: Option<&Platform>) -> Result<Wanted, Error> {
        let Fetched { descriptor, bytes } = self.repository.manifest(self.repository.selected()).await?;
        let top = descriptor.digest.clone();
        let manifest = match Document::parse(&bytes, &descriptor.media_type)? {
            Document::Manifest(manifest) => return wanted(top, manifest, descriptor, bytes),
            Document::Index(index) => {
                let platform = platform.cloned().unwrap_or_else(Platform::host);
                index.select(&platform, false).cloned().ok_or_else(|| {
                    Error::Missing(format!(
                        "no matching manifest for {platform} in the manifest list entries"
                    ))
                })?
            }
        };
        let fetched = self.repository.manifest(Select::Digest(&manifest.digest)).await?;
        if fetched.bytes.len() as u64 != manifest.size {
            return Err(Error::Archive(format!(
                "manifest {} has another size than its index says",
                manifest.digest
            )));
        }
        match Document::parse(&fetched.bytes, &manifest.media_type)? {
            Document::Manifest(parsed) => wanted(top, parsed, fetched.descriptor, fetched.bytes),
            Document::Index(_) => Err(Error::Archive("an index of indexes".to_owned())),
        }
    }

    /// The image's configuration, fetched.
    async fn config(&self, wanted: &Wanted) -> Result<ImageConfig, Error> {
        let blob = &wanted.manifest.config;
        if blob.size > MAX_CONFIG_LEN as u64 {
            return Err(knarr_oci::image::InvalidDocument::TooLarge {
                what: "image configuration",
                limit: MAX_CONFIG_LEN,
            }
            .into());
        }
        self.repository.fetch_blob(blob, &self.images.content, &self.lease, &|_, _| {}).await?;
        let bytes = self.images.content.read(&blob.digest, MAX_CONFIG_LEN)?;
        Ok(ImageConfig::parse(&bytes)?)
    }

    /// Records what this pull brings, so that an interrupted one can go on.
    async fn hold(&self, reference: &Reference, wanted: &Wanted, layers: &[LayerRef]) -> Result<(), Error> {
        let mut blobs = vec![wanted.descriptor.digest.clone(), wanted.manifest.config.digest.clone()];
        blobs.extend(layers.iter().map(|layer| layer.blob.digest.clone()));
        let record = PullRecord {
            blobs,
            layers: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            started_nanos: now_nanos(),
        };
        let (images, lease, key) = (self.images.clone(), Arc::clone(&self.lease), reference.to_string());
        let bytes = wanted.bytes.clone();
        self.blocking(move || {
            images.content.put(&lease, &bytes)?;
            images.store.write(|tx| Ok::<_, Error>(tx.put(&key, &record)?))
        })
        .await
    }

    async fn fetch_layers(&self, layers: &[LayerRef]) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for layer in layers {
            (self.report)(Progress::status(layer.blob.digest.short(), "Pulling fs layer"));
        }
        for layer in layers {
            let (pull, layer) = (self.clone(), layer.clone());
            tasks.spawn(async move { pull.layer(&layer).await });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(result) => result?,
                Err(error) => return Err(Error::Task(error.to_string())),
            }
        }
        Ok(())
    }

    /// Fetches and unpacks one layer.
    async fn layer(&self, layer: &LayerRef) -> Result<(), Error> {
        let id = layer.blob.digest.short().to_owned();
        let report = Arc::clone(&self.report);
        if self.images.layers.exists(&layer.diff_id) && self.images.content.exists(&layer.blob.digest) {
            self.lease.hold(&layer.blob.digest);
            if self.images.content.exists(&layer.blob.digest) {
                report(Progress::status(id, "Already exists"));
                return Ok(());
            }
        }
        let slot = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                report(Progress::status(id.clone(), "Waiting"));
                let acquired = Arc::clone(&self.slots).acquire_owned().await;
                acquired.map_err(|e| Error::Task(e.to_string()))?
            }
        };
        let reported = AtomicU64::new(0);
        let progress = |current: u64, total: u64| {
            let last = reported.load(Ordering::Relaxed);
            if current >= last + REPORT_EVERY || (current < total && current < last) {
                reported.store(current, Ordering::Relaxed);
                report(Progress::Transfer { id: id.clone(), status: "Downloading", current, total });
            }
        };
        self.repository.fetch_blob(&layer.blob, &self.images.content, &self.lease, &progress).await?;
        drop(slot);
        report(Progress::status(id.clone(), "Verifying Checksum"));
        report(Progress::status(id.clone(), "Download complete"));
        let (images, layer, report_too) = (self.images.clone(), layer.clone(), Arc::clone(&self.report));
        self.blocking(move || images.unpack(std::slice::from_ref(&layer), "Extracting", &*report_too))
            .await?;
        report(Progress::status(id, "Pull complete"));
        Ok(())
    }

    /// Commits the image with its names. Tells whether anything is new.
    async fn finish(
        &self,
        reference: &Reference,
        wanted: &Wanted,
        config: &ImageConfig,
        layers: Vec<LayerRef>,
    ) -> Result<(ImageId, bool), Error> {
        let id = config.id();
        let by_digest = reference.with_digest(&wanted.top);
        let mut names = vec![by_digest];
        if reference.digest().is_none() {
            names.insert(0, reference.clone());
        }
        let (images, lease, manifest) =
            (self.images.clone(), Arc::clone(&self.lease), wanted.descriptor.clone());
        let event =
            Event::now("image", "pull", &reference.familiar()).with("name", reference.familiar_name());
        let pull_key = reference.to_string();
        self.blocking(move || {
            let known = images.store.read(|tx| {
                let mut known = tx.get::<ImageRecord>(id.as_str())?.is_some();
                for name in &names {
                    let row = tx.get::<crate::record::ReferenceRecord>(&name.to_string())?;
                    known &= row.is_some_and(|row| row.image == id);
                }
                Ok(known)
            })?;
            let record = ImageRecord {
                size: images.size_of(&layers),
                layers,
                manifest: Some(manifest),
                parent: None,
                updated_nanos: now_nanos(),
            };
            knarr_base::failpoint!("pull.commit", Error::Failpoint("pull.commit"));
            images.commit_image(&id, &record, &names, Some(event), &lease)?;
            images.store.write(|tx| Ok::<_, Error>(tx.delete::<PullRecord>(&pull_key)?))?;
            Ok((id, !known))
        })
        .await
    }
}

fn wanted(
    top: Digest,
    manifest: Manifest,
    mut descriptor: Descriptor,
    bytes: Vec<u8>,
) -> Result<Wanted, Error> {
    manifest.check_image()?;
    descriptor.media_type = Document::Manifest(manifest.clone()).media_type().to_owned();
    if !media_type::is_manifest(&descriptor.media_type) {
        descriptor.media_type = media_type::OCI_MANIFEST.to_owned();
    }
    Ok(Wanted { top, manifest, descriptor, bytes })
}

/// Work that waits for a disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Task(error.to_string())),
    }
}
