//! `push`: an image to a registry.
//!
//! The manifest that the image came with goes as it is, so its digest survives; so does the index that it was chosen from,
//! when the registry has everything else that the index names (see [`crate::push_index`]). An image that has no manifest gets
//! one, which is kept. Layers that are here as plain tars are compressed once, and stay compressed.
use crate::error::Error;
use crate::gate::AsyncPass;
use crate::image::Image;
use crate::progress::{Progress, SharedReport};
use crate::pull::blocking;
use crate::record::{ImageRecord, LayerRef};
use crate::service::{Images, all_references, set_reference};
use knarr_content::Lease;
use knarr_distribution::{Access, Credentials, Repository, Select, Uploaded};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, MAX_MANIFEST_LEN, Manifest, media_type};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_state::Event;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Layers that are sent at the same time, as in Docker, unless the engine is told otherwise.
pub const MAX_UPLOADS: usize = 5;
const REPORT_EVERY: u64 = 512 << 10;
/// Repositories that a layer is looked for in, to be mounted from.
const MAX_SOURCES: usize = 3;

/// How an image is sent.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    pub credentials: Option<Credentials>,
    /// Only this platform's manifest; the image has to be of it.
    pub platform: Option<Platform>,
}

/// A manifest ready to be sent, with what it is made of.
struct Ready {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    layers: Vec<LayerRef>,
}

/// What the tasks of one push share.
#[derive(Clone)]
pub(crate) struct Push {
    pub images: Images,
    pub repository: Arc<Repository>,
    pub options: Arc<PushOptions>,
    report: SharedReport,
    slots: Arc<Semaphore>,
}

impl Images {
    /// Sends the image of a tag; without a tag, all tags of the repository.
    pub async fn push(
        &self,
        reference: &Reference,
        options: PushOptions,
        report: SharedReport,
    ) -> Result<(), Error> {
        let images = self.clone();
        let _pass = blocking(move || Ok(AsyncPass::from(images.enter()))).await?;
        let wanted = self.tags_of(reference)?;
        let repository =
            self.registries().repository(reference, options.credentials.clone(), Access::Push)?;
        report(Progress::line(format!("The push refers to repository [{}]", reference.name())));
        let push = Push {
            images: self.clone(),
            repository: Arc::new(repository),
            options: Arc::new(options),
            report,
            slots: Arc::new(Semaphore::new(self.max_uploads())),
        };
        for name in wanted {
            push.one(&name).await?;
        }
        Ok(())
    }

    fn tags_of(&self, reference: &Reference) -> Result<Vec<Reference>, Error> {
        let mut all: Vec<Reference> =
            self.store.read(all_references)?.into_iter().map(|(name, _)| name).collect();
        all.retain(|name| name.repository() == reference.repository() && name.tag().is_some());
        if all.is_empty() {
            let name = reference.familiar_name();
            return Err(Error::Missing(format!("An image does not exist locally with the tag: {name}")));
        }
        if reference.digest().is_some() {
            return Err(Error::Invalid("cannot push a digest reference".to_owned()));
        }
        if reference.tag().is_some() {
            all.retain(|name| name == reference);
        }
        if all.is_empty() {
            return Err(Error::Missing(format!("tag does not exist: {}", reference.familiar())));
        }
        Ok(all)
    }

