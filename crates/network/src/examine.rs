//! What of the host is in the way of networks; reads only, and needs no engine.
use crate::NetworkConfig;
use crate::firewall::Firewall;
use crate::network::overlaps;
use crate::networks::routes;
use knarr_netlink::Rtnetlink;

/// Most subnets of the pools that are looked at.
const MAX_SUBNETS: usize = 256;

/// Chains of other firewalls that drop forwarded packets, or why nftables cannot be asked.
pub type Drops = Result<Vec<String>, String>;
/// How many IPv4 subnets the pools have, and how many of them the host's routes leave free; none: the routes cannot be read.
pub type Pools = Option<(usize, usize)>;

pub fn examine(config: &NetworkConfig) -> (Drops, Pools) {
    let drops = Firewall::open(format!("knarr-{}", config.engine_id)).and_then(|mut f| f.foreign_drops(true));
    let taken = Rtnetlink::open().ok().and_then(|mut host| routes(&mut host, None).ok());
    let pools = taken.map(|taken| {
        let pools = config.pools();
        let subnets = pools.iter().filter(|pool| pool.base.addr().is_ipv4());
        let subnets = subnets.flat_map(|pool| pool.base.subnets(pool.size).into_iter().flatten());
        let subnets: Vec<_> = subnets.take(MAX_SUBNETS).collect();
        let free = subnets.iter().filter(|subnet| !taken.iter().any(|taken| overlaps(*taken, **subnet)));
        (subnets.len(), free.count())
    });
    (drops.map_err(|error| error.to_string()), pools)
}
