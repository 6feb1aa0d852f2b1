//! Making a network: what is asked for.
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// `POST /networks/create`.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    pub name: String,
    /// Empty: `bridge`.
    pub driver: String,
    pub internal: bool,
    pub attachable: bool,
    pub ipv6: bool,
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
    pub subnet: Option<Ipv4Net>,
    pub ip_range: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}
