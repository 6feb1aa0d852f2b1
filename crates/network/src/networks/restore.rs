//! Rows against the kernel: after a start of the engine, after somebody meddled, at the end.
use super::{Networks, lock};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::kernel;
use crate::network::{Driver, Network};
use crate::publish::Reservation;
use crate::segment;
use knarr_base::ContainerId;
use knarr_netlink::link::Link;
use std::collections::{BTreeSet, HashMap};

impl Networks {
    pub(super) fn restore_all(&self, alive: &[ContainerId]) -> Result<Vec<String>> {
        let alive: BTreeSet<&ContainerId> = alive.iter().collect();
        let mut warnings = Vec::new();
        let endpoints: Vec<Endpoint> = self.state().endpoints.values().cloned().collect();
        let (kept, ended): (Vec<_>, Vec<_>) =
            endpoints.into_iter().partition(|e| alive.contains(&e.container));
        self.release_endpoints(&ended)?;
        for network in self.bridged() {
            let made = self.ensure_bridge(&network).and_then(|_| self.restore_segments(&network));
            if let Err(e) = made {
                warnings.push(format!("network {}: {e}", network.name));
            }
        }
        for network in self.with_parent() {
            if let Err(e) = self.ensure_parent(&network) {
                warnings.push(format!("network {}: {e}", network.name));
            }
        }
        for endpoint in &kept {
            warnings.extend(self.restore_ports(endpoint));
        }
        // Whatever an engine that died half-way left in the table is gone with this.
        self.replace_table()?;
        kept.iter().try_for_each(|endpoint| self.restore_link(endpoint))?;
        self.reattach(&kept, &mut warnings)?;
        self.sweep(&kept)?;
        self.guard()?;
        Ok(warnings)
    }

    fn restore_link(&self, endpoint: &Endpoint) -> Result<()> {
        if endpoint.reaches.is_empty() { Ok(()) } else { self.relink(endpoint) }
    }

    fn with_parent(&self) -> Vec<Network> {
        self.state().networks.values().filter(|n| n.driver.has_parent()).cloned().collect()
    }

    fn bridged(&self) -> Vec<Network> {
        self.state().networks.values().filter(|n| n.driver == Driver::Bridge).cloned().collect()
    }

    fn restore_ports(&self, endpoint: &Endpoint) -> Vec<String> {
        if endpoint.ports.is_empty() {
            return Vec::new();
        }
        let mut state = self.state();
        if state.has_reservation(&endpoint.key()) {
            return Vec::new();
        }
        let (mut reservation, failures) =
            Reservation::remake(&endpoint.ports, self.config.relays, |ipv4| endpoint.address(ipv4));
        let served = reservation.serve(&self.relays);
        state.hold(endpoint.key(), reservation);
        let failures = failures.iter().map(ToString::to_string);
        let failures = failures.chain(served.err().map(|e| format!("relay published ports: {e}")));
        failures.map(|f| format!("container {}: {f}", endpoint.container_name)).collect()
    }

    pub(super) fn replace_table(&self) -> Result<()> {
        if let Some(table) = &self.firewall {
            lock(table).in_place = false;
        }
        self.change_table(&[], |_| Ok(()))
    }

    /// Veths of running containers that lost their bridge (it was deleted and made anew) join it again.
    pub(super) fn reattach(&self, kept: &[Endpoint], warnings: &mut Vec<String>) -> Result<()> {
        let links = self.host().links()?;
        let links: HashMap<&str, &Link> = links.iter().map(|l| (l.name.as_str(), l)).collect();
        let bridges = self.state().bridges.clone();
        for endpoint in kept.iter().filter(|e| !e.host_interface.is_empty()) {
            let wanted = bridges.get(&(endpoint.network.clone(), endpoint.segment)).copied();
            let Some(link) = links.get(endpoint.host_interface.as_str()) else {
                warnings.push(format!(
                    "container {}: interface {} is gone",
                    endpoint.container_name, endpoint.interface
                ));
                continue;
            };
            if let Some(bridge) = wanted.filter(|w| link.master != Some(*w)) {
                use knarr_netlink::link::{set_master, set_up};
                self.host().change(vec![set_master(link.index, bridge), set_up(link.index)])?;
            }
        }
        Ok(())
    }

