//! Images. Progress streams end when the work has ended; an error is their last message.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::progress::{Sender, message};
use crate::stream::{Body, ByteStream, STREAM_DEPTH};
use crate::view_image as view;
use knarr_docker_types::Filters;
use knarr_docker_types::image::{
    DeleteResponse, HistoryItem, InspectResponse, PruneReport, SearchResult, Summary,
};
use knarr_docker_types::jsonmessage::Message;
use knarr_docker_types::options::{ImageImport, ImageList, ImagePull, ImagePush, ImageRemove, ImageSearch};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

/// Progress messages of an operation.
pub type Progress = mpsc::Receiver<Message>;

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn image_list(&self, options: ImageList) -> Result<Vec<Summary>> {
        let inner = self.inner.clone();
        self.inner.pool.run(move || view::list(&inner, &options)).await?
    }

    pub async fn image_inspect(&self, image: &str, _manifests: bool) -> Result<InspectResponse> {
        let (inner, name) = (self.inner.clone(), image.to_owned());
        self.inner.pool.run(move || Ok(view::inspect(&inner.images.resolve(&name)?))).await?
    }

    pub async fn image_history(&self, _image: &str) -> Result<Vec<HistoryItem>> {
        pending("image history")
    }
    pub async fn image_tag(&self, _image: &str, _repo: &str, _tag: &str) -> Result<()> {
        pending("image tag")
    }
    pub async fn image_remove(&self, _image: &str, _options: ImageRemove) -> Result<Vec<DeleteResponse>> {
        pending("image remove")
    }
    pub async fn image_pull(&self, _options: ImagePull) -> Result<Progress> {
        pending("image pull")
    }
    pub async fn image_push(&self, _options: ImagePush) -> Result<Progress> {
        pending("image push")
    }

    pub async fn image_load(&self, archive: Body, quiet: bool) -> Result<Progress> {
        self.with_progress(move |engine, sender| {
            let mut reader = SyncIoBridge::new(archive);
            engine.images.load(&mut reader, None, &|progress| {
                if !quiet || matches!(progress, knarr_image::Progress::Stream(_)) {
                    sender.send(message(progress));
                }
            })?;
            Ok(())
        })
    }

    pub async fn image_save(&self, _images: Vec<String>) -> Result<ByteStream> {
        pending("image save")
    }
    pub async fn image_import(&self, _options: ImageImport, _archive: Body) -> Result<Progress> {
        pending("image import")
    }
    pub async fn image_prune(&self, _filters: Filters) -> Result<PruneReport> {
        pending("image prune")
    }
    pub async fn image_search(&self, _options: ImageSearch) -> Result<Vec<SearchResult>> {
        pending("image search")
    }

    /// Runs a blocking operation that reports; its error becomes the last message.
    fn with_progress(
        &self,
        operation: impl FnOnce(&Arc<Inner>, &Sender) -> Result<()> + Send + 'static,
    ) -> Result<Progress> {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        let (inner, work) = (self.inner.clone(), self.work());
        tokio::task::spawn_blocking(move || {
            let _work = work;
            let sender = Sender(sender);
            if let Err(error) = operation(&inner, &sender) {
                sender.send(Message::error(error.to_string()));
            }
        });
        Ok(receiver)
    }
}
