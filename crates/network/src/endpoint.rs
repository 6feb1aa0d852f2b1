//! An endpoint: one container on one network; also the row in the store.
use crate::mac::MacAddr;
use crate::port::{ExposedPort, PortBinding, Protocol, PublishedPort};
use crate::scope::Scope;
use knarr_base::{ContainerId, NetworkId};
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// Ports that a container wants published, on whichever endpoint has its default gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    pub bindings: Vec<PortBinding>,
    pub exposed: Vec<ExposedPort>,
    /// `-P`: every exposed port without a binding gets a free host port.
    pub publish_all: bool,
    /// Of bindings that do not say; `None`: what the network or the daemon says.
    pub scope: Option<Scope>,
}

impl From<Vec<PortBinding>> for Ports {
    fn from(bindings: Vec<PortBinding>) -> Self {
        Self { bindings, ..Self::default() }
    }
}

/// What is asked for when a container joins a network.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    pub container: ContainerId,
    /// Without the leading slash.
    pub container_name: String,
    /// Name, id or unambiguous prefix of the id.
    pub network: String,
    pub aliases: Vec<String>,
    /// Other containers, as they were named, and the name under which this one knows them.
    pub links: Vec<Link>,
    /// Further names of the container on the network: its host name.
    pub hostname: Option<String>,
    pub mac: Option<MacAddr>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// `--link-local-ip`: further addresses of the interface.
    pub link_local: Vec<IpAddr>,
    /// The endpoint with the highest one has the default gateway.
    pub gw_priority: i64,
    /// `--driver-opt` of the endpoint.
    pub options: BTreeMap<String, String>,
    /// What it reaches of others on a network whose containers do not talk.
    pub reaches: Vec<Reach>,
    pub ports: Ports,
    /// Whether the container's default routes go here. See `Networks::elect`.
    pub default4: bool,
    pub default6: bool,
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
            ipv6: None,
            link_local: Vec::new(),
            gw_priority: 0,
            options: BTreeMap::new(),
            reaches: Vec::new(),
            ports: Ports::default(),
            default4: true,
            default6: true,
        }
    }
}

/// `--link container:alias`: the container as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    pub alias: String,
}

impl Link {
    /// `container`, `container:alias`, and `/container:/own/alias` as it is stored by older clients.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, alias) = text.split_once(':').unwrap_or((text, text));
        let name = name.trim_start_matches('/');
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        let valid = !name.is_empty() && !alias.is_empty() && !alias.contains(':');
        valid.then(|| Self { name: name.to_owned(), alias: alias.to_owned() })
    }
}

/// A port of another container on the same network, open to this one (`--link` where `icc` is off).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub container: ContainerId,
    pub protocol: Protocol,
    pub port: u16,
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
    /// Name of the veth's other end on the host; empty where there is none.
    pub host_interface: String,
    /// Which of the network's bridges that end is a port of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub segment: u16,
    pub ipv4: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    #[serde(default)]
    pub prefix6: u8,
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    pub mac: Option<MacAddr>,
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<Reach>,
    /// Names under which others on the network find it: container name, aliases, short id, host name.
    pub dns_names: Vec<String>,
    pub ports: Vec<PublishedPort>,
    #[serde(default)]
    pub gw_priority: i64,
    /// The container's default routes go here.
    #[serde(default)]
    pub default4: bool,
    #[serde(default)]
    pub default6: bool,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

impl Record for Endpoint {
    const TABLE: &'static str = "endpoints";
}

impl Endpoint {
    /// Key of the row. Rows of one container are neighbours.
    pub(crate) fn key(&self) -> String {
        Self::key_of(&self.container, &self.network)
    }

    pub(crate) fn key_of(container: &ContainerId, network: &NetworkId) -> String {
        format!("{container}/{network}")
    }

    /// IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }

    pub(crate) fn is_default(&self, ipv4: bool) -> bool {
        if ipv4 { self.default4 } else { self.default6 }
    }

    pub(crate) fn default_gateway(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.gateway.map(IpAddr::V4) } else { self.gateway6.map(IpAddr::V6) }
    }

    pub(crate) fn address(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.ipv4.map(IpAddr::V4) } else { self.ipv6.map(IpAddr::V6) }
    }
}

/// A new network namespace with its first endpoint.
#[derive(Debug)]
pub struct Connected {
    pub netns: OwnedFd,
    pub endpoint: Endpoint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_as_docker_writes_them() {
        let link = |text: &str| Link::parse(text).map(|l| format!("{} {}", l.name, l.alias));
        assert_eq!(link("db").as_deref(), Some("db db"));
        assert_eq!(link("db:mysql").as_deref(), Some("db mysql"));
        assert_eq!(link("/db:/web/mysql").as_deref(), Some("db mysql"));
        assert_eq!(link("db:"), None);
        assert_eq!(link("a:b:c"), None);
        assert_eq!(link(""), None);
    }
}
