//! The service: networks and endpoints of one engine.
//!
//! Memory mirrors the tables, so reads and decisions do not wait for the disk. Order of every change: decide under the
//! lock, write the row, then touch the kernel; undo in reverse. So the kernel never has what no row explains.
mod attach;
mod catalog;
mod connect;
mod departed;
mod guard;
mod plan;
mod reaper;
mod republish;
mod restore;
mod settle;
mod spare;
mod state;
pub(crate) use state::routes;
mod tracked;

use crate::config::NetworkConfig;
use crate::create::CreateNetwork;
use crate::endpoint::{Connected, Endpoint, EndpointRequest, Ports};
use crate::error::{Error, Result};
use crate::firewall::Firewall;
use crate::ipam::Usage;
use crate::names::Names;
use crate::namespace::Namespace;
use crate::network::{DEFAULT_NETWORK, Driver, Network};
use crate::port::PublishedPort;
use crate::relay::Relays;
use departed::Departed;
use knarr_base::{ContainerId, NetworkId};
use knarr_netlink::Rtnetlink;
use knarr_state::Store;
use reaper::Reaper;
use spare::Spare;
use state::State;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracked::Changes;

/// All networks of an engine. Share it behind an `Arc`; every method takes `&self` and blocks.
///
/// It works in the network namespace of the thread that opened it; call it from threads of that namespace.
pub struct Networks {
    store: Store,
    config: NetworkConfig,
    state: Arc<Mutex<State>>,
    host: Mutex<Rtnetlink>,
    /// `None`: `--iptables=false`.
    firewall: Option<Arc<Mutex<Table>>>,
    /// Its sockets are closed before those of `state` go.
    relays: Relays,
    reaper: Reaper,
    departed: Departed,
    spare: Spare,
    /// Follows the rows when it is asked.
    names: Mutex<Names>,
    /// Closed at the end: the guard waits for that.
    alive: Mutex<Option<OwnedFd>>,
}

/// The engine's table, and whether it is in the kernel as far as we know.
struct Table {
    firewall: Firewall,
    in_place: bool,
}

impl Networks {
    /// Reads the tables and makes rows for the predefined networks. Changes nothing in the kernel: call `restore` next.
    pub fn open(store: Store, config: NetworkConfig) -> Result<Self> {
        let mut host = Rtnetlink::open()?;
        let firewall = config
            .firewall
            .then(|| Firewall::open(crate::firewall::table_name(&config.engine_id)))
            .transpose()?
            .map(|firewall| Arc::new(Mutex::new(Table { firewall, in_place: false })));
        let state = Arc::new(Mutex::new(State::load(&store, &config, &mut host)?));
        let known = Arc::downgrade(&state);
        let relays =
            Relays::new(move |sender| known.upgrade().is_some_and(|state| lock(&state).is_welcome(sender)));
        Ok(Self {
            store,
            config,
            state,
            host: Mutex::new(host),
            firewall,
            relays,
            reaper: Reaper::start()?,
            departed: Departed::default(),
            spare: Spare::start()?,
            names: Mutex::default(),
            alive: Mutex::default(),
        })
    }

    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// At the engine's start: makes the kernel agree with the rows. Endpoints of containers that are not `alive` are
    /// released; bridges, the firewall and the port reservations of the others are put back; leftovers are swept. From
    /// then on the firewall is put back whenever another program flushes it.
    /// Gives warnings: what could not be put back.
    pub fn restore(&self, alive: &[ContainerId]) -> Result<Vec<String>> {
        self.restore_all(alive)
    }

    /// Puts bridges and the firewall back if somebody removed them.
    pub fn heal(&self) -> Result<()> {
        self.heal_all()
    }

    /// When the engine ends and nothing runs: takes bridges and the table out of the kernel. Rows stay. Does nothing
    /// while there are endpoints.
    pub fn shutdown(&self) -> Result<()> {
        self.leave_kernel()
    }

    /// Warnings for `info` and `create`: forwarding off, a foreign firewall that drops forwarded packets.
    pub fn warnings(&self) -> Vec<String> {
        self.kernel_warnings()
    }

    pub fn create(&self, request: &CreateNetwork) -> Result<Network> {
        self.create_network(request)
    }

    /// By name, id or unambiguous prefix of the id. Refused for predefined networks and while endpoints are active.
    pub fn remove(&self, network: &str) -> Result<Network> {
        self.remove_network(network)
    }

    /// By name, id or unambiguous prefix of the id; what `containers` would hold is not looked for.
    pub fn find(&self, network: &str) -> Result<Network> {
        let state = self.state();
        let id = state.resolve(network)?;
        state.network(&id).cloned()
    }

    /// Name and id of the network that is meant.
    pub fn named(&self, network: &str) -> Result<(String, NetworkId)> {
        let state = self.state();
        let id = state.resolve(network)?;
        Ok((state.network(&id)?.name.clone(), id))
    }

    /// With the containers that are on it.
    pub fn inspect(&self, network: &str) -> Result<Network> {
        let state = self.state();
        let id = state.resolve(network)?;
        state.described(&id)
    }

    /// All networks, with their containers.
    pub fn list(&self) -> Result<Vec<Network>> {
        Ok(self.state().all_described())
    }

