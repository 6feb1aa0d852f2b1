//! What is in memory: the rows, and what follows from them.
use crate::config::NetworkConfig;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::forwarding::{self, TurnedOn};
use crate::ipam::{Allocator, Usage};
use crate::kernel::is_ours;
use crate::network::{Attached, DEFAULT_NETWORK, Driver, Network, Subnet};
use crate::networks::tracked::Tracked;
use crate::option;
use crate::pools;
use crate::publish::{Reservation, Taken};
use crate::segment::{self, Seats};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use knarr_base::{ContainerId, NetworkId};
use knarr_netlink::Rtnetlink;
use knarr_state::Store;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

const DEFAULT_BRIDGE: &str = "knarr0";
const DEFAULT_MTU: u32 = 1500;
/// Digits of an engine's id in the name of its bridge: names of interfaces have at most 15 bytes.
const ENGINE_DIGITS: usize = 9;

#[derive(Default)]
pub(super) struct State {
    pub networks: Tracked<NetworkId, Network>,
    /// By `Endpoint::key`.
    pub endpoints: Tracked<String, Endpoint>,
    /// Of the families that are on.
    pub allocators: BTreeMap<NetworkId, Vec<Allocator>>,
    /// By `Endpoint::key`.
    reservations: BTreeMap<String, Reservation>,
    /// Their ports.
    pub taken: Taken,
    /// Indexes of the bridges that are in order, by network and segment.
    pub bridges: BTreeMap<(NetworkId, u16), u32>,
    pub seats: BTreeMap<NetworkId, Seats>,
    /// Containers for which the kernel's tables of neighbours have room.
    pub neighbours: usize,
    pub forwarding: TurnedOn,
}

impl State {
    pub fn load(store: &Store, config: &NetworkConfig, host: &mut Rtnetlink) -> Result<Self> {
        let mut state = Self::default();
        // By a writing transaction: it sees what was written behind.
        store.write::<_, Error>(|tx| {
            *state.networks = tx.list::<Network>()?.into_iter().map(|(_, n)| (n.id.clone(), n)).collect();
            *state.endpoints = tx.list::<Endpoint>()?.into_iter().collect();
            state.forwarding = TurnedOn::current(tx.get::<TurnedOn>(forwarding::KEY)?);
            Ok(())
        })?;
        let changed = state.predefine(config, host)?;
        if !changed.is_empty() {
            store.write::<_, Error>(|tx| {
                for network in &changed {
                    tx.put(network.id.as_str(), network)?;
                }
                Ok(())
            })?;
        }
        let ids: Vec<NetworkId> = state.networks.keys().cloned().collect();
        ids.iter().for_each(|id| state.make_allocator(id));
        Ok(state)
    }

    pub fn make_allocator(&mut self, id: &NetworkId) {
        let Some(network) = self.networks.get(id).filter(|n| !n.config_only) else { return };
        let mut allocators: Vec<Allocator> = network.used_subnets().map(Allocator::new).collect();
        for endpoint in self.endpoints.values().filter(|e| e.network == *id) {
            for address in endpoint.addresses() {
                let home = allocators.iter_mut().find(|a| a.is_ipv4() == address.is_ipv4());
                home.into_iter().for_each(|a| a.restore(address));
            }
        }
        self.allocators.insert(id.clone(), allocators);
        let mut seats = Seats::default();
        let veths = self.endpoints.values().filter(|e| e.network == *id && !e.host_interface.is_empty());
        veths.for_each(|e| seats.put(e.segment));
        self.seats.insert(id.clone(), seats);
    }

    /// Further bridges of a network that are in order.
    pub fn segments(&self, id: &NetworkId) -> impl Iterator<Item = u16> {
        let all = self.bridges.range((id.clone(), 1)..=(id.clone(), u16::MAX));
        all.map(|((_, segment), _)| *segment)
    }

    pub fn segment_names(&self, id: &NetworkId) -> Vec<String> {
        self.segments(id).map(|segment| segment::Names::new(id, segment).bridge).collect()
    }

    /// Whether a sender may use published ports: not from a closed network, which leads nowhere.
    pub fn is_welcome(&self, sender: IpAddr) -> bool {
        let mut closed = self.networks.values().filter(|n| n.internal && n.driver == Driver::Bridge);
        !closed.any(|n| n.used_subnets().any(|s| s.subnet.contains(&sender)))
    }

    pub fn has_reservation(&self, key: &str) -> bool {
        self.reservations.contains_key(key)
    }

    pub fn hold(&mut self, key: String, reservation: Reservation) {
        self.taken.add(&reservation.ports);
        self.reservations.insert(key, reservation);
    }

    /// The ports are free when what this gives is dropped.
    #[must_use]
    pub fn let_go(&mut self, key: &str) -> Option<Reservation> {
        let reservation = self.reservations.remove(key)?;
        self.taken.remove(&reservation.ports);
        Some(reservation)
    }

    pub fn allocator(&mut self, id: &NetworkId, ipv4: bool) -> Option<&mut Allocator> {
        self.allocators.get_mut(id)?.iter_mut().find(|a| a.is_ipv4() == ipv4)
    }

