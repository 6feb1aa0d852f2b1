//! Containers join and leave networks.
use super::Networks;
use super::attach::publish_error;
use super::reaper::Veth;
use super::state::{State, random};
use crate::endpoint::{Connected, Endpoint, EndpointRequest, Ports};
use crate::error::{Error, Result};
use crate::kernel;
use crate::mac::MacAddr;
use crate::namespace::Namespace;
use crate::network::{Driver, Network};
use crate::option::{self, GatewayMode};
use crate::publish::{Reservation, Side, Target, bindings};
use knarr_base::{ContainerId, NetworkId, failpoint};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// Networks of one container.
const MAX_INTERFACES: usize = 1024;
/// Bridges that are tried when the kernel finds one full.
const MAX_BRIDGES: usize = 8;

impl Networks {
    pub(super) fn connect_new(&self, request: &EndpointRequest) -> Result<Connected> {
        on_another_bridge(|| self.connect_new_once(request))
    }

    fn connect_new_once(&self, request: &EndpointRequest) -> Result<Connected> {
        let (netns, endpoint) = self.spare.take_beside(|| self.reserve(request, false));
        let endpoint = endpoint?;
        let complete = || {
            let mut netns = netns?;
            failpoint!("network.reserved", Error::Failpoint("network.reserved"));
            self.attach(&endpoint, &mut netns, request)?;
            Ok(netns.into_fd())
        };
        let netns = complete().inspect_err(|_: &Error| self.forget(&endpoint))?;
        Ok(Connected { netns, endpoint })
    }

    pub(super) fn connect_existing(
        &self,
        request: &EndpointRequest,
        netns: BorrowedFd<'_>,
    ) -> Result<Endpoint> {
        on_another_bridge(|| self.connect_existing_once(request, netns))
    }

    fn connect_existing_once(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        let mut netns = Namespace::enter(netns)?;
        let endpoint = self.reserve(request, true)?;
        self.attach(&endpoint, &mut netns, request).inspect_err(|_| self.forget(&endpoint))?;
        Ok(endpoint)
    }

    /// Decides and records: address, names, ports. On failure nothing is left.
    ///
    /// When a container starts the row needs not be `durable` at once: it is with the engine's next row, which comes
    /// before the container's process runs. Should the engine die sooner, the namespace dies with it.
    fn reserve(&self, request: &EndpointRequest, durable: bool) -> Result<Endpoint> {
        let (endpoint, network) = {
            let mut state = self.state();
            let (endpoint, network) = allocate(&mut state, request, self.config.bridge_capacity)?;
            state.endpoints.insert(endpoint.key(), endpoint.clone());
            (endpoint, network)
        };
        self.make_room_for_neighbours();
        let ports = self.reserve_ports(endpoint.clone(), &network, &request.ports);
        let recorded = ports.and_then(|endpoint| {
            let key = endpoint.key();
            match durable {
                true => self.store.write::<_, Error>(|tx| Ok(tx.put(&key, &endpoint)?))?,
                false => self.store.write_behind::<_, Error>(|tx| Ok(tx.put(&key, &endpoint)?))?,
            }
            Ok(endpoint)
        });
        if recorded.is_err() {
            self.forget_in_memory(&endpoint);
        }
        recorded
    }

    /// Takes the ports of an endpoint that has default routes.
    pub(super) fn reserve_ports(
        &self,
        mut endpoint: Endpoint,
        network: &Network,
        ports: &Ports,
    ) -> Result<Endpoint> {
        let wanted = bindings(ports);
        let published = network.driver == Driver::Bridge && !network.internal;
        if wanted.is_empty() || !published || !(endpoint.default4 || endpoint.default6) {
            return Ok(endpoint);
        }
        let target = self.target(&endpoint, network, ports);
        let taken = |protocol, host, port| self.state().taken.any(protocol, host, port);
        let mut reservation =
            Reservation::make(&wanted, &target, &taken).map_err(|source| publish_error(&endpoint, source))?;
        reservation.serve(&self.relays).map_err(Error::io("relay published ports"))?;
        endpoint.ports.clone_from(&reservation.ports);
        let mut state = self.state();
        state.endpoints.insert(endpoint.key(), endpoint.clone());
        state.hold(endpoint.key(), reservation);
        Ok(endpoint)
    }