    /// Removes user-defined networks without endpoints that `wanted` accepts; gives their names.
    pub fn prune(&self, wanted: &dyn Fn(&Network) -> bool) -> Result<Vec<String>> {
        let all = self.list()?;
        let unused = all.into_iter().filter(|n| !n.predefined && n.containers.is_empty() && wanted(n));
        let mut removed = Vec::new();
        for network in unused {
            match self.remove_network(network.id.as_str()) {
                Ok(network) => removed.push(network.name),
                // Somebody joined or removed it meanwhile.
                Err(Error::InUse { .. } | Error::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(removed)
    }

    /// Whether the network would take the container; the start would say so, too.
    pub fn check(&self, request: &EndpointRequest) -> Result<()> {
        let state = self.state();
        let id = state.resolve(&request.network)?;
        connect::check_request(state.network(&id)?, request)
    }

    /// Marks the requests of one container that get its default routes, and gives them the ports to publish.
    pub fn elect(&self, requests: &mut [EndpointRequest], ports: &Ports) -> Result<()> {
        self.elect_requests(requests, ports)
    }

    /// After a running container joined or left a network: default routes and ports go where they belong now.
    pub fn settle(&self, container: &ContainerId, netns: BorrowedFd<'_>, ports: &Ports) -> Result<()> {
        self.settle_container(container, netns, ports)
    }

    /// Changes what a running container publishes: takes away what `remove` says, then adds. All or nothing; what stays is not
    /// touched.
    pub fn republish(
        &self,
        container: &ContainerId,
        add: &Ports,
        remove: &dyn Fn(&PublishedPort) -> bool,
    ) -> Result<()> {
        self.republish_container(container, add, remove)
    }

    /// A namespace with loopback only, for a container that is on no network.
    pub fn unconnected(&self) -> Result<OwnedFd> {
        self.spare.take_beside(|| ()).0.map(Namespace::into_fd)
    }

    /// A new namespace with an endpoint on `request.network`. On `none` the namespace has loopback only.
    pub fn connect(&self, request: &EndpointRequest) -> Result<Connected> {
        self.connect_new(request)
    }

    /// One more endpoint in an existing namespace (`network connect`, further networks at start).
    pub fn connect_in(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        self.connect_existing(request, netns)
    }

    /// Takes a container off a network. Links, addresses and ports are gone on return. See `settle`.
    pub fn disconnect(
        &self,
        container: &ContainerId,
        network: &str,
        netns: BorrowedFd<'_>,
    ) -> Result<Endpoint> {
        self.disconnect_one(container, network, netns)
    }

    /// An endpoint of a container that ended while it was made, so that `release` knew nothing of it.
    pub fn give_up(&self, endpoint: &Endpoint) -> Result<()> {
        let same = |known: &Endpoint| known.id == endpoint.id;
        let is_known = self.state().endpoints.get(&endpoint.key()).is_some_and(same);
        if is_known { self.release_endpoints(std::slice::from_ref(endpoint)) } else { Ok(()) }
    }

    /// The container ended: all its endpoints, addresses and ports are free again. Idempotent.
    pub fn release(&self, container: &ContainerId) -> Result<()> {
        self.release_all(container)
    }

    /// The container got another name.
    pub fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        self.rename_container(container, name)
    }

    /// Endpoints of a running container, in the order in which it joined.
    pub fn endpoints(&self, container: &ContainerId) -> Result<Vec<Endpoint>> {
        let mut found: Vec<Endpoint> = self.state().of_container(container).cloned().collect();
        found.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(found)
    }

    /// Looks at who has which name on which network, as it is now. Costs what has changed since it was asked last.
    pub fn with_names<T>(&self, look: impl FnOnce(&Names) -> T) -> T {
        let mut names = lock(&self.names);
        {
            let mut state = self.state();
            match (state.networks.take_changes(), state.endpoints.take_changes()) {
                (Changes::Some(networks), Changes::Some(keys)) if networks.is_empty() => {
                    keys.iter().for_each(|key| names.update(key, state.endpoints.get(key)));
                }
                _ => *names = Names::new(state.networks.values(), state.endpoints.values()),
            }
        }
        look(&names)
    }

    /// Whether containers on it find each other by name.
    pub fn has_names(&self, network: &NetworkId) -> bool {
        self.state().networks.get(network).is_some_and(Network::is_user_defined)
    }

    /// What a name, id or prefix of an id means.
    pub fn resolve(&self, network: &str) -> Result<NetworkId> {
        self.state().resolve(network)
    }

    pub fn driver(&self, network: &NetworkId) -> Option<Driver> {
        self.state().networks.get(network).map(|n| n.driver)
    }

    /// Addresses of a network that are in use and that are free.
    pub fn usage(&self, network: &NetworkId) -> Vec<Usage> {
        self.state().usage(network)
    }

    /// Whether the host forwards packets of a family.
    pub fn forwards(&self, ipv4: bool) -> bool {
        crate::kernel::forwarding(ipv4)
    }

    /// What `host-gateway` means.
    pub fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.config.host_gateway_ips.is_empty() {
            return self.config.host_gateway_ips.clone();
        }
        let state = self.state();
        let network = state.resolve(DEFAULT_NETWORK).ok().and_then(|id| state.networks.get(&id));
        network.into_iter().flat_map(Network::used_subnets).map(|s| s.gateway).collect()
    }

    /// The firewall as it should be, in `nft`'s language.
    pub fn firewall_text(&self) -> String {
        crate::firewall::ruleset(&self.facts()).iter().map(ToString::to_string).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn host(&self) -> MutexGuard<'_, Rtnetlink> {
        lock(&self.host)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
