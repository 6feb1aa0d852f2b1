//! Making a network: what is asked for.
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `POST /networks/create`.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    pub name: String,
    /// Empty: `bridge`.
    pub driver: String,
    pub internal: bool,
    pub attachable: bool,
    /// `None`: as the default options say, else on.
    pub ipv4: Option<bool>,
    /// `None`: as the default options say, else off.
    pub ipv6: Option<bool>,
    /// Only a configuration that other networks are made from.
    pub config_only: bool,
    /// Name of the network whose configuration it has; empty: its own.
    pub config_from: String,
    /// Empty or `default`.
    pub ipam_driver: String,
    pub ipam_options: BTreeMap<String, String>,
    pub subnets: Vec<AddressConfig>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// One of `IPAM.Config`. Nothing given: a subnet of the daemon's pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressConfig {
    pub subnet: Option<IpNet>,
    pub ip_range: Option<IpNet>,
    pub gateway: Option<IpAddr>,
    pub auxiliary: BTreeMap<String, IpAddr>,
}
