//! Networks.
use crate::engine::Engine;
use crate::error::{Error, Result};
use knarr_docker_types::Filters;
use knarr_docker_types::network::{
    ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Inspect, Network, PruneReport,
};

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn network_create(&self, _request: CreateRequest) -> Result<CreateResponse> {
        pending("network create")
    }
    pub async fn network_list(&self, _filters: Filters) -> Result<Vec<Network>> {
        pending("network list")
    }
    pub async fn network_inspect(&self, _network: &str) -> Result<Inspect> {
        pending("network inspect")
    }
    pub async fn network_remove(&self, _network: &str) -> Result<()> {
        pending("network remove")
    }
    pub async fn network_connect(&self, _network: &str, _request: ConnectRequest) -> Result<()> {
        pending("network connect")
    }
    pub async fn network_disconnect(&self, _network: &str, _request: DisconnectRequest) -> Result<()> {
        pending("network disconnect")
    }
    pub async fn network_prune(&self, _filters: Filters) -> Result<PruneReport> {
        pending("network prune")
    }
}
