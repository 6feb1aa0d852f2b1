//! An endpoint in the kernel: its interface, addresses, routes, firewall.
use super::state::State;
use super::{Networks, lock};
use crate::config::NetworkConfig;
use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::{Error, PublishError, Result};
use crate::firewall::{
    BridgeFacts, Facts, FamilyFacts, Firewall, LinkFacts, Placed, PortFacts, port_entries, ruleset,
};
use crate::namespace::{Namespace, View};
use crate::network::{Driver, Network};
use crate::option::{self, GatewayMode};
use crate::port::PublishedPort;
use crate::{kernel, neighbours, parent};
use ipnet::IpNet;
use knarr_base::{NetworkId, failpoint};
use knarr_netlink::link::{Shared, Veth};
use knarr_netlink::nft::Family;
use knarr_netlink::{Request, address, link, route};
use rustix::io::Errno;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// What aliases of interfaces that an engine made begin with.
const ANY_ALIAS: &str = "knarr ";
/// Prefix lengths of `--link-local-ip`, as Docker has them.
const LINK_LOCAL_PREFIX: [u8; 2] = [16, 64];

impl Networks {
    /// Brings the endpoint up inside `netns`. On failure nothing of it is left.
    pub(super) fn attach(
        &self,
        endpoint: &Endpoint,
        netns: &mut Namespace,
        request: &EndpointRequest,
    ) -> Result<()> {
        let network = self.state().network(&endpoint.network)?.clone();
        match network.driver {
            Driver::Host | Driver::Null => Ok(()),
            Driver::Bridge => {
                self.add_veth(&network, endpoint, netns)?;
                self.set_up(&network, endpoint, netns, request)
            }
            Driver::Macvlan | Driver::Ipvlan => self.departed.wait_for(|| {
                self.add_shared(&network, endpoint, netns)?;
                self.set_up(&network, endpoint, netns, request)
            }),
        }
    }

    /// The rest, once there is an interface. On failure that is gone.
    fn set_up(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &mut Namespace,
        request: &EndpointRequest,
    ) -> Result<()> {
        let settings = option::sysctls(&request.options).map_err(Error::InvalidEndpoint)?;
        let view = self.spare.view();
        let port = match endpoint.host_interface.as_str() {
            "" => Ok(()),
            veth => kernel::port_only(veth),
        };
        let done = port.and_then(|()| configure_inside(endpoint, netns, network, &settings, view));
        let done = done.and_then(|()| {
            failpoint!("network.configured", Error::Failpoint("network.configured"));
            self.publish(endpoint)?;
            self.relink(endpoint)
        });
        if done.is_err() {
            self.unpublish(endpoint);
            let _ = self.delete_interface(endpoint, netns.as_fd());
        }
        done
    }

    /// The container's interface, whichever end of it is at hand.
    pub(super) fn delete_interface(
        &self,
        endpoint: &Endpoint,
        netns: std::os::fd::BorrowedFd<'_>,
    ) -> Result<()> {
        if endpoint.interface.is_empty() {
            return Ok(());
        }
        if !endpoint.host_interface.is_empty() {
            return Ok(kernel::delete_link(&mut self.host(), &endpoint.host_interface)?);
        }
        let mut inside = Namespace::enter(netns)?;
        Ok(kernel::delete_link(inside.rtnetlink(), &endpoint.interface)?)
    }

    fn add_shared(&self, network: &Network, endpoint: &Endpoint, netns: &Namespace) -> Result<()> {
        let sharing = parent::sharing(network)?;
        let parent = self.ensure_parent(network)?;
        let mac = endpoint.mac.filter(|_| network.driver == Driver::Macvlan).map(|m| m.0);
        let (name, mtu) = (endpoint.interface.as_str(), network.mtu().unwrap_or(0));
        let shared = Shared { name, parent, sharing, mac, mtu, netns: netns.as_fd() };
        Ok(self.host().change(vec![link::add_shared(&shared)])?)
    }

    pub(super) fn ensure_parent(&self, network: &Network) -> Result<u32> {
        parent::ensure(&mut self.host(), network, &self.alias(network))
    }

    pub(super) fn alias_prefix(&self) -> String {
        format!("{ANY_ALIAS}{} network ", self.config.engine_id)
    }