    /// Where an endpoint publishes.
    pub(super) fn target(&self, endpoint: &Endpoint, network: &Network, ports: &Ports) -> Target {
        Target {
            v4: side(endpoint, network, true),
            v6: side(endpoint, network, false),
            default: network.options().host_binding().unwrap_or(self.config.host_ip),
            scope: ports
                .scope
                .clone()
                .or_else(|| network.options().publish_scope())
                .unwrap_or_else(|| self.config.publish_scope.clone()),
            relays: self.config.relays,
        }
    }

    /// Undoes `reserve`.
    fn forget(&self, endpoint: &Endpoint) {
        if let Err(error) = self.delete_rows(std::slice::from_ref(endpoint)) {
            tracing::error!(%error, endpoint = endpoint.id, "could not delete an endpoint's record");
        }
        self.forget_in_memory(endpoint);
    }

    fn forget_in_memory(&self, endpoint: &Endpoint) {
        let mut state = self.state();
        let key = endpoint.key();
        let known = state.endpoints.remove(&key).is_some();
        let sockets = state.let_go(&key);
        if known
            && !endpoint.host_interface.is_empty()
            && let Some(seats) = state.seats.get_mut(&endpoint.network)
        {
            seats.give_back(endpoint.segment);
        }
        endpoint.addresses().for_each(|ip| state.release(&endpoint.network, ip));
        drop(state);
        drop(sockets);
        if known && let Err(error) = self.relink(endpoint) {
            tracing::warn!(%error, endpoint = endpoint.id, "links to other containers are not closed");
        }
    }

    /// A row that a crash brings back is one of a container that is not alive: `restore` releases it.
    fn delete_rows(&self, endpoints: &[Endpoint]) -> Result<()> {
        self.store.write_behind::<_, Error>(|tx| {
            for endpoint in endpoints {
                tx.delete::<Endpoint>(&endpoint.key())?;
            }
            Ok(())
        })
    }

    pub(super) fn disconnect_one(
        &self,
        container: &ContainerId,
        network: &str,
        netns: BorrowedFd<'_>,
    ) -> Result<Endpoint> {
        let endpoint = {
            let state = self.state();
            let id = state.resolve(network)?;
            let found = state.endpoints.get(&Endpoint::key_of(container, &id)).cloned();
            found.ok_or_else(|| Error::NotConnected {
                container: container.to_string(),
                network: network.to_owned(),
            })?
        };
        self.unpublish(&endpoint);
        // The container lives on, so here the row must not come back.
        self.store.write::<_, Error>(|tx| Ok(tx.delete::<Endpoint>(&endpoint.key())?))?;
        self.delete_interface(&endpoint, netns)?;
        self.forget_in_memory(&endpoint);
        Ok(endpoint)
    }

    pub(super) fn release_all(&self, container: &ContainerId) -> Result<()> {
        let endpoints: Vec<Endpoint> = self.state().of_container(container).cloned().collect();
        self.release_endpoints(&endpoints)
    }

    pub(super) fn release_endpoints(&self, endpoints: &[Endpoint]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        for endpoint in endpoints {
            self.unpublish(endpoint);
            self.reap(endpoint);
        }
        failpoint!("network.unpublished", Error::Failpoint("network.unpublished"));
        self.delete_rows(endpoints)?;
        endpoints.iter().for_each(|e| self.forget_in_memory(e));
        Ok(())
    }

    fn reap(&self, endpoint: &Endpoint) {
        if endpoint.host_interface.is_empty() {
            if !endpoint.interface.is_empty() {
                self.departed.one_went();
            }
            return;
        }
        let link = self.host().link(&endpoint.host_interface);
        if let Ok(Some(link)) = link {
            self.reaper.put(Veth { name: link.name, index: link.index });
        }
    }

