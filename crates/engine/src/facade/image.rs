//! Images. Progress streams end when the work has ended; an error is their last message.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::stream::{Body, ByteStream};
use knarr_docker_types::Filters;
use knarr_docker_types::image::{
    DeleteResponse, HistoryItem, InspectResponse, PruneReport, SearchResult, Summary,
};
use knarr_docker_types::jsonmessage::Message;
use knarr_docker_types::options::{ImageImport, ImageList, ImagePull, ImagePush, ImageRemove, ImageSearch};
use tokio::sync::mpsc;

/// Progress messages of an operation.
pub type Progress = mpsc::Receiver<Message>;

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn image_list(&self, _options: ImageList) -> Result<Vec<Summary>> {
        pending("image list")
    }
    pub async fn image_inspect(&self, _image: &str, _manifests: bool) -> Result<InspectResponse> {
        pending("image inspect")
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
    pub async fn image_load(&self, _archive: Body, _quiet: bool) -> Result<Progress> {
        pending("image load")
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
}
