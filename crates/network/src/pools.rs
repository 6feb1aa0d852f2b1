//! Which subnet a network gets. Pure.
use crate::config::AddressPool;
use crate::create::AddressConfig;
use crate::error::{Error, Result};
use crate::network::{Subnet, overlaps};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first subnet of the pools that overlaps nothing in `taken` (other networks' subnets and the host's routes).
pub(crate) fn choose(pools: &[AddressPool], ipv4: bool, taken: &[IpNet]) -> Result<IpNet> {
    let pools = pools.iter().filter(|p| p.base.addr().is_ipv4() == ipv4);
    let free = |candidate: &IpNet| !taken.iter().any(|t| overlaps(*t, *candidate));
    pools.flat_map(|p| p.base.subnets(p.size).into_iter().flatten()).find(free).ok_or(Error::PoolsExhausted)
}

/// Everything about a subnet that the user gave, in order, each with its own text. Docker tells all of it at once.
pub(crate) fn complaints(config: &AddressConfig) -> Vec<String> {
    let mut all = Vec::new();
    let Some(subnet) = config.subnet else {
        if config.gateway.is_some() || config.ip_range.is_some() {
            all.push("invalid subnet : invalid CIDR block notation".to_owned());
        }
        return all;
    };
    if subnet.addr() != subnet.network() {
        all.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
    }
    if let Some(range) = config.ip_range {
        if range.addr() != range.network() {
            all.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
        }
        if range.prefix_len() < subnet.prefix_len() {
            all.push(format!(
                "invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"
            ));
        }
        if !subnet.contains(&range.addr()) {
            all.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
        }
    }
    let auxiliary =
        config.auxiliary.iter().map(|(name, address)| (format!("auxiliary address {name}"), *address));
    for (what, address) in config.gateway.map(|g| (format!("gateway {g}"), g)).into_iter().chain(auxiliary) {
        if !subnet.contains(&address) {
            all.push(format!("invalid {what}: parent subnet {subnet} doesn't contain this address"));
        }
    }
    all
}

/// Completes what the user gave and [`complaints`] let through. `networks` are the subnets of other networks, `routes` the
/// host's.
pub(crate) fn complete(
    config: &AddressConfig,
    ipv4: bool,
    pools: &[AddressPool],
    networks: &[IpNet],
    routes: &[IpNet],
) -> Result<Subnet> {
    let subnet = match config.subnet {
        Some(given) => given,
        None => choose(pools, ipv4, &[networks, routes].concat())?,
    };
    if subnet.prefix_len() > subnet.max_prefix_len() - 2 || subnet.prefix_len() == 0 {
        return Err(Error::InvalidNetwork(format!(
            "invalid subnet {subnet}: no room for a gateway and a container"
        )));
    }
    if config.subnet.is_some() && networks.iter().any(|n| overlaps(*n, subnet)) {
        return Err(Error::PoolOverlap);
    }
    // As Docker does: the first address that containers could get.
    let gateway = config.gateway.unwrap_or_else(|| match config.ip_range {
        Some(range) if range.network() != subnet.network() => range.network(),
        _ => first_host(subnet),
    });
    Ok(Subnet {
        subnet,
        ip_range: config.ip_range,
        gateway,
        auxiliary: config.auxiliary.clone(),
        chosen: config.subnet.is_some(),
        gateway_chosen: config.gateway.is_some(),
    })
}

pub(crate) fn first_host(subnet: IpNet) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().saturating_add(1)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().saturating_add(1)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkConfig;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn pools_are_tried_in_order_around_what_is_taken() {
        let pools = NetworkConfig::default().pools();
        assert_eq!(choose(&pools, true, &[]).unwrap().to_string(), "172.17.0.0/16");
        let taken = nets(&["172.17.0.0/16", "172.18.4.0/24", "172.16.0.0/14"]);
        assert_eq!(choose(&pools, true, &taken).unwrap().to_string(), "172.20.0.0/16");
        let taken = nets(&["172.16.0.0/12", "192.168.0.0/24"]);
        assert_eq!(choose(&pools, true, &taken).unwrap().to_string(), "192.168.16.0/20");
        assert!(matches!(choose(&pools, true, &nets(&["128.0.0.0/1"])), Err(Error::PoolsExhausted)));
    }

    #[test]
    fn ipv6_pools_are_apart() {
        let pools = NetworkConfig::default().pools();
        let first = choose(&pools, false, &[]).unwrap();
        assert_eq!(first.prefix_len(), 64);
        let second = choose(&pools, false, &[first]).unwrap();
        assert!(first != second && second.addr().is_ipv6(), "{first} {second}");
        assert_eq!(first_host("fd00::/64".parse().unwrap()).to_string(), "fd00::1");
    }

    #[test]
    fn what_the_user_gives_is_completed_and_checked() {
        let pools = NetworkConfig::default().pools();
        let given =
            |subnet: &str| AddressConfig { subnet: Some(subnet.parse().unwrap()), ..Default::default() };
        let complete = |config: &AddressConfig, networks: &[IpNet], routes: &[IpNet]| {
            complete(config, true, &pools, networks, routes)
        };
        let made = complete(&given("10.9.0.0/24"), &[], &[]).unwrap();
        assert_eq!((made.gateway.to_string(), made.ip_range), ("10.9.0.1".into(), None));
        let other = nets(&["10.0.0.0/8"]);
        assert!(matches!(complete(&given("10.9.0.0/24"), &other, &[]), Err(Error::PoolOverlap)));
        assert!(complete(&given("10.9.0.0/24"), &[], &other).is_ok(), "the user may shadow a route");
        let outside = AddressConfig { gateway: Some("10.8.0.1".parse().unwrap()), ..given("10.9.0.0/24") };
        insta::assert_snapshot!(complaints(&outside).join("\n"), @r"
        invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address
        ");
        let ranges = AddressConfig { ip_range: Some("10.9.0.3/8".parse().unwrap()), ..given("10.9.0.7/24") };
        insta::assert_snapshot!(complaints(&ranges).join("\n"), @r"
        invalid subnet 10.9.0.7/24: it should be 10.9.0.0/24
        invalid ip-range 10.9.0.3/8: it should be 10.0.0.0/8
        invalid ip-range 10.9.0.3/8: CIDR block is bigger than its parent subnet 10.9.0.7/24
        ");
        assert!(complete(&given("10.9.0.0/31"), &[], &[]).is_err());
    }
}