    pub fn release(&mut self, id: &NetworkId, address: IpAddr) {
        if let Some(allocator) = self.allocator(id, address.is_ipv4()) {
            allocator.release(address);
        }
    }

    pub fn usage(&self, id: &NetworkId) -> Vec<Usage> {
        self.allocators.get(id).into_iter().flatten().map(Allocator::usage).collect()
    }

    /// The networks `bridge`, `host` and `none`: made when missing, and `bridge` as the options of today say.
    fn predefine(&mut self, config: &NetworkConfig, host: &mut Rtnetlink) -> Result<Vec<Network>> {
        let mut changed = Vec::new();
        for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
            if self.by_name(name).is_none() {
                changed.push(blank(name, driver)?);
            }
        }
        let existing = self.by_name(DEFAULT_NETWORK).cloned();
        if config.bridge.as_deref() == Some("none") {
            // A default network of former times has no use; its row goes when nothing is on it any more.
        } else {
            let network = match &existing {
                Some(network) => network.clone(),
                None => blank(DEFAULT_NETWORK, Driver::Bridge)?,
            };
            let network = self.default_bridge(network, config, host)?;
            if existing.as_ref() != Some(&network) {
                changed.push(network);
            }
        }
        for network in &changed {
            self.networks.insert(network.id.clone(), network.clone());
        }
        Ok(changed)
    }

    fn default_bridge(
        &self,
        mut network: Network,
        config: &NetworkConfig,
        host: &mut Rtnetlink,
    ) -> Result<Network> {
        let links = host.links()?;
        let usable =
            |name: &str| links.iter().find(|l| l.name == name).is_none_or(|l| is_ours(l, &network.id));
        let name = match &config.bridge {
            Some(name) => name.clone(),
            None if !network.bridge.is_empty() && usable(&network.bridge) => network.bridge.clone(),
            None if usable(DEFAULT_BRIDGE) => DEFAULT_BRIDGE.to_owned(),
            None => format!("knarr-{}", config.engine_id.get(..ENGINE_DIGITS).unwrap_or(&config.engine_id)),
        };
        if name.is_empty() || name.len() > 15 {
            return Err(Error::Invalid(format!("invalid bridge name {name:?}: 1 to 15 bytes")));
        }
        let index = links.iter().find(|l| l.name == name).map(|l| l.index);
        // A bridge that the user made brings its own addresses.
        let brought = |host: &mut Rtnetlink, ipv4: bool| -> Result<Option<IpNet>> {
            if config.bridge.is_none() {
                return Ok(None);
            }
            let mut all = host.addresses()?.into_iter();
            let found = all.find(|a| Some(a.link) == index && a.net.addr().is_ipv4() == ipv4 && a.global);
            Ok(found.map(|a| a.net))
        };
        let own4 = config.bip.map(IpNet::V4);
        let own4 = own4.map_or_else(|| brought(host, true), |bip| Ok(Some(bip)))?;
        let four = self.default_subnet(&network, config, host, true, own4)?;
        if config.fixed_cidr.is_some_and(|r| !four.subnet.contains(&IpNet::V4(r))) {
            return Err(Error::Invalid("fixed-cidr is not in the default bridge's subnet".into()));
        }
        let mut four = Subnet { ip_range: config.fixed_cidr.map(IpNet::V4), ..four };
        four.set_default_gateway(config.default_gateway.map(IpAddr::V4));
        let mut subnets = vec![four];
        if config.ipv6 {
            let own6 = config.bip6.map(IpNet::V6);
            let own6 = own6.map_or_else(|| brought(host, false), |bip| Ok(Some(bip)))?;
            let fixed = config.fixed_cidr_v6.map(IpNet::V6);
            let own6 = own6.or_else(|| IpNet::new(pools::first_host(fixed?), fixed?.prefix_len()).ok());
            let six = self.default_subnet(&network, config, host, false, own6)?;
            if fixed.is_some_and(|r| !six.subnet.contains(&r)) {
                return Err(Error::Invalid("fixed-cidr-v6 is not in the default bridge's subnet".into()));
            }
            let mut six = Subnet { ip_range: fixed.filter(|r| *r != six.subnet), ..six };
            six.set_default_gateway(config.default_gateway_v6.map(IpAddr::V6));
            subnets.push(six);
        }
        for subnet in &subnets {
            if !subnet.subnet.contains(&subnet.default_gateway()) {
                let (gateway, subnet) = (subnet.default_gateway(), subnet.subnet);
                return Err(Error::Invalid(format!(
                    "default gateway {gateway} is not in the default bridge's subnet {subnet}"
                )));
            }
        }
        (network.subnets, network.ipv6) = (subnets, config.ipv6);
        let mtu = if config.mtu == 0 { DEFAULT_MTU } else { config.mtu };
        for (key, value) in [
            (option::DEFAULT_BRIDGE, "true".to_owned()),
            (option::ICC, config.icc.to_string()),
            (option::MASQUERADE, config.ip_masq.to_string()),
            (option::HOST_BINDING, config.host_ip.to_string()),
            (option::BRIDGE_NAME, name.clone()),
            (option::MTU, mtu.to_string()),
        ] {
            network.options.insert(key.to_owned(), value);
        }
        network.bridge = name;
        Ok(network)
    }

    /// What the options say (`own`: the bridge's address), else what the network has, else one of the pools.
    fn default_subnet(
        &self,
        network: &Network,
        config: &NetworkConfig,
        host: &mut Rtnetlink,
        ipv4: bool,
        own: Option<IpNet>,
    ) -> Result<Subnet> {
        let made = |subnet: IpNet, gateway| Subnet {
            subnet,
            ip_range: None,
            gateway,
            auxiliary: BTreeMap::new(),
            chosen: false,
            gateway_chosen: false,
        };
        if let Some(own) = own {
            return Ok(made(own.trunc(), own.addr()));
        }
        if let Some(known) = network.subnets.iter().find(|s| s.is_ipv4() == ipv4) {
            return Ok(known.clone());
        }
        let taken = [self.subnets(None), routes(host, None)?].concat();
        let subnet = pools::choose(&config.pools(), ipv4, &taken)?;
        Ok(made(subnet, pools::first_host(subnet)))
    }

    /// Subnets of all networks but one.
    pub fn subnets(&self, but: Option<&NetworkId>) -> Vec<IpNet> {
        let others = self.networks.values().filter(|n| Some(&n.id) != but && !n.config_only);
        others.flat_map(|n| &n.subnets).map(|s| s.subnet).collect()
    }

    pub fn by_name(&self, name: &str) -> Option<&Network> {
        self.networks.values().find(|n| n.name == name)
    }

    pub fn resolve(&self, text: &str) -> Result<NetworkId> {
        // `default` is what a container without a choice has.
        let text = if text == "default" || text.is_empty() { DEFAULT_NETWORK } else { text };
        let exact = self.networks.values().find(|n| n.id.as_str() == text).or_else(|| self.by_name(text));
        if let Some(network) = exact {
            return Ok(network.id.clone());
        }
        let matches: Vec<&NetworkId> =
            self.networks.keys().filter(|id| id.as_str().starts_with(text)).collect();
        match matches.as_slice() {
            [] => Err(Error::NotFound(text.to_owned())),
            [id] => Ok((*id).clone()),
            many => Err(Error::Ambiguous(text.to_owned(), many.len())),
        }
    }

    pub fn network(&self, id: &NetworkId) -> Result<&Network> {
        self.networks.get(id).ok_or_else(|| Error::NotFound(id.to_string()))
    }

    /// With its containers. Looks at every endpoint: for what shows them, not for what happens at every start.
    pub fn described(&self, id: &NetworkId) -> Result<Network> {
        let mut network = self.network(id)?.clone();
        let on_it = self.endpoints.values().filter(|e| e.network == *id);
        network.containers = on_it.map(|e| (e.container.clone(), attached(e))).collect();
        Ok(network)
    }

    /// All of them, each with its containers: one look at every endpoint.
    pub fn all_described(&self) -> Vec<Network> {
        let mut networks: BTreeMap<&NetworkId, Network> =
            self.networks.iter().map(|(id, network)| (id, network.clone())).collect();
        for endpoint in self.endpoints.values() {
            if let Some(network) = networks.get_mut(&endpoint.network) {
                network.containers.insert(endpoint.container.clone(), attached(endpoint));
            }
        }
        networks.into_values().collect()
    }

    pub fn of_container<'a>(&'a self, container: &'a ContainerId) -> impl Iterator<Item = &'a Endpoint> {
        let prefix = container.as_str();
        let from = self.endpoints.range(prefix.to_owned()..);
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(_, endpoint)| endpoint)
    }
}