    pub(super) fn rename_container(&self, container: &ContainerId, name: &str) -> Result<()> {
        let renamed: Vec<Endpoint> = {
            let state = self.state();
            state.of_container(container).map(|e| rename(e, name)).collect()
        };
        if renamed.is_empty() {
            return Ok(());
        }
        self.store.write::<_, Error>(|tx| {
            for endpoint in &renamed {
                tx.put(&endpoint.key(), endpoint)?;
            }
            Ok(())
        })?;
        let mut state = self.state();
        for endpoint in renamed {
            state.endpoints.insert(endpoint.key(), endpoint);
        }
        Ok(())
    }
}

fn rename(endpoint: &Endpoint, name: &str) -> Endpoint {
    let mut renamed = endpoint.clone();
    let old = std::mem::replace(&mut renamed.container_name, name.to_owned());
    renamed.dns_names.iter_mut().filter(|n| **n == old).for_each(|n| *n = name.to_owned());
    renamed
}

/// Whatever we counted, the kernel may find a bridge full: then the next one has room.
fn on_another_bridge<T>(mut connect: impl FnMut() -> Result<T>) -> Result<T> {
    let mut result = connect();
    for _ in 1..MAX_BRIDGES {
        match result {
            Err(Error::BridgeFull { .. }) => result = connect(),
            result => return result,
        }
    }
    result
}

/// Where a family's ports go. Those of a network that does not lead out cannot be published.
fn side(endpoint: &Endpoint, network: &Network, ipv4: bool) -> Side {
    match endpoint.address(ipv4) {
        _ if !endpoint.is_default(ipv4) => Side::Elsewhere,
        Some(_) if !network.has_gateway(ipv4) => Side::Nowhere,
        Some(ip) if network.mode(ipv4) == GatewayMode::Routed => Side::Routed(ip),
        Some(ip) => Side::Here(ip),
        None => Side::Nowhere,
    }
}

fn allocate(state: &mut State, request: &EndpointRequest, capacity: u16) -> Result<(Endpoint, Network)> {
    let id = state.resolve(&request.network)?;
    let network = state.network(&id)?.clone();
    if network.config_only {
        return Err(Error::ConfigurationOnly);
    }
    let key = Endpoint::key_of(&request.container, &id);
    if state.endpoints.contains_key(&key) {
        let (container, network) = (request.container_name.clone(), network.name);
        return Err(Error::AlreadyConnected { container, network });
    }
    check_request(&network, request)?;
    let mut endpoint = Endpoint {
        id: hex(&random()?),
        container: request.container.clone(),
        container_name: request.container_name.clone(),
        network: id.clone(),
        network_name: network.name.clone(),
        interface: String::new(),
        host_interface: String::new(),
        segment: 0,
        ipv4: None,
        prefix: 0,
        gateway: None,
        ipv6: None,
        prefix6: 0,
        gateway6: None,
        link_local: request.link_local.clone(),
        mac: None,
        aliases: request.aliases.clone(),
        links: request.links.clone(),
        reaches: request.reaches.clone(),
        dns_names: dns_names(request),
        ports: Vec::new(),
        gw_priority: request.gw_priority,
        default4: request.default4,
        default6: request.default6,
    };
    if matches!(network.driver, Driver::Host | Driver::Null) {
        return Ok((endpoint, network));
    }
    endpoint.interface = free_interface(state, &network, request)?;
    let gone = || Error::NotFound(network.name.clone());
    if !state.allocators.contains_key(&id) {
        return Err(gone());
    }
    if let Some(IpAddr::V4(ip)) = address(state, &network, &id, true, request.ipv4.map(IpAddr::V4))? {
        endpoint.ipv4 = Some(ip);
    }
    match address(state, &network, &id, false, request.ipv6.map(IpAddr::V6)) {
        Ok(Some(IpAddr::V6(ip))) => endpoint.ipv6 = Some(ip),
        Ok(_) => {}
        Err(e) => {
            endpoint.addresses().for_each(|ip| state.release(&id, ip));
            return Err(e);
        }
    }
    for subnet in network.used_subnets().filter(|s| network.has_gateway(s.is_ipv4())) {
        match subnet.default_gateway() {
            _ if network.routes_by_device() => {}
            IpAddr::V4(ip) => endpoint.gateway = Some(ip),
            IpAddr::V6(ip) => endpoint.gateway6 = Some(ip),
        }
    }
    let prefix = |ipv4| network.subnet(ipv4).map_or(0, |s| s.subnet.prefix_len());
    (endpoint.prefix, endpoint.prefix6) = (prefix(true), prefix(false));
    let derived = || match (endpoint.ipv4, endpoint.ipv6) {
        (Some(ip), _) => Some(MacAddr::from_ipv4(ip)),
        (None, Some(ip)) => Some(MacAddr::from_ipv6(ip)),
        (None, None) => None,
    };
    match network.driver {
        Driver::Bridge => {
            endpoint.mac = request.mac.or_else(derived);
            endpoint.host_interface = kernel::veth_name(&request.container, &id);
            let Some(segment) = state.seats.entry(id.clone()).or_default().take(capacity) else {
                endpoint.addresses().for_each(|ip| state.release(&id, ip));
                return Err(Error::BridgeFull { network: network.name });
            };
            endpoint.segment = segment;
        }
        Driver::Macvlan => endpoint.mac = request.mac.or_else(derived),
        // All of them have the parent's.
        Driver::Ipvlan | Driver::Host | Driver::Null => {}
    }
    Ok((endpoint, network))
}

