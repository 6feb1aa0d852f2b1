//! What the engine decides about networks as a whole; the daemon's options.
use crate::scope::Scope;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A pool from which subnets for new networks are cut (`--default-address-pool base=...,size=...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    pub base: IpNet,
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
    /// `--bip6`
    pub bip6: Option<Ipv6Net>,
    /// `--fixed-cidr`: the part of the default bridge's subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--fixed-cidr-v6`: the same, and the subnet when there is no `--bip6`.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `--default-gateway`: of containers on the default bridge, if it is not the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--default-gateway-v6`
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// `--ipv6`: the default bridge has it.
    pub ipv6: bool,
    /// `--mtu`: of the default bridge's endpoints; 0: the kernel's default.
    pub mtu: u32,
    /// `--default-address-pool`; empty: Docker's pools (172.17.0.0/16 ... 172.31.0.0/16, 192.168.0.0/16 cut into /20).
    /// Without one for IPv6 there is a unique local one of the engine's own.
    pub default_address_pools: Vec<AddressPool>,
    /// `--default-network-opt`: options of networks that do not say otherwise, by driver.
    pub default_network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// `--icc`: containers on the default bridge reach each other.
    pub icc: bool,
    /// `--ip-forward`: turn on forwarding in the kernel.
    pub ip_forward: bool,
    /// `--ip-forward-no-drop`: a host whose forwarding the engine turned on forwards between its other interfaces too.
    pub ip_forward_no_drop: bool,
    /// `--ip-masq`: containers of the default bridge reach other networks under the host's address.
    pub ip_masq: bool,
    /// `--iptables`: manage the firewall. Off: nothing is published, isolated or masqueraded.
    pub firewall: bool,
    /// `--ip6tables`: the same for IPv6.
    pub firewall_v6: bool,
    /// `--allow-direct-routing`: published ports are reached by the containers' own addresses too.
    pub direct_routing: bool,
    /// `--ip`: host address of published ports that name none.
    pub host_ip: IpAddr,
    /// `--userland-proxy`: ports are published where the kernel cannot lead the way, too.
    pub relays: bool,
    /// `--publish-scope`: who reaches published ports that do not say.
    pub publish_scope: Scope,
    /// `--host-gateway-ip`: what `host-gateway` in `--add-host` means; empty: the default bridge's gateways.
    pub host_gateway_ips: Vec<IpAddr>,
    /// Containers of one bridge; further ones of the same network get further bridges.
    pub bridge_capacity: u16,
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
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            mtu: 0,
            default_address_pools: Vec::new(),
            default_network_options: BTreeMap::new(),
            icc: true,
            ip_forward: true,
            ip_forward_no_drop: false,
            ip_masq: true,
            firewall: true,
            firewall_v6: true,
            direct_routing: false,
            host_ip: Ipv4Addr::UNSPECIFIED.into(),
            relays: true,
            publish_scope: Scope::Any,
            host_gateway_ips: Vec::new(),
            bridge_capacity: crate::segment::CAPACITY,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
        }
    }
}

impl NetworkConfig {
    /// The pools in force, in the order in which they are tried.
    pub fn pools(&self) -> Vec<AddressPool> {
        let mut pools = match self.default_address_pools.as_slice() {
            [] => docker_pools(),
            given => given.to_vec(),
        };
        if !pools.iter().any(|p| p.base.addr().is_ipv6()) {
            pools.push(local_pool(&machine_id(), &self.engine_id));
        }
        pools
    }
}

/// Docker's default pools for IPv4.
fn docker_pools() -> Vec<AddressPool> {
    let wide = (17..=31).map(|n| AddressPool { base: subnet([172, n, 0, 0], 16), size: 16 });
    let narrow = AddressPool { base: subnet([192, 168, 0, 0], 16), size: 20 };
    wide.chain([narrow]).collect()
}

fn subnet(address: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address.into(), prefix))
}

fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

/// A /48 of unique local addresses ([RFC 4193](https://www.rfc-editor.org/rfc/rfc4193)): the same one at every start, another
/// one on every machine and for every engine.
fn local_pool(machine: &str, engine: &str) -> AddressPool {
    // FNV-1a: this is no secret, only unlikely to meet another.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = machine.bytes().chain([0]).chain(engine.bytes()).fold(0xcbf2_9ce4_8422_2325, mix);
    let global_id = u128::from(hash >> 24);
    let base = Ipv6Addr::from_bits(0xfd << 120 | global_id << 80);
    AddressPool { base: IpNet::V6(Ipv6Net::new_assert(base, 48)), size: 64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_stable_and_apart() {
        let one = local_pool("4f1d", "aa");
        assert_eq!(one, local_pool("4f1d", "aa"));
        assert_ne!(one, local_pool("4f1d", "ab"));
        assert_ne!(one, local_pool("4f1e", "aa"));
        let IpNet::V6(base) = one.base else { panic!("{one:?}") };
        assert!(base.addr().is_unique_local() && base.addr() == base.network(), "{base}");
    }

    #[test]
    fn pools_of_the_user_are_completed_for_ipv6() {
        let given = AddressPool { base: "10.8.0.0/16".parse().unwrap(), size: 24 };
        let config = NetworkConfig { default_address_pools: vec![given], ..NetworkConfig::default() };
        assert_eq!(config.pools().len(), 2);
        let six = AddressPool { base: "fd00:1::/48".parse().unwrap(), size: 64 };
        let config = NetworkConfig { default_address_pools: vec![given, six], ..NetworkConfig::default() };
        assert_eq!(config.pools(), [given, six]);
    }
}
