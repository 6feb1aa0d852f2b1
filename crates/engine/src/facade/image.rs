//! Images. Progress streams end when the work has ended; an error is their last message.
use crate::byte_channel;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::progress::{Sender, message};
use crate::prune::Prune;
use crate::registry_auth::credentials;
use crate::stream::{Body, ByteStream, STREAM_DEPTH};
use crate::view_image as view;
use knarr_base::{ErrorKind, ImageId, Kind};
use knarr_docker_types::image::{DeleteResponse, HistoryItem, InspectResponse, PruneReport, Summary};
use knarr_docker_types::jsonmessage::Message;
use knarr_docker_types::options::{ImageImport, ImageList, ImagePull, ImagePush, ImageRemove};
use knarr_docker_types::platform::Platform as PlatformAsked;
use knarr_docker_types::{Filters, List};
use knarr_image::{ImageUse, ImportOptions, PullOptions, PushOptions, Removed, SharedReport};
use knarr_oci::reference::Reference;
use knarr_state::Event;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

/// Progress messages of an operation.
pub type Progress = mpsc::Receiver<Message>;

/// Reports that wait for a slow client.
const QUEUE_DEPTH: usize = 1024;

impl Engine {
    pub async fn image_list(&self, options: ImageList) -> Result<Vec<Summary>> {
        self.blocking(move |engine| view::list(engine, &options)).await
    }

    pub async fn image_inspect(&self, image: &str, manifests: bool) -> Result<InspectResponse> {
        let name = image.to_owned();
        self.blocking(move |engine| {
            let image = engine.images.resolve(&name)?;
            let mut shown = view::inspect(engine, &image);
            if manifests {
                shown.manifests = view::manifests_of(engine, &image.id)?.into();
            }
            Ok(shown)
        })
        .await
    }

    pub async fn image_history(&self, image: &str) -> Result<Vec<HistoryItem>> {
        let name = image.to_owned();
        self.blocking(move |engine| view::history(engine, &name)).await
    }

    pub async fn image_tag(&self, image: &str, repo: &str, tag: &str) -> Result<()> {
        let (source, target) = (image.to_owned(), joined(repo, tag));
        self.blocking(move |engine| Ok(engine.images.tag(&source, &target)?)).await
    }

    pub async fn image_remove(&self, image: &str, options: ImageRemove) -> Result<Vec<DeleteResponse>> {
        let name = image.to_owned();
        let _creating = self.inner.image_use.write().await;
        self.blocking(move |engine| {
            let removed =
                engine.images.remove(&name, options.force, !options.no_prune, &|id| users(engine, id))?;
            Ok(removed.into_iter().map(shown_removal).collect())
        })
        .await
    }

    pub async fn image_pull(&self, options: ImagePull) -> Result<Progress> {
        let reference = parse(&options.reference)?;
        let all_tags = options.all_tags.then(|| parse_name(&options.reference)).transpose()?;
        let builtin =
            self.inner.config().builtin_images.iter().find(|b| b.reference == reference.to_string()).copied();
        let plain = options.platform.is_none() && self.inner.config().registry_mirrors.is_empty();
        if let Some(builtin) = builtin.filter(|_| plain) {
            return self
                .with_progress(move |engine, sender| pull_builtin(engine, sender, builtin, &reference));
        }
        let platform = options.platform.map(platform_of);
        let how = PullOptions {
            platform,
            credentials: credentials(options.auth),
            standing: crate::standing::standing(&self.inner),
        };
        Ok(self.with_async_progress(move |images, report| async move {
            match all_tags {
                Some(name) => images.pull_all_tags(&name, how, report).await,
                None => images.pull(&reference, how, report).await.map(drop),
            }
        }))
    }

    pub async fn image_push(&self, options: ImagePush) -> Result<Progress> {
        let text = joined(&options.name, &options.tag);
        let reference = if options.tag.is_empty() { parse_name(&text)? } else { parse(&text)? };
        // An unknown image is an error reply.
        let (name, every, repository) = (text.clone(), options.tag.is_empty(), reference.familiar_name());
        self.blocking(move |engine| match engine.images.resolve(&name) {
            Err(_) if every => Ok(()),
            Err(knarr_image::Error::NotFound(_)) => {
                Err(Error::NotFound(format!("An image does not exist locally with the tag: {repository}")))
            }
            found => found.map(drop).map_err(Error::from),
        })
        .await?;
        let how = PushOptions {
            credentials: credentials(options.auth),
            platform: options.platform.map(platform_of),
        };
        Ok(self.with_async_progress(move |images, report| async move {
            images.push(&reference, how, report).await
        }))
    }

