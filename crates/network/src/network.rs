//! A network as `network inspect` shows it; also the row in the store.
use crate::mac::MacAddr;
use crate::option::{self, GatewayMode, Options};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use knarr_base::{ContainerId, NetworkId};
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Host,
    /// The `none` network: loopback only.
    Null,
    /// Each container has an address of its own on the parent's wire.
    Macvlan,
    /// The same behind the parent's hardware address.
    Ipvlan,
}

impl Driver {
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Driver::Bridge, Driver::Host, Driver::Null, Driver::Macvlan, Driver::Ipvlan]
            .into_iter()
            .find(|d| d.as_str() == text)
    }

    /// Whether containers share the hardware of an interface of the host.
    pub fn has_parent(self) -> bool {
        matches!(self, Driver::Macvlan | Driver::Ipvlan)
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet: IpNet,
    /// Part of the subnet for containers without an address of their own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    pub gateway: IpAddr,
    /// Addresses that containers never get (`--aux-address`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// The user chose it, and so may choose addresses in it.
    #[serde(default)]
    pub chosen: bool,
    #[serde(default)]
    pub gateway_chosen: bool,
}

/// Names of auxiliary addresses that are containers' gateways, in place of the bridge's own address.
const OTHER_GATEWAYS: [&str; 2] = ["DefaultGatewayIPv4", "DefaultGatewayIPv6"];

impl Subnet {
    pub fn is_ipv4(&self) -> bool {
        self.subnet.addr().is_ipv4()
    }

    /// Where containers send what is not for the subnet.
    pub fn default_gateway(&self) -> IpAddr {
        let name = OTHER_GATEWAYS[usize::from(!self.is_ipv4())];
        self.auxiliary.get(name).copied().unwrap_or(self.gateway)
    }

    pub(crate) fn set_default_gateway(&mut self, gateway: Option<IpAddr>) {
        let name = OTHER_GATEWAYS[usize::from(!self.is_ipv4())];
        self.auxiliary.remove(name);
        self.auxiliary.extend(gateway.map(|ip| (name.to_owned(), ip)));
    }
}

fn yes() -> bool {
    true
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
    #[serde(default = "yes")]
    pub ipv4: bool,
    #[serde(default)]
    pub ipv6: bool,
    /// Nothing but a configuration for other networks.
    #[serde(default)]
    pub config_only: bool,
    /// Whose configuration it has; empty: its own.
    #[serde(default)]
    pub config_from: String,
    /// `IPAM.Driver` is `default`; its options.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Empty for `host` and `none`. One of a family that is off is kept, but not used.
    pub subnets: Vec<Subnet>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The bridge's name in the kernel; empty for other drivers.
    #[serde(default)]
    pub bridge: String,
    /// Interface of the host that containers share; empty for other drivers.
    #[serde(default)]
    pub parent: String,
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
    pub ipv6: Option<Ipv6Net>,
}

impl Record for Network {
    const TABLE: &'static str = "networks";
}

/// Name of the default bridge network.
pub const DEFAULT_NETWORK: &str = "bridge";

impl Network {
    pub fn options(&self) -> Options<'_> {
        Options(&self.options)
    }

    /// Whether names of other containers resolve on it, as on all but the default bridge.
    pub fn is_user_defined(&self) -> bool {
        !self.predefined
    }

    pub fn icc(&self) -> bool {
        self.options().flag(option::ICC, true)
    }

    pub fn masquerade(&self, ipv4: bool) -> bool {
        self.options().flag(option::MASQUERADE, true) && !self.internal && self.mode(ipv4).is_translated()
    }

    pub fn mode(&self, ipv4: bool) -> GatewayMode {
        self.options().gateway_mode(ipv4)
    }

    pub fn mtu(&self) -> Option<u32> {
        self.options().mtu()
    }

    /// The subnet of a family that is on.
    pub fn subnet(&self, ipv4: bool) -> Option<&Subnet> {
        let on = if ipv4 { self.ipv4 } else { self.ipv6 };
        self.subnets.iter().find(|s| on && s.is_ipv4() == ipv4)
    }

    pub fn used_subnets(&self) -> impl Iterator<Item = &Subnet> {
        [true, false].into_iter().filter_map(|ipv4| self.subnet(ipv4))
    }

    /// Whether containers have a default route through it.
    pub fn has_gateway(&self, ipv4: bool) -> bool {
        let isolated = self.driver == Driver::Bridge && self.mode(ipv4) == GatewayMode::Isolated;
        self.subnet(ipv4).is_some() && !self.internal && !isolated
    }

    /// The network behind the interface is the gateway: there is no machine that is one.
    pub fn routes_by_device(&self) -> bool {
        self.driver == Driver::Ipvlan
            && self.options().text(option::IPVLAN_MODE).is_some_and(|mode| mode.starts_with("l3"))
    }
}

/// Whether two of the pools or subnets share an address.
pub(crate) fn overlaps(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
