//! Which subnet a network gets. Pure.
use crate::config::AddressPool;
use crate::create::AddressConfig;
use crate::error::{Error, Result};
use crate::network::{Subnet, overlaps};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The first subnet of the pools that overlaps nothing in `taken` (other networks' subnets and the host's routes).
pub(crate) fn choose(pools: &[AddressPool], taken: &[Ipv4Net]) -> Result<Ipv4Net> {
    let free = |candidate: &Ipv4Net| !taken.iter().any(|t| overlaps(*t, *candidate));
    pools.iter().flat_map(|p| p.subnets()).find(free).ok_or(Error::PoolsExhausted)
}

/// Completes and checks what the user gave. `networks` are the subnets of other networks, `routes` the host's.
pub(crate) fn complete(
    config: &AddressConfig,
    pools: &[AddressPool],
    networks: &[Ipv4Net],
    routes: &[Ipv4Net],
) -> Result<Subnet> {
    let subnet = match config.subnet {
        Some(given) if given.addr() != given.network() => {
            return Err(Error::InvalidNetwork(format!(
                "invalid subnet {given}: it should be {}",
                given.trunc()
            )));
        }
        Some(given) => given,
        None if config.gateway.is_some() || config.ip_range.is_some() => {
            return Err(Error::InvalidNetwork("invalid subnet : invalid CIDR block notation".into()));
        }
        None => choose(pools, &[networks, routes].concat())?,
    };
    if subnet.prefix_len() > 30 || subnet.prefix_len() == 0 {
        return Err(Error::InvalidNetwork(format!(
            "invalid subnet {subnet}: no room for a gateway and a container"
        )));
    }
    if config.subnet.is_some() && networks.iter().any(|n| overlaps(*n, subnet)) {
        return Err(Error::PoolOverlap);
    }
    let ip_range = config.ip_range;
    if let Some(range) = ip_range {
        if range.addr() != range.network() {
            return Err(Error::InvalidNetwork(format!(
                "invalid ip-range {range}: it should be {}",
                range.trunc()
            )));
        }
        if !subnet.contains(&range) {
            let text = format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range");
            return Err(Error::InvalidNetwork(text));
        }
    }
    // As Docker does: the first address that containers could get.
    let gateway = config.gateway.unwrap_or_else(|| match ip_range {
        Some(range) if range.network() != subnet.network() => range.network(),
        _ => first_host(subnet),
    });
    let auxiliary = config.auxiliary.values().map(|address| ("auxiliary address", *address));
    for (what, address) in [("gateway", gateway)].into_iter().chain(auxiliary) {
        if !subnet.contains(&address) {
            let text =
                format!("invalid {what} {address}: parent subnet {subnet} doesn't contain this address");
            return Err(Error::InvalidNetwork(text));
        }
    }
    Ok(Subnet { subnet, ip_range, gateway, auxiliary: config.auxiliary.clone() })
}

pub(crate) fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkConfig;

    fn nets(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn pools_are_tried_in_order_around_what_is_taken() {
        let pools = NetworkConfig::default().pools();
        assert_eq!(choose(&pools, &[]).unwrap().to_string(), "172.17.0.0/16");
        let taken = nets(&["172.17.0.0/16", "172.18.4.0/24", "172.16.0.0/14"]);
        assert_eq!(choose(&pools, &taken).unwrap().to_string(), "172.20.0.0/16");
        let taken = nets(&["172.16.0.0/12", "192.168.0.0/24"]);
        assert_eq!(choose(&pools, &taken).unwrap().to_string(), "192.168.16.0/20");
        assert!(matches!(choose(&pools, &nets(&["128.0.0.0/1"])), Err(Error::PoolsExhausted)));
    }

    #[test]
    fn what_the_user_gives_is_completed_and_checked() {
        let pools = NetworkConfig::default().pools();
        let given =
            |subnet: &str| AddressConfig { subnet: Some(subnet.parse().unwrap()), ..Default::default() };
        let made = complete(&given("10.9.0.0/24"), &pools, &[], &[]).unwrap();
        assert_eq!((made.gateway.to_string(), made.ip_range), ("10.9.0.1".into(), None));
        let other = nets(&["10.0.0.0/8"]);
        assert!(matches!(complete(&given("10.9.0.0/24"), &pools, &other, &[]), Err(Error::PoolOverlap)));
        assert!(complete(&given("10.9.0.0/24"), &pools, &[], &other).is_ok(), "the user may shadow a route");
        let outside = AddressConfig { gateway: Some("10.8.0.1".parse().unwrap()), ..given("10.9.0.0/24") };
        assert!(complete(&outside, &pools, &[], &[]).is_err());
        assert!(complete(&given("10.9.0.0/31"), &pools, &[], &[]).is_err());
    }
}