    /// Ports of our bridges that no endpoint owns, and bridges and parents of ours that no network owns.
    fn sweep(&self, kept: &[Endpoint]) -> Result<()> {
        let links = self.host().links()?;
        let bridges: BTreeSet<u32> = self.state().bridges.values().copied().collect();
        let owned: BTreeSet<&str> = kept.iter().map(|e| e.host_interface.as_str()).collect();
        let parents: BTreeSet<String> = self.with_parent().into_iter().map(|n| n.parent).collect();
        let alias = self.alias_prefix();
        let trunks: Vec<segment::Names> = {
            let state = self.state();
            let further = state.bridges.keys().filter(|(_, segment)| *segment != 0);
            further.map(|(network, segment)| segment::Names::new(network, *segment)).collect()
        };
        for link in &links {
            let stale_veth = link.master.is_some_and(|m| bridges.contains(&m))
                && kernel::is_veth_name(&link.name)
                && !owned.contains(link.name.as_str());
            let stale_trunk = link.kind == "veth"
                && link.alias.starts_with(&alias)
                && !trunks.iter().any(|names| names.is_trunk(&link.name));
            let stale_bridge =
                link.kind == "bridge" && link.alias.starts_with(&alias) && !bridges.contains(&link.index);
            let stale_parent = matches!(link.kind.as_str(), "vlan" | "dummy")
                && link.alias.starts_with(&alias)
                && !parents.contains(&link.name);
            if stale_veth || stale_trunk || stale_bridge || stale_parent {
                tracing::info!(link = link.name, "removed an interface that nothing owns");
                kernel::delete_link(&mut self.host(), &link.name)?;
            }
        }
        Ok(())
    }

    /// Ports of one bridge that no endpoint owns: of containers whose namespaces the kernel has not taken down yet.
    pub(super) fn sweep_ports(&self, bridge: u32) -> Result<()> {
        let links = self.host().links()?;
        let owned: BTreeSet<String> =
            self.state().endpoints.values().map(|e| e.host_interface.clone()).collect();
        let ports = links.iter().filter(|l| l.master == Some(bridge) && kernel::is_veth_name(&l.name));
        for link in ports.filter(|l| !owned.contains(&l.name)) {
            kernel::delete_link(&mut self.host(), &link.name)?;
        }
        Ok(())
    }

    pub(super) fn heal_all(&self) -> Result<()> {
        for network in self.bridged() {
            if self.state().bridges.contains_key(&(network.id.clone(), 0)) {
                self.heal_bridges(&network)?;
            }
        }
        self.replace_table()?;
        let kept: Vec<Endpoint> = self.state().endpoints.values().cloned().collect();
        kept.iter().try_for_each(|endpoint| self.restore_link(endpoint))?;
        self.reattach(&kept, &mut Vec::new())
    }

    pub(super) fn leave_kernel(&self) -> Result<()> {
        if !self.state().endpoints.is_empty() {
            return Ok(());
        }
        if let Some(table) = &self.firewall {
            let mut table = lock(table);
            table.firewall.delete()?;
            table.in_place = false;
        }
        let links = self.host().links()?;
        for network in self.bridged() {
            self.delete_segments(&network)?;
            self.forget_bridge(&network.id);
            let ours = links.iter().find(|l| l.name == network.bridge && kernel::is_ours(l, &network.id));
            if let Some(link) = ours {
                kernel::delete_link(&mut self.host(), &link.name)?;
            }
        }
        let made = self.alias_prefix();
        for network in self.with_parent() {
            let ours = links.iter().find(|l| l.name == network.parent && l.alias.starts_with(&made));
            if let Some(link) = ours {
                kernel::delete_link(&mut self.host(), &link.name)?;
            }
        }
        Ok(())
    }

    pub(super) fn kernel_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !kernel::forwarding(true) {
            warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
        }
        let ipv6 = self.state().networks.values().any(|n| n.ipv6 && n.driver == Driver::Bridge);
        if ipv6 && !kernel::forwarding(false) {
            warnings.push("WARNING: IPv6 forwarding is disabled".to_owned());
        }
        if let Some(table) = &self.firewall {
            let drops = lock(table).firewall.foreign_drops(ipv6);
            warnings.extend(drops.into_iter().flatten().map(|chain| {
                format!(
                    "WARNING: chain {chain} of another firewall drops forwarded packets: unless a rule of it accepts \
                     those of the containers' bridges, containers do not reach other networks, nor others their ports"
                )
            }));
        }
        warnings
    }
}
