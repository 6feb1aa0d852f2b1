//! A network as `network inspect` shows it; also the row in the store.
use crate::config::AddressPool;
use crate::mac::MacAddr;
use ipnet::Ipv4Net;
use knarr_base::{ContainerId, NetworkId};
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Host,
    /// The `none` network: loopback only.
    Null,
}

impl Driver {
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }
}

/// One IPv4 subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet: Ipv4Net,
    /// Part of the subnet for containers without an address of their own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Ipv4Net>,
    pub gateway: Ipv4Addr,
    /// Addresses that containers never get (`--aux-address`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}

/// A network. `options` and `labels` are as the user gave them (and Docker's own for the default bridge).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    pub driver: Driver,
    /// Nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// `bridge`, `host` and `none`: cannot be made or removed.
    pub predefined: bool,
    pub internal: bool,
    pub attachable: bool,
    /// `EnableIPv6` as it was asked for; only IPv4 is served.
    #[serde(default)]
    pub ipv6: bool,
    /// `IPAM.Driver` is `default`; its options.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Empty for `host` and `none`.
    pub subnets: Vec<Subnet>,
    /// The user chose the subnet, and so may choose addresses in it.
    #[serde(default)]
    pub chosen_subnet: bool,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The bridge's name in the kernel; empty for `host` and `none`.
    #[serde(default)]
    pub bridge: String,
    /// Containers on it; not stored.
    #[serde(skip)]
    pub containers: BTreeMap<ContainerId, Attached>,
}

/// Docker's `EndpointResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub name: String,
    pub endpoint_id: String,
    pub mac: Option<MacAddr>,
    /// With the prefix length.
    pub ipv4: Option<Ipv4Net>,
}

impl Record for Network {
    const TABLE: &'static str = "networks";
}

/// Name of the default bridge network.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Bridge driver options.
pub mod option {
    pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
    pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
    pub const ICC: &str = "com.docker.network.bridge.enable_icc";
    pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    pub const MTU: &str = "com.docker.network.driver.mtu";
}

impl Network {
    /// Whether names of other containers resolve on it, as on all but the default bridge.
    pub fn is_user_defined(&self) -> bool {
        !self.predefined
    }

    pub fn icc(&self) -> bool {
        self.flag(option::ICC)
    }

    pub fn masquerade(&self) -> bool {
        self.flag(option::MASQUERADE) && !self.internal
    }

    pub fn mtu(&self) -> Option<u32> {
        self.options.get(option::MTU).and_then(|text| text.parse().ok()).filter(|mtu| *mtu > 0)
    }

    /// Host address of published ports that name none.
    pub fn host_binding(&self) -> Option<Ipv4Addr> {
        self.options.get(option::HOST_BINDING).and_then(|text| text.parse().ok())
    }

    /// An option that is on unless it says otherwise.
    fn flag(&self, name: &str) -> bool {
        self.options.get(name).and_then(|text| parse_flag(text)).unwrap_or(true)
    }
}

/// A boolean as Go's `strconv.ParseBool` takes it.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether two of the pools or subnets share an address.
pub(crate) fn overlaps(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

impl AddressPool {
    /// The subnets of the pool, lowest first.
    pub(crate) fn subnets(self) -> impl Iterator<Item = Ipv4Net> {
        self.base.subnets(self.size).into_iter().flatten()
    }
}
