//! The service: networks and endpoints of one engine.
use crate::config::NetworkConfig;
use crate::create::CreateNetwork;
use crate::endpoint::{Connected, Endpoint, EndpointRequest};
use crate::error::{Error, Result};
use crate::network::Network;
use knarr_base::{ContainerId, NetworkId};
use knarr_state::Store;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// All networks of an engine. Share it behind an `Arc`; every method takes `&self` and blocks.
pub struct Networks {
    _store: Store,
    config: NetworkConfig,
}

impl Networks {
    /// Reads the tables and makes rows for the predefined networks. Touches nothing in the kernel: call `restore` next.
    pub fn open(store: Store, config: NetworkConfig) -> Result<Self> {
        Ok(Self { _store: store, config })
    }

    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// At the engine's start: makes the kernel agree with the rows. Endpoints of containers that are not `alive` are
    /// released; bridges, the firewall and the port reservations of the others are put back; leftovers are swept.
    pub fn restore(&self, _alive: &[ContainerId]) -> Result<Vec<String>> {
        Err(pending())
    }

    /// Puts bridges and the firewall back if somebody removed them.
    pub fn heal(&self) -> Result<()> {
        Err(pending())
    }

    /// When the engine ends and nothing runs: takes bridges and the table out of the kernel. Rows stay.
    pub fn shutdown(&self) -> Result<()> {
        Err(pending())
    }

    /// Warnings for `info` and `create`: forwarding off, a foreign firewall that drops forwarded packets.
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    pub fn create(&self, _request: &CreateNetwork) -> Result<Network> {
        Err(pending())
    }

    /// By name, id or unambiguous prefix of the id. Refused for predefined networks and while endpoints are active.
    pub fn remove(&self, _network: &str) -> Result<Network> {
        Err(pending())
    }

    /// With the containers that are on it.
    pub fn inspect(&self, _network: &str) -> Result<Network> {
        Err(pending())
    }

    /// All networks, with their containers.
    pub fn list(&self) -> Result<Vec<Network>> {
        Err(pending())
    }

    /// Removes user-defined networks without endpoints that `wanted` accepts; gives their names.
    pub fn prune(&self, _wanted: &dyn Fn(&Network) -> bool) -> Result<Vec<String>> {
        Err(pending())
    }

    /// A new namespace with an endpoint on `request.network`. On `none` the namespace has loopback only.
    pub fn connect(&self, _request: &EndpointRequest) -> Result<Connected> {
        Err(pending())
    }

    /// One more endpoint in an existing namespace (`network connect`, further networks at start).
    pub fn connect_in(&self, _request: &EndpointRequest, _netns: BorrowedFd<'_>) -> Result<Endpoint> {
        Err(pending())
    }

    /// Takes a container off a network. Links, addresses and ports are gone on return.
    pub fn disconnect(&self, _container: &ContainerId, _network: &str) -> Result<Endpoint> {
        Err(pending())
    }

    /// The container ended: all its endpoints, addresses and ports are free again. Idempotent.
    pub fn release(&self, _container: &ContainerId) -> Result<()> {
        Err(pending())
    }

    /// The container got another name.
    pub fn rename(&self, _container: &ContainerId, _name: &str) -> Result<()> {
        Err(pending())
    }

    /// Endpoints of a running container.
    pub fn endpoints(&self, _container: &ContainerId) -> Result<Vec<Endpoint>> {
        Err(pending())
    }

    /// What a name, id or prefix of an id means.
    pub fn resolve(&self, _network: &str) -> Result<NetworkId> {
        Err(pending())
    }

    /// What `host-gateway` means.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        self.config.host_gateway_ip
    }
}

fn pending() -> Error {
    Error::Unsupported("networks are not available yet".into())
}