fn attached(e: &Endpoint) -> Attached {
    Attached {
        name: e.container_name.clone(),
        endpoint_id: e.id.clone(),
        mac: e.mac,
        ipv4: e.ipv4.and_then(|ip| Ipv4Net::new(ip, e.prefix).ok()),
        ipv6: e.ipv6.and_then(|ip| Ipv6Net::new(ip, e.prefix6).ok()),
    }
}

/// Destinations of the host's routes but the default one, and of those over `but`.
pub(crate) fn routes(host: &mut Rtnetlink, but: Option<u32>) -> Result<Vec<IpNet>> {
    let routes = host.routes()?;
    let relevant =
        routes.into_iter().filter(|r| r.destination.prefix_len() > 0 && (but.is_none() || r.link != but));
    Ok(relevant.map(|r| r.destination).collect())
}

pub(super) fn blank(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        id: NetworkId::from_bytes(&random()?),
        name: name.to_owned(),
        driver,
        created_nanos: now_nanos(),
        predefined: true,
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        config_only: false,
        config_from: String::new(),
        ipam_options: BTreeMap::new(),
        subnets: Vec::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        bridge: String::new(),
        parent: String::new(),
        containers: BTreeMap::new(),
    })
}

pub(super) fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::io("random bytes")(e.into()))?;
    }
    Ok(bytes)
}