    /// Loads the images of an archive; with platforms only those that are for one of them.
    pub async fn image_load(
        &self,
        archive: Body,
        quiet: bool,
        platforms: Vec<PlatformAsked>,
    ) -> Result<Progress> {
        let platform = match platforms.len() {
            0 | 1 => platforms.into_iter().next().map(platform_of),
            _ => return Err(Error::Invalid("load takes one platform: load again for the others".to_owned())),
        };
        self.with_progress(move |engine, sender| {
            let mut reader = SyncIoBridge::new(archive);
            engine.images.load(&mut reader, platform.as_ref(), &|progress| {
                if !quiet || matches!(progress, knarr_image::Progress::Stream(_)) {
                    sender.send(message(progress));
                }
            })?;
            Ok(())
        })
    }

    /// Images as an archive; each has to be for one of the platforms, if there are any.
    pub async fn image_save(&self, images: Vec<String>, platforms: Vec<PlatformAsked>) -> Result<ByteStream> {
        // An unknown name is an error reply, not a broken stream.
        let names = images.clone();
        let platforms: Vec<_> = platforms.into_iter().map(platform_of).collect();
        self.blocking(move |engine| Ok(engine.images.check_save(&names, &platforms)?)).await?;
        let (mut sink, stream) = byte_channel::channel();
        let (inner, work) = (self.inner.clone(), self.work());
        let streams = self.inner.streams.clone();
        let job = move || {
            let _work = work;
            let saved = inner.images.save(&images, &mut sink).map_err(Error::from);
            if let Err(error) = saved.and_then(|()| sink.flush().map_err(Error::io("write the archive"))) {
                sink.fail(error);
            }
        };
        tokio::spawn(async move { streams.run(job).await });
        Ok(stream)
    }

    pub async fn image_import(&self, options: ImageImport, archive: Body) -> Result<Progress> {
        if options.source != "-" && !options.source.is_empty() {
            return Err(Error::NotImplemented(
                "import from a URL (download it and import from a file)".to_owned(),
            ));
        }
        let name = match options.repo.as_str() {
            "" => None,
            repo => Some(parse(&joined(repo, &options.tag))?),
        };
        let platform = options.platform.map(platform_of);
        if platform.as_ref().is_some_and(|platform| !matches!(platform.os.as_str(), "linux" | "windows")) {
            return Err(Error::Invalid("operating system is not supported".to_owned()));
        }
        let options = ImportOptions { name, message: options.message, changes: options.changes, platform };
        self.with_progress(move |engine, sender| {
            let mut reader = SyncIoBridge::new(archive);
            engine.images.import(&mut reader, &options, &|progress| sender.send(message(progress)))?;
            Ok(())
        })
    }

    pub async fn image_prune(&self, filters: Filters) -> Result<PruneReport> {
        let all = filters.boolean("dangling")? == Some(false);
        let prune = Prune::new(filters, &["dangling", "label", "label!", "until"])?;
        let _creating = self.inner.image_use.write().await;
        self.blocking(move |engine| {
            let keep =
                |image: &knarr_image::Listed| !prune.wants(image.created_nanos.unwrap_or(0), &image.labels);
            let (removed, space_reclaimed) = engine.images.prune(all, &keep, &|id| users(engine, id))?;
            engine
                .emit_now(Event::now("image", "prune", "").with("reclaimed", space_reclaimed.to_string()))?;
            let images_deleted: Vec<_> = removed.into_iter().map(shown_removal).collect();
            Ok(PruneReport {
                images_deleted: if images_deleted.is_empty() { List::nil() } else { images_deleted.into() },
                space_reclaimed,
            })
        })
        .await
    }

    /// The same for an operation that waits for the network. A client that goes away ends it.
    fn with_async_progress<F: Future<Output = Result<(), knarr_image::Error>> + Send + 'static>(
        &self,
        operation: impl FnOnce(knarr_image::Images, SharedReport) -> F,
    ) -> Progress {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        let (messages, mut queue) = mpsc::channel::<Message>(QUEUE_DEPTH);
        let report: SharedReport = Arc::new(move |progress| {
            // A report that finds the queue full is one of many: the next one says more.
            let _ = messages.try_send(message(progress));
        });
        let job = operation(self.inner.images.clone(), report);
        let work = self.work();
        tokio::spawn(async move {
            let _work = work;
            let job = tokio::spawn(job);
            loop {
                tokio::select! {
                    message = queue.recv() => match message {
                        Some(message) => if sender.send(message).await.is_err() { return job.abort() },
                        None => break,
                    },
                    () = sender.closed() => return job.abort(),
                }
            }
            let failed = match job.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => failure(&error.into()),
                Err(join) => Message::error(join.to_string()),
            };
            let _ = sender.send(failed).await;
        });
        receiver
    }

    /// Runs a blocking operation that reports; its error becomes the last message.
    fn with_progress(
        &self,
        operation: impl FnOnce(&Arc<Inner>, &Sender) -> Result<()> + Send + 'static,
    ) -> Result<Progress> {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        let (inner, work) = (self.inner.clone(), self.work());
        let streams = self.inner.streams.clone();
        let job = move || {
            let _work = work;
            let sender = Sender(sender);
            if let Err(error) = operation(&inner, &sender) {
                sender.send(failure(&error));
            }
        };
        tokio::spawn(async move { streams.run(job).await });
        Ok(receiver)
    }
}