/// The address asked for, or a free one; `None`: the network has none of the family.
fn address(
    state: &mut State,
    network: &Network,
    id: &NetworkId,
    ipv4: bool,
    asked: Option<IpAddr>,
) -> Result<Option<IpAddr>> {
    if network.subnet(ipv4).is_none() {
        return Ok(None);
    }
    let Some(allocator) = state.allocator(id, ipv4) else { return Ok(None) };
    match asked {
        Some(ip) => allocator.claim(ip).map(|()| Some(ip)),
        None => allocator.allocate().map(Some),
    }
}

/// Addresses may be chosen only where the user chose the subnet too: elsewhere it may be another one tomorrow.
pub(super) fn check_request(network: &Network, request: &EndpointRequest) -> Result<()> {
    let asked = [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6)];
    let asked: Vec<IpAddr> = asked.into_iter().flatten().collect();
    let mut reasons = Vec::new();
    if network.predefined && !asked.is_empty() {
        reasons.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    for ip in asked {
        match network.subnet(ip.is_ipv4()).filter(|s| s.chosen || network.predefined) {
            Some(subnet) if subnet.subnet.contains(&ip) => {}
            Some(_) => reasons.push(format!("no configured subnet or ip-range contain the IP address {ip}")),
            None => {
                reasons.push("user specified IP address is supported only when connecting to networks with user configured subnets".to_owned());
            }
        }
    }
    if network.predefined && !request.aliases.is_empty() {
        reasons.push(
            "network-scoped alias is supported only for containers in user defined networks".to_owned(),
        );
    }
    reasons.extend(option::sysctls(&request.options).err());
    match reasons.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::InvalidEndpoint(one.clone())),
        many => {
            let lines: Vec<String> = many.iter().map(|r| format!("* {r}")).collect();
            Err(Error::InvalidEndpoint(lines.join("\n")))
        }
    }
}

/// The name asked for; else `eth0`, or the next one that the container does not have.
fn free_interface(state: &State, network: &Network, request: &EndpointRequest) -> Result<String> {
    let used: Vec<&str> = state.of_container(&request.container).map(|e| e.interface.as_str()).collect();
    if let Some(name) = request.options.get(option::IFNAME) {
        option::check_interface(name)?;
        return match used.contains(&name.as_str()) || name == "lo" {
            true => {
                Err(Error::Unavailable(format!("failed to add interface {name} to sandbox: file exists")))
            }
            false => Ok(name.clone()),
        };
    }
    let prefix = network.options().text(option::INTERFACE_PREFIX).unwrap_or("eth");
    let names = (0..).map(|number| format!("{prefix}{number}"));
    names
        .into_iter()
        .take(MAX_INTERFACES)
        .find(|name| !used.contains(&name.as_str()))
        .ok_or_else(|| Error::Unavailable(format!("a container is on at most {MAX_INTERFACES} networks")))
}

fn dns_names(request: &EndpointRequest) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let all = [request.container_name.clone()]
        .into_iter()
        .chain(request.aliases.iter().cloned())
        .chain([request.container.short().to_owned()])
        .chain(request.hostname.clone());
    for name in all {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
