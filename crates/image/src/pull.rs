//! `pull`: an image from a registry, or every tag of a repository.
//!
//! Layers come in several at a time, and each is unpacked while it arrives. Invariants: what arrived of a pull that failed is
//! held for its next attempt by a row in `pulls`; the image's own row comes last. What is here already is used when it is
//! whole; what is damaged comes again.
use crate::error::Error;
use crate::gate::AsyncPass;
use crate::progress::{Progress, SharedReport};
use crate::publish::Ready;
use crate::record::{ImageRecord, LayerRef, PullRecord, ReferenceRecord};
use crate::service::{Images, now_nanos};
use crate::standing::Standing;
use crate::transfers::Outcome;
use crate::whole::Mended;
use knarr_base::ImageId;
use knarr_content::{Begin, Ingest, Lease, Verified};
use knarr_distribution::{Access, Credentials, Fetched, Repository, Select};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, Document, ImageConfig, MAX_CONFIG_LEN, Manifest, media_type};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_state::Event;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// Layers that one pull fetches at the same time, as in Docker, unless the engine is told otherwise.
pub(crate) const MAX_DOWNLOADS: usize = 3;

/// Between two looks at a blob that somebody else writes.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What `pull` is to fetch.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Not this machine's.
    pub platform: Option<Platform>,
    pub credentials: Option<Credentials>,
    /// Who stands on layers: a damaged one that processes run on is left.
    pub standing: Standing,
}

/// Pulls under way, by reference: what they hold is not given up for space. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RunningPulls(Arc<Mutex<HashMap<String, usize>>>);

pub(crate) struct Running {
    pulls: RunningPulls,
    key: String,
}

impl RunningPulls {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, key: String) -> Running {
        *self.lock().entry(key.clone()).or_default() += 1;
        Running { pulls: self.clone(), key }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut pulls = self.pulls.lock();
        if let Some(count) = pulls.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                pulls.remove(&self.key);
            }
        }
    }
}

/// Layers whose trees were looked at, and those of them that are to be compared with their blobs.
type Looked = (Vec<Digest>, HashSet<Digest>);

/// A manifest on its way, and what it is known as.
struct Wanted {
    /// The digest that the registry knows the reference by: an index's, if it is one.
    top: Digest,
    manifest: Manifest,
    descriptor: Descriptor,
    bytes: Vec<u8>,
    /// The index that the manifest was chosen from.
    index: Option<Fetched>,
}

/// What the tasks of one pull share.
#[derive(Clone)]
pub(crate) struct Pull {
    pub images: Images,
    pub repository: Arc<Repository>,
    pub lease: Arc<Lease>,
    report: SharedReport,
    pub slots: Arc<Semaphore>,
    /// Keeps collection out.
    pass: Arc<AsyncPass>,
    standing: Standing,
}