    fn alias(&self, network: &Network) -> String {
        format!("{}{}", self.alias_prefix(), network.name)
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
            kernel::add_veth(&mut self.host(), &veth, !network.icc(), endpoint.segment != 0)
        };
        let known = self.state().bridges.get(&(network.id.clone(), endpoint.segment)).copied();
        let master = match known {
            Some(index) => index,
            None => self.ensure_segment(network, endpoint.segment)?,
        };
        let result = match attempt(master) {
            // Somebody deleted the bridge.
            Err(e) if known.is_some() && (e.is(Errno::INVAL) || e.is(Errno::NODEV)) => {
                self.heal_bridges(network)?;
                let master = self.ensure_segment(network, endpoint.segment)?;
                let others: Vec<Endpoint> =
                    self.state().endpoints.values().filter(|o| o.id != endpoint.id).cloned().collect();
                self.reattach(&others, &mut Vec::new())?;
                attempt(master)
            }
            // Containers that ended a moment ago may still have their ports.
            Err(e) if e.is(Errno::XFULL) => {
                self.sweep_ports(master)?;
                attempt(master)
            }
            result => result,
        };
        result.map_err(|e| {
            let _ = kernel::delete_link(&mut self.host(), &endpoint.host_interface);
            if !e.is(Errno::XFULL) {
                return e.into();
            }
            if let Some(seats) = self.state().seats.get_mut(&network.id) {
                seats.mark_full(endpoint.segment);
            }
            Error::BridgeFull { network: network.name.clone() }
        })
    }

    /// The index of one of the network's bridges, which is made if it is not there.
    fn ensure_segment(&self, network: &Network, segment: u16) -> Result<u32> {
        let known = self.state().bridges.get(&(network.id.clone(), 0)).copied();
        let first = match known {
            Some(first) if segment != 0 => first,
            _ => self.ensure_bridge(network)?,
        };
        if segment == 0 {
            return Ok(first);
        }
        let alias = self.alias(network);
        let index = kernel::ensure_segment(&mut self.host(), network, segment, first, &alias)?;
        self.state().bridges.insert((network.id.clone(), segment), index);
        // Rules, too: a network of one bridge has none of them.
        self.replace_table()?;
        Ok(index)
    }

    /// All of the network's bridges that were in order once.
    pub(super) fn heal_bridges(&self, network: &Network) -> Result<()> {
        self.ensure_bridge(network)?;
        let segments: Vec<u16> = self.state().segments(&network.id).collect();
        segments.into_iter().try_for_each(|segment| self.ensure_segment(network, segment).map(drop))
    }

    /// The further bridges that containers are on.
    pub(super) fn restore_segments(&self, network: &Network) -> Result<()> {
        let used: std::collections::BTreeSet<u16> = {
            let state = self.state();
            let on_it = state.endpoints.values().filter(|e| e.network == network.id && e.segment != 0);
            on_it.map(|e| e.segment).collect()
        };
        used.into_iter().try_for_each(|segment| self.ensure_segment(network, segment).map(drop))
    }

    /// Makes the kernel's tables large enough for the containers that there are.
    pub(super) fn make_room_for_neighbours(&self) {
        let containers = {
            let mut state = self.state();
            let containers = state.endpoints.len();
            if containers <= state.neighbours.max(neighbours::FEW) {
                return;
            }
            // Twice as many at a time.
            state.neighbours = 2 * containers;
            2 * containers
        };
        neighbours::make_room(containers);
    }

    /// Makes the network's bridge or brings it in order, forwarding and firewall included.
    pub(super) fn ensure_bridge(&self, network: &Network) -> Result<u32> {
        let foreign_allowed = match network.predefined {
            true => self.config.bridge.is_some(),
            false => network.options.contains_key(option::BRIDGE_NAME),
        };
        let alias = self.alias(network);
        let index = kernel::ensure_bridge(&mut self.host(), network, foreign_allowed, &alias)?;
        self.state().bridges.insert((network.id.clone(), 0), index);
        let entries = self.bridge_facts(network).entries();
        self.change_table(&entries, |table| table.add(&entries))?;
        for ipv4 in [true, false] {
            if network.subnet(ipv4).is_some() && !network.internal {
                self.turn_forwarding_on(ipv4);
            }
        }
        Ok(index)
    }

    /// After an endpoint came or went: what containers with links reach on a network where they do not talk.
    pub(super) fn relink(&self, changed: &Endpoint) -> Result<()> {
        let apart = {
            let state = self.state();
            let network = state.networks.get(&changed.network);
            let apart = network.filter(|n| n.driver == Driver::Bridge && !n.icc()).cloned();
            let linked =
                || !changed.reaches.is_empty() || state.endpoints.values().any(|e| !e.reaches.is_empty());
            apart.filter(|_| linked())
        };
        let Some(network) = apart.filter(|_| self.firewall.is_some()) else { return Ok(()) };
        self.replace_table()?;
        // The firewall comes first: it decides who of them is let through.
        let linked = self.state().links().any(|(on, _)| on == network.id);
        kernel::set_proxy_arp(&network.bridge, linked)
    }

    /// The firewall is closed for others before the switch is thrown.
    fn turn_forwarding_on(&self, ipv4: bool) {
        if !self.config.ip_forward || kernel::forwarding(ipv4) {
            return;
        }
        let links = self.host().links().unwrap_or_default();
        let theirs = |l: &&link::Link| l.kind == "bridge" && !l.alias.starts_with(ANY_ALIAS);
        {
            let mut state = self.state();
            let ours: Vec<u32> = state.bridges.values().copied().collect();
            for bridge in links.iter().filter(theirs).filter(|l| !ours.contains(&l.index)) {
                if !state.forwarding.bridges.contains(&bridge.name) {
                    state.forwarding.bridges.push(bridge.name.clone());
                }
            }
            *state.forwarding.family(ipv4) = true;
        }
        let thrown = self.replace_table().and_then(|()| kernel::enable_forwarding(ipv4)).and_then(|()| {
            let row = self.state().forwarding.clone();
            self.store.write::<_, Error>(|tx| Ok(tx.put(crate::forwarding::KEY, &row)?))
        });
        if let Err(error) = thrown {
            if !kernel::forwarding(ipv4) {
                *self.state().forwarding.family(ipv4) = false;
            }
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            tracing::warn!(%error, family, "forwarding is disabled: containers reach this host only");
        }
    }

    pub(super) fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let entries = self.endpoint_entries(endpoint);
        if entries.is_empty() {
            return Ok(());
        }
        if self.firewall.is_none() {
            return Err(publish_error(
                endpoint,
                PublishError::Firewall("the firewall is off (--iptables=false)".into()),
            ));
        }
        self.change_table(&entries, |table| table.add(&entries)).map_err(|e| match e {
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
        let entries = self.endpoint_entries(endpoint);
        if entries.is_empty() {
            return;
        }
        // Should the whole table be rendered meanwhile, then without them.
        if let Some(remembered) = self.state().endpoints.get_mut(&endpoint.key()) {
            remembered.ports.clear();
        }
        if let Err(error) = self.change_table(&entries, |table| table.remove(&entries)) {
            tracing::warn!(%error, endpoint = endpoint.id, "could not take published ports out of the firewall");
        }
        for ip in endpoint.addresses() {
            let Err(error) = kernel::forget_flows_of(ip, &endpoint.ports) else { continue };
            tracing::warn!(%error, endpoint = endpoint.id, "datagrams may still go to the container's former address");
        }
    }

    /// The endpoint's ports are others than before; its record says so already. What stays is not touched, but for an interval
    /// that is cut.
    pub(super) fn change_ports(&self, before: &Endpoint, after: &Endpoint) -> Result<()> {
        let (had, has) = (self.endpoint_entries(before), self.endpoint_entries(after));
        let gone: Vec<Placed> = had.iter().filter(|entry| !has.contains(entry)).cloned().collect();
        let new: Vec<Placed> = has.iter().filter(|entry| !had.contains(entry)).cloned().collect();
        if self.firewall.is_none() && !new.is_empty() {
            let off = PublishError::Firewall("the firewall is off (--iptables=false)".into());
            return Err(publish_error(after, off));
        }
        let change = |table: &mut Firewall| {
            if !gone.is_empty() {
                table.remove(&gone)?;
            }
            if new.is_empty() { Ok(()) } else { table.add(&new) }
        };
        self.change_table(&new, change).map_err(|e| match e {
            Error::Kernel(e) => publish_error(after, PublishError::Firewall(e.to_string())),
            e => e,
        })?;
        let of = |one: &Endpoint, other: &Endpoint| -> Vec<PublishedPort> {
            one.ports.iter().filter(|port| !other.ports.contains(port)).cloned().collect()
        };
        let (gone, new) = (of(before, after), of(after, before));
        if let Err(error) = kernel::forget_flows_to(&mut self.host(), &new) {
            tracing::warn!(%error, endpoint = after.id, "senders of datagrams may not reach a published port at once");
        }
        for ip in after.addresses().filter(|_| !gone.is_empty()) {
            let Err(error) = kernel::forget_flows_of(ip, &gone) else { continue };
            tracing::warn!(%error, endpoint = after.id, "datagrams may still go to the container's former port");
        }
        Ok(())
    }

    /// Changes elements; when a table is not there (first use, or somebody flushed it) or disagrees, all of it is put in
    /// its place.
    pub(super) fn change_table(
        &self,
        entries: &[Placed],
        change: impl FnOnce(&mut Firewall) -> Result<(), knarr_netlink::Error>,
    ) -> Result<()> {
        let Some(table) = &self.firewall else { return Ok(()) };
        let mut table = lock(table);
        if table.in_place && table.firewall.has_room_for(entries) {
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
        self.state().facts(&self.config)
    }

    pub(super) fn bridge_facts(&self, network: &Network) -> BridgeFacts {
        let segments = self.state().segment_names(&network.id);
        bridge_facts(network, &self.config, segments)
    }

    fn endpoint_entries(&self, endpoint: &Endpoint) -> Vec<Placed> {
        let state = self.state();
        let Some(network) = state.networks.get(&endpoint.network) else { return Vec::new() };
        port_facts(endpoint, network, &self.config).iter().flat_map(port_entries).collect()
    }

    /// Gives whether it was in the kernel, as far as we know.
    pub(super) fn forget_bridge(&self, id: &NetworkId) -> bool {
        let mut state = self.state();
        let segments: Vec<u16> = state.segments(id).collect();
        for segment in segments {
            state.bridges.remove(&(id.clone(), segment));
        }
        state.bridges.remove(&(id.clone(), 0)).is_some()
    }
}

fn configure_inside(
    endpoint: &Endpoint,
    netns: &mut Namespace,
    network: &Network,
    settings: &[(String, String)],
    view: &View,
) -> Result<()> {
    let interface = endpoint.interface.as_str();
    if endpoint.ipv6.is_some() || !settings.is_empty() {
        let ipv6 = endpoint.ipv6.is_some();
        Namespace::run(netns.as_fd(), || {
            if ipv6 {
                kernel::enable_ipv6_here(view, interface)?;
            }
            kernel::set_interface_here(view, interface, settings)
        })?;
    }
    let inside = netns.rtnetlink();
    let index = interface_index(inside, interface)?;
    let mut changes = vec![link::set_up(index)];
    for (ip, prefix) in
        [(endpoint.ipv4.map(IpAddr::V4), endpoint.prefix), (endpoint.ipv6.map(IpAddr::V6), endpoint.prefix6)]
    {
        let Some(ip) = ip else { continue };
        changes.push(address::add(index, net(ip, prefix)?));
    }
    for ip in &endpoint.link_local {
        changes.push(address::add(index, net(*ip, LINK_LOCAL_PREFIX[usize::from(ip.is_ipv6())])?));
    }
    for ipv4 in [true, false] {
        if endpoint.is_default(ipv4) {
            changes.extend(default_route(endpoint, network, ipv4, index, route::add));
        }
    }
    Ok(inside.change(changes)?)
}

pub(super) fn interface_index(inside: &mut knarr_netlink::Rtnetlink, interface: &str) -> Result<u32> {
    let link = inside.link(interface)?;
    Ok(link.ok_or_else(|| Error::Invalid(format!("interface {interface} vanished")))?.index)
}

fn net(ip: IpAddr, prefix: u8) -> Result<IpNet> {
    IpNet::new(ip, prefix).map_err(|e| Error::Invalid(e.to_string()))
}

/// A request that adds or deletes the default route through an endpoint; `None`: there is none.
pub(super) fn default_route(
    endpoint: &Endpoint,
    network: &Network,
    ipv4: bool,
    link: u32,
    request: impl Fn(IpNet, Option<IpAddr>, u32) -> Request,
) -> Option<Request> {
    let everything = route::everything(ipv4);
    match endpoint.default_gateway(ipv4) {
        Some(gateway) => Some(request(everything, Some(gateway), link)),
        None if network.routes_by_device() && network.has_gateway(ipv4) => {
            Some(request(everything, None, link))
        }
        None => None,
    }
}

fn family(ipv4: bool) -> Family {
    if ipv4 { Family::Ipv4 } else { Family::Ipv6 }
}

/// The families that the engine's firewall is about.
fn families(config: &NetworkConfig) -> impl Iterator<Item = bool> {
    [true].into_iter().chain(config.firewall_v6.then_some(false))
}

fn bridge_facts(network: &Network, config: &NetworkConfig, segments: Vec<String>) -> BridgeFacts {
    let options = network.options();
    let of = |ipv4| {
        let subnet = network.subnet(ipv4)?.subnet;
        Some(FamilyFacts {
            family: family(ipv4),
            subnet,
            mode: network.mode(ipv4),
            masquerade: network.masquerade(ipv4),
            source: options.source(ipv4),
            direct: config.direct_routing,
        })
    };
    BridgeFacts {
        name: network.bridge.clone(),
        families: families(config).filter_map(of).collect(),
        icc: network.icc(),
        internal: network.internal,
        segments,
        trusted: options.trusted().map(str::to_owned).collect(),
    }
}

impl State {
    /// With the network of each. One that leads to a container that is not there is none.
    fn links(&self) -> impl Iterator<Item = (NetworkId, LinkFacts)> {
        let linking = self.endpoints.values().filter(|e| !e.reaches.is_empty());
        let apart = linking.filter(|e| self.networks.get(&e.network).is_some_and(|n| !n.icc()));
        apart.flat_map(|e| {
            e.reaches.iter().filter_map(|reach| {
                let other = self.endpoints.get(&Endpoint::key_of(&reach.container, &e.network))?;
                let (protocol, port) = (reach.protocol, reach.port);
                Some((e.network.clone(), LinkFacts { from: e.ipv4?, protocol, to: other.ipv4?, port }))
            })
        })
    }

    /// What the firewall is made of.
    pub(super) fn facts(&self, config: &NetworkConfig) -> Facts {
        let known = self.networks.values().filter(|n| self.bridges.contains_key(&(n.id.clone(), 0)));
        let ports = self.endpoints.values().filter_map(|e| Some((e, self.networks.get(&e.network)?)));
        let links = self.links().map(|(_, link)| link).collect();
        let closed = [
            (self.forwarding.ipv4, Family::Ipv4),
            (self.forwarding.ipv6 && config.firewall_v6, Family::Ipv6),
        ];
        Facts {
            engine_id: config.engine_id.clone(),
            bridges: known.map(|n| bridge_facts(n, config, self.segment_names(&n.id))).collect(),
            ports: ports.flat_map(|(e, n)| port_facts(e, n, config)).collect(),
            links,
            closed: closed
                .into_iter()
                .filter(|(on, _)| *on && !config.ip_forward_no_drop)
                .map(|(_, f)| f)
                .collect(),
            closed_bridges: self.forwarding.bridges.clone(),
        }
    }
}

fn port_facts(endpoint: &Endpoint, network: &Network, config: &NetworkConfig) -> Vec<PortFacts> {
    let of = |ipv4| {
        let ip = endpoint.address(ipv4)?;
        let ports: Vec<_> = endpoint.ports.iter().filter(|p| p.host_ip.is_ipv4() == ipv4).cloned().collect();
        let routed = network.mode(ipv4) == GatewayMode::Routed;
        (!ports.is_empty()).then(|| PortFacts {
            family: family(ipv4),
            ip,
            ports,
            opened: routed || config.direct_routing || network.options().trusted().next().is_some(),
            owner: endpoint.container.short().to_owned(),
        })
    };
    if endpoint.ports.is_empty() {
        return Vec::new();
    }
    families(config).filter_map(of).collect()
}

pub(super) fn publish_error(endpoint: &Endpoint, source: PublishError) -> Error {
    Error::Publish {
        name: endpoint.container_name.clone(),
        endpoint: endpoint.id.clone(),
        source: source.into(),
    }
}
