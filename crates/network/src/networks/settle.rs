//! Which endpoint has a container's default routes and published ports: decided at the start, and again when a running
//! container joins or leaves a network.
use super::Networks;
use super::attach::{default_route, interface_index};
use crate::endpoint::{Endpoint, EndpointRequest, Ports};
use crate::error::{Error, Result};
use crate::gateway::{Candidate, elect};
use crate::namespace::Namespace;
use crate::network::Network;
use knarr_base::ContainerId;
use knarr_netlink::route;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

fn candidate(network: &Network, priority: i64) -> Candidate {
    Candidate {
        priority,
        internal: network.internal,
        network: network.name.clone(),
        gateway4: network.has_gateway(true),
        gateway6: network.has_gateway(false),
    }
}

impl Networks {
    /// Before a start: marks the requests that get default routes, and gives them the ports.
    pub(super) fn elect_requests(&self, requests: &mut [EndpointRequest], ports: &Ports) -> Result<()> {
        let candidates = {
            let state = self.state();
            let of = |r: &EndpointRequest| -> Result<Candidate> {
                Ok(candidate(state.network(&state.resolve(&r.network)?)?, r.gw_priority))
            };
            requests.iter().map(of).collect::<Result<Vec<_>>>()?
        };
        let (four, six) = elect(&candidates);
        for (index, request) in requests.iter_mut().enumerate() {
            (request.default4, request.default6) = (four == Some(index), six == Some(index));
            if request.default4 || request.default6 {
                request.ports = ports.clone();
            }
        }
        Ok(())
    }

    /// Moves default routes and ports of a running container to where they belong now.
    pub(super) fn settle_container(
        &self,
        container: &ContainerId,
        netns: BorrowedFd<'_>,
        ports: &Ports,
    ) -> Result<()> {
        let before: Vec<(Endpoint, Network)> = {
            let state = self.state();
            let with = |e: &Endpoint| Some((e.clone(), state.networks.get(&e.network)?.clone()));
            state.of_container(container).filter_map(with).collect()
        };
        let candidates: Vec<Candidate> = before.iter().map(|(e, n)| candidate(n, e.gw_priority)).collect();
        let (four, six) = elect(&candidates);
        let mut moved = Vec::new();
        for (index, (endpoint, network)) in before.iter().enumerate() {
            let wanted = (four == Some(index), six == Some(index));
            if wanted != (endpoint.default4, endpoint.default6) {
                moved.push((endpoint, network, wanted));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let mut inside = Namespace::enter(netns)?;
        // Those that lose come first: two default routes cannot be, nor one port twice.
        moved.sort_by_key(|(_, _, wanted)| *wanted);
        for ipv4 in [true, false] {
            let wants = |wanted: (bool, bool)| if ipv4 { wanted.0 } else { wanted.1 };
            for adding in [false, true] {
                for (endpoint, network, wanted) in &moved {
                    if wants(*wanted) == adding && endpoint.is_default(ipv4) != adding {
                        change_route(&mut inside, endpoint, network, ipv4, adding)?;
                    }
                }
            }
        }
        for (endpoint, ..) in &moved {
            self.unpublish(endpoint);
            let sockets = self.state().let_go(&endpoint.key());
            drop(sockets);
        }
        for (endpoint, network, (default4, default6)) in moved {
            let endpoint = Endpoint { ports: Vec::new(), default4, default6, ..endpoint.clone() };
            self.state().endpoints.insert(endpoint.key(), endpoint.clone());
            let endpoint = self.reserve_ports(endpoint, network, ports)?;
            self.store.write::<_, Error>(|tx| Ok(tx.put(&endpoint.key(), &endpoint)?))?;
            self.publish(&endpoint)?;
        }
        Ok(())
    }
}

fn change_route(
    inside: &mut Namespace,
    endpoint: &Endpoint,
    network: &Network,
    ipv4: bool,
    adding: bool,
) -> Result<()> {
    let inside = inside.rtnetlink();
    let link = interface_index(inside, &endpoint.interface)?;
    let request = match adding {
        true => default_route(endpoint, network, ipv4, link, route::add),
        false => default_route(endpoint, network, ipv4, link, route::delete),
    };
    match inside.change(request.into_iter().collect()) {
        // Somebody inside the container was faster.
        Err(e) if e.is(Errno::EXIST) || e.is(Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}
