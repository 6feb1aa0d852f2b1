//! Containers join and leave networks.
use super::Networks;
use super::attach::publish_error;
use super::reaper::Veth;
use super::state::{State, random};
use crate::endpoint::{Connected, Endpoint, EndpointRequest};
use crate::error::{Error, Result};
use crate::kernel;
use crate::mac::MacAddr;
use crate::namespace::Namespace;
use crate::network::{Driver, Network, Subnet};
use crate::port::PublishedPort;
use crate::publish::{Reservation, bindings};
use knarr_base::{ContainerId, failpoint};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

impl Networks {
    pub(super) fn connect_new(&self, request: &EndpointRequest) -> Result<Connected> {
        let (netns, endpoint) = self.spare.take_beside(|| self.reserve(request, false));
        let endpoint = endpoint?;
        let complete = || {
            let mut netns = netns?;
            failpoint!("network.reserved", Error::Failpoint("network.reserved"));
            self.attach(&endpoint, &mut netns, request.default_route)?;
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
        let mut netns = Namespace::enter(netns)?;
        let endpoint = self.reserve(request, true)?;
        self.attach(&endpoint, &mut netns, request.default_route).inspect_err(|_| self.forget(&endpoint))?;
        Ok(endpoint)
    }

    /// Decides and records: address, names, ports. On failure nothing is left.
    ///
    /// When a container starts the row needs not be `durable` at once: it is with the engine's next row, which comes
    /// before the container's process runs. Should the engine die sooner, the namespace dies with it.
    fn reserve(&self, request: &EndpointRequest, durable: bool) -> Result<Endpoint> {
        let (endpoint, network, taken) = {
            let mut state = self.state();
            let (endpoint, network) = allocate(&mut state, request)?;
            state.endpoints.insert(endpoint.key(), endpoint.clone());
            (endpoint, network, taken_ports(&state))
        };
        let recorded = self.reserve_ports(endpoint.clone(), &network, request, &taken).and_then(|endpoint| {
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

    fn reserve_ports(
        &self,
        mut endpoint: Endpoint,
        network: &Network,
        request: &EndpointRequest,
        taken: &[PublishedPort],
    ) -> Result<Endpoint> {
        let wanted = bindings(request);
        let (Some(ip), false, false) = (endpoint.ipv4, wanted.is_empty(), network.internal) else {
            return Ok(endpoint);
        };
        let default = network.host_binding().unwrap_or(self.config.host_ip);
        let reservation = Reservation::make(&wanted, default, ip, taken)
            .map_err(|source| publish_error(&endpoint, source))?;
        endpoint.ports.clone_from(&reservation.ports);
        let mut state = self.state();
        state.endpoints.insert(endpoint.key(), endpoint.clone());
        state.reservations.insert(endpoint.key(), reservation);
        Ok(endpoint)
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
        state.endpoints.remove(&key);
        state.reservations.remove(&key);
        if let (Some(ip), Some(allocator)) = (endpoint.ipv4, state.allocators.get_mut(&endpoint.network)) {
            allocator.release(ip);
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

    pub(super) fn disconnect_one(&self, container: &ContainerId, network: &str) -> Result<Endpoint> {
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
        if !endpoint.host_interface.is_empty() {
            kernel::delete_link(&mut self.host(), &endpoint.host_interface)?;
        }
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

fn taken_ports(state: &State) -> Vec<PublishedPort> {
    state.reservations.values().flat_map(|r| r.ports.iter().copied()).collect()
}

fn allocate(state: &mut State, request: &EndpointRequest) -> Result<(Endpoint, Network)> {
    let id = state.resolve(&request.network)?;
    let network = state.network(&id)?.clone();
    let key = Endpoint::key_of(&request.container, &id);
    if state.endpoints.contains_key(&key) {
        let (container, network) = (request.container_name.clone(), network.name);
        return Err(Error::AlreadyConnected { container, network });
    }
    let mut endpoint = Endpoint {
        id: hex(&random()?),
        container: request.container.clone(),
        container_name: request.container_name.clone(),
        network: id.clone(),
        network_name: network.name.clone(),
        interface: String::new(),
        host_interface: String::new(),
        ipv4: None,
        prefix: 0,
        gateway: None,
        mac: None,
        aliases: request.aliases.clone(),
        links: request.links.clone(),
        dns_names: dns_names(request),
        ports: Vec::new(),
    };
    if network.driver != Driver::Bridge {
        return Ok((endpoint, network));
    }
    let subnet = network.subnets.first().ok_or_else(|| Error::AddressesExhausted(network.name.clone()))?;
    let allocator =
        state.allocators.get_mut(&id).ok_or_else(|| Error::AddressesExhausted(subnet.subnet.to_string()))?;
    let ip: Ipv4Addr = match request.ipv4 {
        Some(ip) => {
            check_choice(&network, subnet, ip)?;
            allocator.claim(ip)?;
            ip
        }
        None => allocator.allocate()?,
    };
    endpoint.ipv4 = Some(ip);
    endpoint.prefix = subnet.subnet.prefix_len();
    endpoint.gateway = (!network.internal).then_some(subnet.gateway);
    endpoint.mac = Some(request.mac.unwrap_or_else(|| MacAddr::from_ipv4(ip)));
    endpoint.interface = free_interface(state, &request.container);
    endpoint.host_interface = kernel::veth_name(&request.container, &id);
    Ok((endpoint, network))
}

/// Addresses may be chosen only where the user chose the subnet too: elsewhere it may be another one tomorrow.
fn check_choice(network: &Network, subnet: &Subnet, ip: Ipv4Addr) -> Result<()> {
    let mut reasons = Vec::new();
    if network.predefined {
        reasons.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    if !network.chosen_subnet {
        let text = "user specified IP address is supported only when connecting to networks with user configured subnets";
        reasons.push(text.to_owned());
    }
    if reasons.is_empty() && !subnet.subnet.contains(&ip) {
        reasons.push(format!("no configured subnet or ip-range contain the IP address {ip}"));
    }
    let reason = match reasons.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => many.iter().map(|r| format!("* {r}")).collect::<Vec<_>>().join("\n"),
    };
    Err(Error::InvalidEndpoint { network: network.name.clone(), reason })
}

/// `eth0`, or the next one that the container does not have.
fn free_interface(state: &State, container: &ContainerId) -> String {
    let used: Vec<&str> = state.of_container(container).map(|e| e.interface.as_str()).collect();
    let mut number = 0;
    loop {
        let name = format!("eth{number}");
        if !used.contains(&name.as_str()) {
            return name;
        }
        number += 1;
    }
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
