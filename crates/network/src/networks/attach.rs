//! An endpoint in the kernel: bridge, veth, address, route, firewall.
use super::state::State;
use super::{Networks, lock};
use crate::endpoint::Endpoint;
use crate::error::{Error, PublishError, Result};
use crate::firewall::{BridgeFacts, Entry, Facts, PortFacts, port_entries, ruleset};
use crate::kernel;
use crate::namespace::Namespace;
use crate::network::{Driver, Network, option};
use ipnet::Ipv4Net;
use knarr_base::{NetworkId, failpoint};
use knarr_netlink::link::Veth;
use knarr_netlink::{address, link, route};
use rustix::io::Errno;
use std::os::fd::AsFd;

impl Networks {
    /// Brings the endpoint up inside `netns`. On failure nothing of it is left.
    pub(super) fn attach(
        &self,
        endpoint: &Endpoint,
        netns: &mut Namespace,
        default_route: bool,
    ) -> Result<()> {
        let network = self.state().network(&endpoint.network)?.clone();
        if network.driver != Driver::Bridge {
            return Ok(());
        }
        self.add_veth(&network, endpoint, netns)?;
        let done = configure_inside(endpoint, netns, default_route).and_then(|()| {
            failpoint!("network.configured", Error::Failpoint("network.configured"));
            self.publish(endpoint)
        });
        if done.is_err() {
            self.unpublish(endpoint);
            let _ = kernel::delete_link(&mut self.host(), &endpoint.host_interface);
        }
        done
    }

    fn add_veth(&self, network: &Network, endpoint: &Endpoint, netns: &Namespace) -> Result<()> {
        let mac = endpoint.mac.map(|m| m.0).unwrap_or_default();
        let attempt = |master| {
            let veth = Veth {
                name: &endpoint.host_interface,
                master,
                mtu: network.mtu().unwrap_or(0),
                peer_name: &endpoint.interface,
                peer_mac: mac,
                peer_netns: netns.as_fd(),
            };
            kernel::add_veth(&mut self.host(), &veth, !network.icc())
        };
        let known = self.state().bridges.get(&network.id).copied();
        let master = match known {
            Some(index) => index,
            None => self.ensure_bridge(network)?,
        };
        let result = match attempt(master) {
            // Somebody deleted the bridge.
            Err(e) if known.is_some() && (e.is(Errno::INVAL) || e.is(Errno::NODEV)) => {
                let master = self.ensure_bridge(network)?;
                let others: Vec<Endpoint> =
                    self.state().endpoints.values().filter(|o| o.id != endpoint.id).cloned().collect();
                self.reattach(&others, &mut Vec::new())?;
                attempt(master)
            }
            result => result,
        };
        result.map_err(|e| {
            let _ = kernel::delete_link(&mut self.host(), &endpoint.host_interface);
            if e.is(Errno::XFULL) { Error::BridgeFull { network: network.name.clone() } } else { e.into() }
        })
    }

    /// Makes the network's bridge or brings it in order, forwarding and firewall included.
    pub(super) fn ensure_bridge(&self, network: &Network) -> Result<u32> {
        let foreign_allowed = match network.predefined {
            true => self.config.bridge.is_some(),
            false => network.options.contains_key(option::BRIDGE_NAME),
        };
        let alias = format!("knarr {} network {}", self.config.engine_id, network.name);
        let index = kernel::ensure_bridge(&mut self.host(), network, foreign_allowed, &alias)?;
        if self.config.ip_forward
            && let Err(error) = kernel::enable_forwarding()
        {
            tracing::warn!(%error, "IPv4 forwarding is disabled: containers reach this host only");
        }
        self.state().bridges.insert(network.id.clone(), index);
        let entries = bridge_facts(network).entries();
        self.change_table(|table| table.add(&entries))?;
        Ok(index)
    }

    fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let entries = endpoint_entries(endpoint);
        if entries.is_empty() {
            return Ok(());
        }
        if self.firewall.is_none() {
            return Err(publish_error(
                endpoint,
                PublishError::Firewall("the firewall is off (--iptables=false)".into()),
            ));
        }
        self.change_table(|table| table.add(&entries)).map_err(|e| match e {
            Error::Kernel(e) => publish_error(endpoint, PublishError::Firewall(e.to_string())),
            e => e,
        })?;
        if let Err(error) = kernel::forget_flows_to(&mut self.host(), &endpoint.ports) {
            tracing::warn!(%error, endpoint = endpoint.id, "senders of datagrams may not reach a published port at once");
        }
        Ok(())
    }

    /// Takes the endpoint's ports out of the firewall. Trouble is logged: the table is rendered from the rows later.
    pub(super) fn unpublish(&self, endpoint: &Endpoint) {
        let entries = endpoint_entries(endpoint);
        if entries.is_empty() {
            return;
        }
        // Should the whole table be rendered meanwhile, then without them.
        if let Some(remembered) = self.state().endpoints.get_mut(&endpoint.key()) {
            remembered.ports.clear();
        }
        if let Err(error) = self.change_table(|table| table.remove(&entries)) {
            tracing::warn!(%error, endpoint = endpoint.id, "could not take published ports out of the firewall");
        }
        if let Some(ip) = endpoint.ipv4
            && let Err(error) = kernel::forget_flows_of(ip, &endpoint.ports)
        {
            tracing::warn!(%error, endpoint = endpoint.id, "datagrams may still go to the container's former address");
        }
    }

    /// Changes elements; when the table is not there (first use, or somebody flushed it) or disagrees, the whole table
    /// is put in its place.
    pub(super) fn change_table(
        &self,
        change: impl FnOnce(&mut crate::firewall::Firewall) -> Result<(), knarr_netlink::Error>,
    ) -> Result<()> {
        let Some(table) = &self.firewall else { return Ok(()) };
        let mut table = lock(table);
        if table.in_place {
            match change(&mut table.firewall) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "the firewall's table is put back"),
            }
        }
        // Rendered under the table's lock, so that an older picture never replaces a newer one.
        let facts = self.facts();
        table.firewall.replace(&ruleset(&facts))?;
        table.in_place = true;
        Ok(())
    }

    pub(super) fn facts(&self) -> Facts {
        self.state().facts(&self.config.engine_id)
    }

    pub(super) fn forget_bridge(&self, id: &NetworkId) {
        self.state().bridges.remove(id);
    }
}

fn configure_inside(endpoint: &Endpoint, netns: &mut Namespace, default_route: bool) -> Result<()> {
    let Some(ip) = endpoint.ipv4 else { return Ok(()) };
    let inside = netns.rtnetlink();
    let index = inside
        .link(&endpoint.interface)?
        .ok_or_else(|| Error::Invalid(format!("interface {} vanished", endpoint.interface)))?
        .index;
    let net = Ipv4Net::new(ip, endpoint.prefix).map_err(|e| Error::Invalid(e.to_string()))?;
    let mut changes = vec![link::set_up(index), address::add(index, net)];
    changes
        .extend(endpoint.gateway.filter(|_| default_route).map(|gateway| route::add_default(gateway, index)));
    match inside.change(changes) {
        // The address is new in a new interface, so it is the default route that is there already.
        Err(e) if default_route && e.is(Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

pub(super) fn bridge_facts(network: &Network) -> BridgeFacts {
    BridgeFacts {
        name: network.bridge.clone(),
        subnets: network.subnets.iter().map(|s| s.subnet).collect(),
        icc: network.icc(),
        internal: network.internal,
        masquerade: network.masquerade(),
    }
}

impl State {
    /// What the firewall is made of.
    pub(super) fn facts(&self, engine_id: &str) -> Facts {
        let bridges = self.networks.values().filter(|n| self.bridges.contains_key(&n.id)).map(bridge_facts);
        let ports = self.endpoints.values().filter_map(port_facts);
        Facts { engine_id: engine_id.to_owned(), bridges: bridges.collect(), ports: ports.collect() }
    }
}

fn port_facts(endpoint: &Endpoint) -> Option<PortFacts> {
    let ip = endpoint.ipv4?;
    let used = !endpoint.ports.is_empty();
    used.then(|| PortFacts {
        ip,
        ports: endpoint.ports.clone(),
        owner: endpoint.container.short().to_owned(),
    })
}

fn endpoint_entries(endpoint: &Endpoint) -> Vec<Entry> {
    port_facts(endpoint).map(|facts| port_entries(&facts)).unwrap_or_default()
}

pub(super) fn publish_error(endpoint: &Endpoint, source: PublishError) -> Error {
    Error::Publish {
        name: endpoint.container_name.clone(),
        endpoint: endpoint.id.clone(),
        source: source.into(),
    }
}
