//! What the engine decides about networks as a whole; the daemon's options.
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// A pool from which subnets for new networks are cut (`--default-address-pool base=...,size=...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    pub base: Ipv4Net,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Options of the daemon. `Default` is Docker's defaults.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Short text of lower-case letters and digits that tells this engine from others on the machine.
    pub engine_id: String,
    /// `--bridge`: name of the default bridge; `Some("none")` turns the default network off.
    /// `None`: `knarr0`, or a name of this engine's own when another engine has that one.
    pub bridge: Option<String>,
    /// `--bip`: address and prefix of the default bridge.
    pub bip: Option<Ipv4Net>,
    /// `--fixed-cidr`: the part of the default bridge's subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--mtu`: of the default bridge's endpoints; 0: the kernel's default.
    pub mtu: u32,
    /// `--default-address-pool`; empty: Docker's pools (172.17.0.0/16 ... 172.31.0.0/16, 192.168.0.0/16 cut into /20).
    pub default_address_pools: Vec<AddressPool>,
    /// `--icc`: containers on the default bridge reach each other.
    pub icc: bool,
    /// `--ip-forward`: turn on forwarding in the kernel.
    pub ip_forward: bool,
    /// `--ip-masq`: containers of the default bridge reach other networks under the host's address.
    pub ip_masq: bool,
    /// `--iptables`: manage the firewall. Off: nothing is published, isolated or masqueraded.
    pub firewall: bool,
    /// `--ip`: host address of published ports that name none.
    pub host_ip: Ipv4Addr,
    /// `--host-gateway-ip`: what `host-gateway` in `--add-host` means; empty: the default bridge's gateways.
    pub host_gateway_ips: Vec<IpAddr>,
    /// `--dns`
    pub dns: Vec<IpAddr>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-opt`
    pub dns_options: Vec<String>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            engine_id: "default".to_owned(),
            bridge: None,
            bip: None,
            fixed_cidr: None,
            mtu: 0,
            default_address_pools: Vec::new(),
            icc: true,
            ip_forward: true,
            ip_masq: true,
            firewall: true,
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_gateway_ips: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
        }
    }
}

impl NetworkConfig {
    /// The pools in force.
    pub fn pools(&self) -> Vec<AddressPool> {
        if self.default_address_pools.is_empty() {
            docker_pools()
        } else {
            self.default_address_pools.clone()
        }
    }
}

/// Docker's default pools, in the order in which they are tried.
fn docker_pools() -> Vec<AddressPool> {
    let wide = (17..=31).map(|n| AddressPool { base: subnet([172, n, 0, 0], 16), size: 16 });
    let narrow = AddressPool { base: subnet([192, 168, 0, 0], 16), size: 20 };
    wide.chain([narrow]).collect()
}

fn subnet(address: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address.into(), prefix)
}