impl Images {
    /// Fetches an image and gives it the name that it was asked for by.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: PullOptions,
        report: SharedReport,
    ) -> Result<ImageId, Error> {
        let pull = self.begin_pull(reference, &options, report).await?;
        let (id, newer) = pull.one(reference, options.platform.as_ref()).await?;
        pull.end(reference.familiar(), newer);
        Ok(id)
    }

    /// Fetches every tag of the repository.
    pub async fn pull_all_tags(
        &self,
        name: &Reference,
        options: PullOptions,
        report: SharedReport,
    ) -> Result<(), Error> {
        let pull = self.begin_pull(name, &options, report).await?;
        let mut newer = false;
        for tag in pull.repository.tags().await? {
            newer |= pull.one(&name.with_tag(&tag)?, options.platform.as_ref()).await?.1;
        }
        pull.end(name.familiar_name(), newer);
        Ok(())
    }

    async fn begin_pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        report: SharedReport,
    ) -> Result<Pull, Error> {
        let images = self.clone();
        let pass = Arc::new(blocking(move || Ok(AsyncPass::from(images.enter()))).await?);
        let repository =
            self.registries().repository(reference, options.credentials.clone(), Access::Pull)?;
        Ok(Pull {
            images: self.clone(),
            repository: Arc::new(repository),
            lease: Arc::new(self.content.lease()),
            report,
            slots: Arc::new(Semaphore::new(self.max_downloads())),
            pass,
            standing: options.standing.clone(),
        })
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
    pub(crate) async fn blocking<T: Send + 'static>(
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

    /// Work that waits for others more than for a disk: it has a thread of its own, so that all threads for blocking work can
    /// never be taken by those who wait for one more.
    pub(crate) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let held = (Arc::clone(&self.pass), Arc::clone(&self.lease));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("unpack".to_owned()).spawn(move || {
            let result = work();
            drop(held);
            let _ = sender.send(result);
        });
        thread.map_err(|e| Error::Task(format!("no thread to unpack with: {e}")))?;
        receiver.await.map_err(|_| Error::Task("unpacking was aborted".to_owned()))?
    }

    /// Begins a blob, or waits while somebody else writes it; none when it is there.
    pub(crate) async fn begin_blob(&self, blob: &Descriptor) -> Result<Option<Ingest>, Error> {
        loop {
            let (content, lease, blob) = (self.images.content.clone(), Arc::clone(&self.lease), blob.clone());
            match self.blocking(move || Ok(content.begin(&lease, &blob.digest, Some(blob.size))?)).await? {
                Begin::Present(_) => return Ok(None),
                Begin::Started(ingest) => return Ok(Some(ingest)),
                Begin::Busy => tokio::time::sleep(BUSY_PAUSE).await,
            }
        }
    }

    /// One image; whether anything of it is new.
    async fn one(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<(ImageId, bool), Error> {
        let _running = self.images.running_pulls.enter(reference.to_string());
        let done = self.attempt(reference, platform).await;
        if done.as_ref().is_err_and(Error::is_full) {
            // What arrived would be in the way of what is to make room for the rest.
            let (images, key) = (self.images.clone(), reference.to_string());
            self.blocking(move || {
                images.gate.want();
                images.store.write(|tx| Ok::<_, Error>(tx.delete::<PullRecord>(&key)?))
            })
            .await?;
        }
        done
    }

    async fn attempt(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<(ImageId, bool), Error> {
        let (select, shown) = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => (Select::Digest(digest), digest.to_string()),
            (None, tag) => (Select::Tag(tag.unwrap_or_default()), tag.unwrap_or_default().to_owned()),
        };
        // What is here is looked at while the registry is asked.
        let ahead = self.look_ahead(reference);
        // Nothing is said before it is known that there is such an image: the first message decides the answer's status.
        let wanted = self.wanted(select, platform).await?;
        (self.report)(Progress::Heading { id: shown, status: format!("Pulling from {}", reference.path()) });
        let (config, fetched) = self.config(&wanted).await?;
        let layers = layers_of(&config, &wanted.manifest)?;
        let missing = self.missing(&layers).await?;
        // As Docker: of an image that is here, and whole, no layer is worth a line.
        if !missing.is_empty() || !self.is_image(&wanted.manifest.config.digest).await? {
            self.announce(&layers, &missing);
        }
        let held = self.hold(reference, &wanted, &layers, fetched, missing.len());
        let (held, arrived) = tokio::join!(held, self.fetch_layers(&layers, &missing));
        // The row that holds what arrived is there before a failure is told.
        held?;
        arrived?;
        self.mend(&layers, ahead).await?;
        let (id, newer) = self.finish(reference, &wanted, &config, layers, missing.is_empty()).await?;
        (self.report)(Progress::line(format!("Digest: {}", wanted.top)));
        if let Some(wanted) = platform.filter(|wanted| !wanted.is_same(&config.platform())) {
            let (name, own) = (reference.familiar(), config.platform());
            (self.report)(Progress::line(format!(
                "WARNING: image with reference {name} was found but its platform ({own}) does not match the specified \
                 platform ({wanted})"
            )));
        }
        Ok((id, newer))
    }

    fn end(&self, name: String, newer: bool) {
        let status = if newer { "Downloaded newer image" } else { "Image is up to date" };
        (self.report)(Progress::line(format!("Status: {status} for {name}")));
    }

    /// Follows the reference to one image's manifest.
    async fn wanted(&self, select: Select<'_>, platform: Option<&Platform>) -> Result<Wanted, Error> {
        let Fetched { descriptor, bytes } = self.repository.manifest(select).await?;
        let top = descriptor.digest.clone();
        let document = Document::parse(&bytes, &descriptor.media_type)?;
        let media_type = document.media_type().to_owned();
        let chosen = match document {
            Document::Manifest(manifest) => return wanted(top, manifest, descriptor, bytes, None),
            Document::Index(index) => {
                let platform = platform.cloned().unwrap_or_else(Platform::host);
                index.select(&platform, false).cloned().ok_or_else(|| {
                    Error::Missing(format!(
                        "no matching manifest for {platform} in the manifest list entries"
                    ))
                })?
            }
        };
        let fetched = match self.known(&chosen.digest, knarr_oci::image::MAX_MANIFEST_LEN).await? {
            Some(bytes) => Fetched { descriptor: chosen.clone(), bytes },
            None => self.repository.manifest(Select::Digest(&chosen.digest)).await?,
        };
        if fetched.bytes.len() as u64 != chosen.size {
            return Err(Error::Archive(format!(
                "manifest {} has another size than its index says",
                chosen.digest
            )));
        }
        match Document::parse(&fetched.bytes, &chosen.media_type)? {
            Document::Manifest(parsed) => {
                let index = Fetched { descriptor: Descriptor { media_type, ..descriptor }, bytes };
                wanted(top, parsed, fetched.descriptor, fetched.bytes, Some(index))
            }
            Document::Index(_) => Err(Error::Archive("an index of indexes".to_owned())),
        }
    }

    /// A small blob that is here and whole. One that is damaged goes.
    async fn known(&self, digest: &Digest, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        self.lease.hold(digest);
        let (content, digest) = (self.images.content.clone(), digest.clone());
        self.blocking(move || match content.read(&digest, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(knarr_content::Error::NotFound(_)) => Ok(None),
            Err(
                error @ (knarr_content::Error::DigestMismatch { .. } | knarr_content::Error::TooLarge { .. }),
            ) => {
                tracing::warn!(%digest, %error, "damaged blob: fetched again");
                content.discard(&digest)?;
                Ok(None)
            }
            // It may be whole.
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// The image's configuration, and its blob if it was fetched.
    async fn config(&self, wanted: &Wanted) -> Result<(ImageConfig, Option<Verified>), Error> {
        let blob = wanted.manifest.config.clone();
        if blob.size > MAX_CONFIG_LEN as u64 {
            return Err(knarr_oci::image::InvalidDocument::TooLarge {
                what: "image configuration",
                limit: MAX_CONFIG_LEN,
            }
            .into());
        }
        loop {
            if let Some(bytes) = self.known(&blob.digest, MAX_CONFIG_LEN).await? {
                return Ok((ImageConfig::parse(&bytes)?, None));
            }
            // None: somebody else was faster.
            if let Some(ingest) = self.begin_blob(&blob).await? {
                let verified = self.repository.fetch_into(&blob, ingest, &|_, _| {}).await?;
                let bytes = verified.read(MAX_CONFIG_LEN)?;
                return Ok((ImageConfig::parse(&bytes)?, Some(verified)));
            }
        }
    }

    /// Records what this pull brings, so that an interrupted one can go on. Not for one that has nothing to bring.
    async fn hold(
        &self,
        reference: &Reference,
        wanted: &Wanted,
        layers: &[LayerRef],
        config: Option<Verified>,
        missing: usize,
    ) -> Result<(), Error> {
        let manifest = &wanted.descriptor.digest;
        let index = wanted.index.as_ref().map(|index| &index.descriptor.digest);
        let all_here = || [Some(manifest), index].iter().flatten().all(|d| self.images.content.exists(d));
        if missing == 0 && config.is_none() && all_here() {
            self.lease.hold(manifest);
            index.into_iter().for_each(|index| self.lease.hold(index));
            if all_here() {
                return Ok(());
            }
        }
        let mut blobs = vec![manifest.clone(), wanted.manifest.config.digest.clone()];
        blobs.extend(layers.iter().map(|layer| layer.blob.digest.clone()));
        blobs.extend(index.cloned());
        let record = PullRecord {
            blobs,
            layers: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            started_nanos: now_nanos(),
        };
        let (images, lease, key) = (self.images.clone(), Arc::clone(&self.lease), reference.to_string());
        let documents = std::iter::once(&wanted.bytes).chain(wanted.index.iter().map(|index| &index.bytes));
        let documents: Vec<Vec<u8>> = documents.cloned().collect();
        self.blocking(move || {
            images.store.write(|tx| Ok::<_, Error>(tx.put(&key, &record)?))?;
            images
                .publisher
                .publish(&lease, Ready { blobs: config.into_iter().collect(), ..Ready::default() })?;
            for bytes in &documents {
                images.content.put(&lease, bytes)?;
            }
            Ok(())
        })
        .await
    }

    /// Layers, by place, whose blob or tree is not here or not whole.
    async fn missing(&self, layers: &[LayerRef]) -> Result<Vec<usize>, Error> {
        for layer in layers {
            self.lease.hold(&layer.blob.digest);
        }
        let (images, layers) = (self.images.clone(), layers.to_vec());
        self.blocking(move || {
            let mut missing = Vec::new();
            for (place, layer) in layers.iter().enumerate() {
                if !images.layer_is_whole(layer)? {
                    missing.push(place);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Begins to look at the trees of the image that has the name now. Gives those that it looked at, and the suspects.
    fn look_ahead(&self, reference: &Reference) -> JoinHandle<Result<Looked, Error>> {
        let (images, key) = (self.images.clone(), reference.to_string());
        tokio::task::spawn_blocking(move || {
            let record = images.store.read(|tx| match tx.get::<ReferenceRecord>(&key)? {
                Some(row) => tx.get::<ImageRecord>(row.image.as_str()),
                None => Ok(None),
            })?;
            let layers = record.map_or_else(Vec::new, |record| record.layers);
            let looked: Vec<Digest> = layers.into_iter().map(|layer| layer.diff_id).collect();
            let suspects = images.suspects(&looked)?;
            Ok((looked, suspects))
        })
    }

    /// Replaces trees that are not what their blobs say. All blobs are here.
    async fn mend(&self, layers: &[LayerRef], ahead: JoinHandle<Result<Looked, Error>>) -> Result<(), Error> {
        let (looked, mut suspects) = ahead.await.map_err(|error| Error::Task(error.to_string()))??;
        let rest: Vec<Digest> = layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .filter(|layer| !looked.contains(layer))
            .collect();
        if !rest.is_empty() {
            let images = self.images.clone();
            suspects.extend(self.blocking(move || images.suspects(&rest)).await?);
        }
        for layer in layers.iter().filter(|layer| suspects.contains(&layer.diff_id)) {
            let (images, wanted, standing) = (self.images.clone(), layer.clone(), self.standing.clone());
            let id = layer.blob.digest.short();
            match self.blocking(move || images.mend(&wanted, &standing)).await? {
                Mended::Same => {}
                Mended::Replaced => (self.report)(Progress::status(id, "Repaired")),
                Mended::Busy(difference) => (self.report)(Progress::line(format!(
                    "WARNING: layer {id} is damaged on this machine ({difference}) and running containers stand on it: stop \
                     them, and pull again"
                ))),
            }
        }
        Ok(())
    }

    /// Whether there is an image of this configuration.
    async fn is_image(&self, config: &Digest) -> Result<bool, Error> {
        let Some(id) = config.image_id() else { return Ok(false) };
        let images = self.images.clone();
        self.blocking(move || Ok(images.store.read(|tx| tx.get::<ImageRecord>(id.as_str()))?.is_some())).await
    }

    fn announce(&self, layers: &[LayerRef], missing: &[usize]) {
        for (place, layer) in layers.iter().enumerate() {
            let id = layer.blob.digest.short();
            (self.report)(if missing.contains(&place) {
                Progress::coming(id, "Pulling fs layer", layer.blob.size)
            } else {
                Progress::status(id, "Already exists")
            });
        }
    }

    async fn fetch_layers(&self, layers: &[LayerRef], missing: &[usize]) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for place in missing {
            let (pull, layer) = (self.clone(), layers[*place].clone());
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

    /// One layer, with whoever else wants it.
    async fn layer(&self, layer: &LayerRef) -> Result<(), Error> {
        loop {
            let transfer = self
                .images
                .transfers
                .join(layer, |reporter| crate::layer_job::run(self.clone(), layer.clone(), reporter));
            match transfer.follow(layer, &*self.report).await {
                Outcome::Complete => return Ok(()),
                Outcome::Failed(error) => return Err(error),
                Outcome::TryAgain => {}
            }
        }
    }

    /// Commits the image with its names. Tells whether anything is new.
    async fn finish(
        &self,
        reference: &Reference,
        wanted: &Wanted,
        config: &ImageConfig,
        layers: Vec<LayerRef>,
        all_here: bool,
    ) -> Result<(ImageId, bool), Error> {
        let id = config.id();
        let by_digest = reference.with_digest(&wanted.top);
        let mut names = vec![by_digest];
        if reference.digest().is_none() {
            names.insert(0, reference.clone());
        }
        let (images, lease, manifest) =
            (self.images.clone(), Arc::clone(&self.lease), wanted.descriptor.clone());
        let index = wanted.index.as_ref().map(|index| index.descriptor.clone());
        let event =
            Event::now("image", "pull", &reference.familiar()).with("name", reference.familiar_name());
        let pull_key = reference.to_string();
        self.blocking(move || {
            let (known, pending) = images.store.read(|tx| {
                let row = tx.get::<ImageRecord>(id.as_str())?;
                let same_index = |row: &ImageRecord| index.is_none() || row.index == index;
                let mut known =
                    row.is_some_and(|row| row.manifest.as_ref() == Some(&manifest) && same_index(&row));
                for name in &names {
                    let row = tx.get::<ReferenceRecord>(&name.to_string())?;
                    known &= row.is_some_and(|row| row.image == id);
                }
                Ok((known, tx.get::<PullRecord>(&pull_key)?.is_some()))
            })?;
            if known && all_here && !pending {
                // Nothing changes: only the event is written, and nobody waits for it.
                images.store.write_behind(|tx| {
                    tx.emit(event);
                    Ok::<_, Error>(())
                })?;
                return Ok((id, false));
            }
            let record = ImageRecord {
                size: images.size_of(&layers),
                layers,
                manifest: Some(manifest),
                index,
                parent: None,
                updated_nanos: now_nanos(),
                facts: None,
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
    index: Option<Fetched>,
) -> Result<Wanted, Error> {
    manifest.check_image()?;
    descriptor.media_type = Document::Manifest(manifest.clone()).media_type().to_owned();
    if !media_type::is_manifest(&descriptor.media_type) {
        descriptor.media_type = media_type::OCI_MANIFEST.to_owned();
    }
    Ok(Wanted { top, manifest, descriptor, bytes, index })
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