    /// The image's manifest, made if there is none, over layers that are all compressed.
    fn ready(&self, image: &Image, lease: &Lease) -> Result<Ready, Error> {
        lease.hold(&image.config.digest());
        for layer in &image.record.layers {
            lease.hold(&layer.blob.digest);
        }
        if let Some(descriptor) = &image.record.manifest {
            lease.hold(&descriptor.digest);
            let bytes = self.content.read(&descriptor.digest, MAX_MANIFEST_LEN)?;
            return Ok(Ready { descriptor: descriptor.clone(), bytes, layers: image.record.layers.clone() });
        }
        let mut layers = Vec::new();
        for layer in &image.record.layers {
            layers.push(self.compressed(layer, lease)?);
        }
        let size = image.config.raw().len() as u64;
        let config = Descriptor::new(media_type::OCI_CONFIG, image.config.digest(), size);
        let manifest = Manifest::new(config, layers.iter().map(|layer| layer.blob.clone()).collect());
        let bytes = serde_json::to_vec(&manifest).map_err(|e| Error::Sink(e.into()))?;
        let digest = self.content.put(lease, &bytes)?;
        let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
        self.store.write(|tx| {
            let Some(mut record) = tx.get::<ImageRecord>(image.id.as_str())? else {
                return Err(Error::NotFound(image.id.to_string()));
            };
            record.manifest = Some(descriptor.clone());
            record.layers.clone_from(&layers);
            tx.put(image.id.as_str(), &record)?;
            Ok(())
        })?;
        Ok(Ready { descriptor, bytes, layers })
    }

    /// The layer with a compressed blob.
    fn compressed(&self, layer: &LayerRef, lease: &Lease) -> Result<LayerRef, Error> {
        if !matches!(layer.blob.media_type.as_str(), media_type::OCI_LAYER | media_type::DOCKER_LAYER) {
            return Ok(layer.clone());
        }
        let mut blob = self.content.open_blob(&layer.blob.digest)?;
        let mut ingest = self.content.create(self.limits.bytes)?;
        {
            let mut gzip = flate2::write::GzEncoder::new(&mut ingest, flate2::Compression::default());
            io::copy(&mut blob, &mut gzip).map_err(Error::Sink)?;
            gzip.finish().map_err(Error::Sink)?;
        }
        let size = ingest.offset();
        let digest = ingest.commit(lease)?;
        let blob = Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size);
        Ok(LayerRef { diff_id: layer.diff_id.clone(), blob })
    }

    /// Repositories of the same registry that have a layer, as far as we know.
    fn sources(&self, target: &Reference, layer: &LayerRef) -> Result<Vec<String>, Error> {
        let found = self.store.read(|tx| {
            let mut found = Vec::new();
            for (name, id) in all_references(tx)? {
                let elsewhere = name.domain() == target.domain() && name.path() != target.path();
                if !elsewhere || name.digest().is_none() || found.contains(&name.path().to_owned()) {
                    continue;
                }
                let record = tx.get::<ImageRecord>(id.as_str())?;
                if record.is_some_and(|r| r.layers.iter().any(|l| l.blob.digest == layer.blob.digest)) {
                    found.push(name.path().to_owned());
                }
            }
            Ok(found)
        })?;
        Ok(found.into_iter().take(MAX_SOURCES).collect())
    }
}

/// In Docker's words.
fn check_platform(image: &Image, name: &str, wanted: &Platform) -> Result<(), Error> {
    if wanted.is_same(&image.config.platform()) {
        return Ok(());
    }
    let shown = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.familiar());
    Err(Error::Missing(format!(
        "image with reference {shown} was found but does not provide the specified platform ({wanted})"
    )))
}

