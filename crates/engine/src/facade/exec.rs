//! Commands executed in running containers.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::stream::AttachSession;
use knarr_docker_types::exec::{CreateRequest, InspectResponse, StartRequest};
use knarr_docker_types::id_response::IdResponse;

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn exec_create(&self, _container: &str, _request: CreateRequest) -> Result<IdResponse> {
        pending("exec create")
    }
    /// Starts the command. `None` when it is detached.
    pub async fn exec_start(&self, _exec: &str, _request: StartRequest) -> Result<Option<AttachSession>> {
        pending("exec start")
    }
    pub async fn exec_inspect(&self, _exec: &str) -> Result<InspectResponse> {
        pending("exec inspect")
    }
    pub async fn exec_resize(&self, _exec: &str, _rows: u16, _cols: u16) -> Result<()> {
        pending("exec resize")
    }
}
