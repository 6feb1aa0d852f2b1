//! Containers.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::stream::{AttachSession, Body, ByteStream, Wait};
use knarr_docker_types::Filters;
use knarr_docker_types::container::{
    CreateRequest, CreateResponse, FilesystemChange, InspectResponse, PathStat, PruneReport, StatsResponse,
    Summary, TopResponse, UpdateRequest, UpdateResponse,
};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::id_response::IdResponse;
use knarr_docker_types::options::{
    ArchivePut, Commit, ContainerAttach, ContainerCreate, ContainerList, ContainerLogs, ContainerRemove,
    ContainerStats, ContainerStop, WaitCondition,
};
use tokio::sync::mpsc;

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

/// Output of `logs`: raw bytes of a terminal, or Docker's frames.
pub struct LogStream {
    pub multiplexed: bool,
    pub bytes: ByteStream,
}

impl Engine {
    /// `ps_args` as the client wrote them; empty: `-ef`.
    pub async fn container_top(&self, _container: &str, _ps_args: &str) -> Result<TopResponse> {
        pending("container top")
    }
    pub async fn container_stats(
        &self,
        _container: &str,
        _options: ContainerStats,
    ) -> Result<mpsc::Receiver<Result<StatsResponse>>> {
        pending("container stats")
    }
    pub async fn container_update(
        &self,
        _container: &str,
        _request: UpdateRequest,
    ) -> Result<UpdateResponse> {
        pending("container update")
    }
    pub async fn container_changes(&self, _container: &str) -> Result<Vec<FilesystemChange>> {
        pending("container changes")
    }
    pub async fn container_export(&self, _container: &str) -> Result<ByteStream> {
        pending("container export")
    }
    pub async fn container_archive_head(&self, _container: &str, _path: &str) -> Result<PathStat> {
        pending("container archive")
    }
    pub async fn container_archive_get(
        &self,
        _container: &str,
        _path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        pending("container archive")
    }
    pub async fn container_archive_put(
        &self,
        _container: &str,
        _options: ArchivePut,
        _body: Body,
    ) -> Result<()> {
        pending("container archive")
    }
    /// `config`: the request's body, when there was one.
    pub async fn container_commit(&self, _options: Commit, _config: Option<Config>) -> Result<IdResponse> {
        pending("container commit")
    }
    pub async fn container_prune(&self, _filters: Filters) -> Result<PruneReport> {
        pending("container prune")
    }
}