impl Push {
    async fn one(&self, name: &Reference) -> Result<(), Error> {
        let lease = Arc::new(self.images.content.lease());
        let (images, text, held) = (self.images.clone(), name.to_string(), Arc::clone(&lease));
        let platform = self.options.platform.clone();
        let ready = blocking(move || {
            let image = images.resolve(&text)?;
            if let Some(platform) = platform {
                check_platform(&image, &text, &platform)?;
            }
            images.ready(&image, &held).map(|ready| (image, ready))
        });
        let (image, ready) = ready.await?;
        self.layers(name, &ready.layers).await?;
        let size = image.config.raw().len() as u64;
        let config = Descriptor::new(media_type::OCI_CONFIG, image.config.digest(), size);
        self.repository.push_blob(&config, &self.images.content, &[], &|_, _| {}).await?;

        let tag = name.tag().unwrap_or_default();
        let own = &ready.descriptor;
        let index = match &image.record.index {
            Some(index) if self.options.platform.is_none() => self.index(index, &lease).await?,
            _ => None,
        };
        let mut sent = (ready.descriptor.digest.clone(), ready.bytes.len() as u64);
        match index {
            Some(index) => {
                let select = Select::Digest(&own.digest);
                self.repository.put_manifest(select, &own.media_type, &ready.bytes).await?;
                if self.complete(name, &image.id, &index, own).await? {
                    let (media_type, bytes) = (&index.descriptor.media_type, &index.bytes);
                    sent = (
                        self.repository.put_manifest(Select::Tag(tag), media_type, bytes).await?,
                        bytes.len() as u64,
                    );
                } else {
                    self.repository.put_manifest(Select::Tag(tag), &own.media_type, &ready.bytes).await?;
                    (self.report)(Progress::InsteadOfIndex {
                        index: Box::new(index.descriptor),
                        manifest: Box::new(own.clone()),
                    });
                }
            }
            None => {
                self.repository.put_manifest(Select::Tag(tag), &own.media_type, &ready.bytes).await?;
            }
        }
        let (digest, size) = sent;
        let (images, by_digest, id) = (self.images.clone(), name.with_digest(&digest), image.id.clone());
        let event = Event::now("image", "push", &name.familiar()).with("name", name.familiar_name());
        blocking(move || {
            images.store.write(|tx| {
                if tx.get::<ImageRecord>(id.as_str())?.is_some() {
                    set_reference(tx, &by_digest, &id)?;
                }
                tx.emit(event);
                Ok::<_, Error>(())
            })
        })
        .await?;
        (self.report)(Progress::line(format!("{tag}: digest: {digest} size: {size}")));
        (self.report)(Progress::Pushed { tag: tag.to_owned(), digest: digest.to_string(), size });
        drop(lease);
        Ok(())
    }

    /// Sends layers, each blob once.
    async fn layers(&self, name: &Reference, layers: &[LayerRef]) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let mut seen: HashMap<Digest, Vec<String>> = HashMap::new();
        let mut distinct = Vec::new();
        for layer in layers.iter().rev() {
            (self.report)(Progress::coming(layer.diff_id.short(), "Preparing", layer.blob.size));
            let ids = seen.entry(layer.blob.digest.clone()).or_default();
            if ids.is_empty() {
                distinct.push(layer.clone());
            }
            ids.push(layer.diff_id.short().to_owned());
        }
        for layer in distinct {
            let (push, name) = (self.clone(), name.clone());
            let others = seen.remove(&layer.blob.digest).unwrap_or_default().into_iter().skip(1);
            let others: Vec<String> = others.collect();
            tasks.spawn(async move {
                push.layer(&name, &layer).await?;
                for id in others {
                    (push.report)(Progress::status(id, "Layer already exists"));
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(result) => result?,
                Err(error) => return Err(Error::Task(error.to_string())),
            }
        }
        Ok(())
    }

    async fn layer(&self, name: &Reference, layer: &LayerRef) -> Result<(), Error> {
        let id = layer.diff_id.short().to_owned();
        let _slot = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                (self.report)(Progress::status(id.clone(), "Waiting"));
                let acquired = Arc::clone(&self.slots).acquire_owned().await;
                acquired.map_err(|e| Error::Task(e.to_string()))?
            }
        };
        let sources = self.images.sources(name, layer)?;
        let reported = AtomicU64::new(0);
        let progress = |current: u64, total: u64| {
            let last = reported.load(Ordering::Relaxed);
            if current >= last + REPORT_EVERY {
                reported.store(current, Ordering::Relaxed);
                (self.report)(Progress::Transfer { id: id.clone(), status: "Pushing", current, total });
            }
        };
        let done = self.repository.push_blob(&layer.blob, &self.images.content, &sources, &progress).await?;
        let status = match done {
            Uploaded::Existed => "Layer already exists".to_owned(),
            Uploaded::Mounted(from) => format!("Mounted from {from}"),
            Uploaded::Sent => "Pushed".to_owned(),
        };
        (self.report)(Progress::status(id, status));
        Ok(())
    }
}
