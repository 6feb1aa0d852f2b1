//! Volumes.
use crate::engine::Engine;
use crate::error::{Error, Result};
use knarr_docker_types::Filters;
use knarr_docker_types::volume::{CreateRequest, ListResponse, PruneReport, Volume};

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn volume_create(&self, _request: CreateRequest) -> Result<Volume> {
        pending("volume create")
    }
    pub async fn volume_list(&self, _filters: Filters) -> Result<ListResponse> {
        pending("volume list")
    }
    pub async fn volume_inspect(&self, _volume: &str) -> Result<Volume> {
        pending("volume inspect")
    }
    pub async fn volume_remove(&self, _volume: &str, _force: bool) -> Result<()> {
        pending("volume remove")
    }
    pub async fn volume_prune(&self, _filters: Filters) -> Result<PruneReport> {
        pending("volume prune")
    }
}
