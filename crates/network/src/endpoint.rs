//! An endpoint: one container on one network; also the row in the store.
use crate::mac::MacAddr;
use crate::port::{ExposedPort, PortBinding, PublishedPort};
use knarr_base::{ContainerId, NetworkId};
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// What is asked for when a container joins a network.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    pub container: ContainerId,
    /// Without the leading slash.
    pub container_name: String,
    /// Name, id or unambiguous prefix of the id.
    pub network: String,
    pub aliases: Vec<String>,
    /// `--link`: other containers of the network under names that this one alone uses.
    pub links: Vec<Link>,
    /// Further names of the container on the network: its host name.
    pub hostname: Option<String>,
    pub mac: Option<MacAddr>,
    pub ipv4: Option<Ipv4Addr>,
    /// Published on this endpoint. Give them to the endpoint that has the default gateway only.
    pub ports: Vec<PortBinding>,
    pub exposed: Vec<ExposedPort>,
    /// `-P`: every exposed port without a binding gets a free host port.
    pub publish_all: bool,
    /// Whether the container's default route goes here, unless it has one already.
    pub default_route: bool,
}

impl EndpointRequest {
    pub fn new(
        container: ContainerId,
        container_name: impl Into<String>,
        network: impl Into<String>,
    ) -> Self {
        Self {
            container,
            container_name: container_name.into(),
            network: network.into(),
            aliases: Vec::new(),
            links: Vec::new(),
            hostname: None,
            mac: None,
            ipv4: None,
            ports: Vec::new(),
            exposed: Vec::new(),
            publish_all: false,
            default_route: true,
        }
    }
}

/// Another container's name, and the one that the endpoint's container has for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    pub alias: String,
}

/// An endpoint in force. The addresses are absent on `host` and `none`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub id: String,
    pub container: ContainerId,
    pub container_name: String,
    pub network: NetworkId,
    pub network_name: String,
    /// Name inside the container (`eth0`).
    pub interface: String,
    /// Name of the veth's other end on the host.
    pub host_interface: String,
    pub ipv4: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub mac: Option<MacAddr>,
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Names under which others on the network find it: container name, aliases, short id, host name.
    pub dns_names: Vec<String>,
    pub ports: Vec<PublishedPort>,
}

impl Record for Endpoint {
    const TABLE: &'static str = "endpoints";
}

impl Endpoint {
    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.map(IpAddr::V4).into_iter()
    }

    /// Key of the row. Rows of one container are neighbours.
    pub(crate) fn key(&self) -> String {
        Self::key_of(&self.container, &self.network)
    }

    pub(crate) fn key_of(container: &ContainerId, network: &NetworkId) -> String {
        format!("{container}/{network}")
    }
}

/// A new network namespace with its first endpoint.
#[derive(Debug)]
pub struct Connected {
    pub netns: OwnedFd,
    pub endpoint: Endpoint,
}