/// The last message of an operation that failed; its code is the status that the reply would have had.
fn failure(error: &Error) -> Message {
    let code = match error.kind() {
        ErrorKind::NotFound => 404,
        ErrorKind::InvalidArgument => 400,
        ErrorKind::Conflict => 409,
        ErrorKind::Unauthorized => 401,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotImplemented => 501,
        ErrorKind::Unavailable => 503,
        _ => 500,
    };
    let mut message = Message::error(error.to_string());
    if let Some(detail) = &mut message.error_detail {
        detail.code = code;
    }
    message
}

/// A name without a tag means all its tags.
fn parse_name(text: &str) -> Result<Reference> {
    Reference::parse_name(text).map_err(|e| Error::Image(e.into()))
}

fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|e| Error::Image(e.into()))
}

/// `repo:tag`; without a tag the default one.
pub(crate) fn joined(repo: &str, tag: &str) -> String {
    match tag {
        "" => repo.to_owned(),
        tag if tag.contains(':') => format!("{repo}@{tag}"),
        tag => format!("{repo}:{tag}"),
    }
}

fn users(engine: &Inner, image: &ImageId) -> Vec<ImageUse> {
    let containers = engine.containers.all();
    let using = containers.iter().filter(|s| s.container.image.as_ref() == Some(image));
    using.map(|s| ImageUse { container: s.id().clone(), running: s.is_live() }).collect()
}

fn shown_removal(removed: Removed) -> DeleteResponse {
    match removed {
        Removed::Untagged(name) => DeleteResponse { untagged: name, ..DeleteResponse::default() },
        Removed::Deleted(id) => DeleteResponse { deleted: id, ..DeleteResponse::default() },
    }
}

/// A pull that needs no registry: the image is in this program.
fn pull_builtin(
    engine: &Inner,
    sender: &Sender,
    builtin: crate::config::BuiltinImage,
    reference: &Reference,
) -> Result<()> {
    let familiar = reference.familiar();
    let (repo, tag) = familiar.rsplit_once(':').unwrap_or((&familiar, "latest"));
    sender.send(
        Message::status(format!(
            "Pulling from {}",
            if repo.contains('/') { repo.to_owned() } else { format!("library/{repo}") }
        ))
        .with_id(tag),
    );
    let known = engine.images.resolve(&familiar).is_ok();
    let archive = (builtin.archive)();
    engine.images.load(&mut archive.as_slice(), None, &|progress| {
        if !matches!(progress, knarr_image::Progress::Stream(_)) {
            sender.send(message(progress));
        }
    })?;
    let image = engine.images.resolve(&familiar)?;
    if let Some(manifest) = image.manifest() {
        sender.send(Message::status(format!("Digest: {}", manifest.digest)));
    }
    let what = if known { "Image is up to date for" } else { "Downloaded newer image for" };
    sender.send(Message::status(format!("Status: {what} {familiar}")));
    Ok(())
}

/// `linux/arm64/v8`, `arm64` or `linux`, as `create`, `pull` and `import` take it; what is not said is the host's.
pub fn parse_platform(text: &str) -> Result<PlatformAsked> {
    let platform = knarr_oci::platform::Platform::parse(text)
        .map_err(|error| Error::Invalid(format!("{error}: invalid argument")))?;
    // As Docker reads it: one that was named stays, though a normal platform leaves it out.
    let named =
        platform.architecture == "arm64" && platform.variant.is_empty() && text.split('/').count() == 3;
    let variant = if named { "v8".to_owned() } else { platform.variant };
    Ok(PlatformAsked {
        os: platform.os,
        architecture: platform.architecture,
        variant,
        ..PlatformAsked::default()
    })
}

fn platform_of(asked: PlatformAsked) -> knarr_oci::platform::Platform {
    knarr_oci::platform::Platform {
        os: asked.os,
        architecture: asked.architecture,
        variant: asked.variant,
        ..Default::default()
    }
}
