//! User-defined networks come and go.
use super::Networks;
use super::plan::{check, plan};
use super::state::{State, routes};
use crate::create::CreateNetwork;
use crate::error::{Error, Result};
use crate::kernel;
use crate::network::{Driver, Network};
use crate::parent;
use knarr_base::failpoint;

impl Networks {
    pub(super) fn create_network(&self, request: &CreateNetwork) -> Result<Network> {
        check(request)?;
        let routes = routes(&mut self.host(), None)?;
        let network = {
            let mut state = self.state();
            if state.by_name(&request.name).is_some() {
                return Err(Error::NameTaken(request.name.clone()));
            }
            let request = state.configured(request)?;
            let network = plan(&request, &self.config, &state.subnets(None), &routes)?;
            state.check_neighbours(&network)?;
            state.networks.insert(network.id.clone(), network.clone());
            state.make_allocator(&network.id);
            network
        };
        let made =
            self.store.write::<_, Error>(|tx| Ok(tx.put(network.id.as_str(), &network)?)).and_then(|()| {
                failpoint!("network.recorded", Error::Failpoint("network.recorded"));
                self.make_in_kernel(&network)
            });
        if let Err(e) = made {
            let _ = self.erase(&network);
            return Err(e);
        }
        Ok(network)
    }

    fn make_in_kernel(&self, network: &Network) -> Result<()> {
        match network.driver {
            Driver::Bridge => drop(self.ensure_bridge(network)?),
            Driver::Macvlan | Driver::Ipvlan => {
                let parent = self.ensure_parent(network)?;
                let sharing = parent::sharing(network)?;
                self.departed.wait_for(|| parent::probe(parent, sharing))?;
            }
            Driver::Host | Driver::Null => {}
        }
        Ok(())
    }

    pub(super) fn remove_network(&self, text: &str) -> Result<Network> {
        let network = {
            let mut state = self.state();
            let id = state.resolve(text)?;
            let network = state.described(&id)?;
            if network.predefined {
                return Err(Error::CannotRemove(network.name));
            }
            let users =
                state.networks.values().filter(|n| network.config_only && n.config_from == network.name);
            let users: Vec<&str> = users.map(|n| n.name.as_str()).collect();
            if !users.is_empty() {
                return Err(Error::ConfigurationInUse { name: network.name, users: users.join(", ") });
            }
            if !network.containers.is_empty() {
                let active = network.containers.values();
                let endpoints: Vec<String> =
                    active.map(|c| format!("name:{:?} id:{:?}", c.name, short(&c.endpoint_id))).collect();
                return Err(Error::InUse { name: network.name, endpoints: endpoints.join(", ") });
            }
            // From here on nobody joins it.
            state.allocators.remove(&id);
            network
        };
        self.erase(&network)?;
        Ok(network)
    }

    /// Bridge or parent, firewall, row, memory.
    fn erase(&self, network: &Network) -> Result<()> {
        match network.driver {
            Driver::Bridge => {
                self.delete_segments(network)?;
                let mut host = self.host();
                let link = host.link(&network.bridge)?;
                // A bridge that somebody else made stays.
                if link.is_some_and(|l| kernel::is_ours(&l, &network.id)) {
                    kernel::delete_link(&mut host, &network.bridge)?;
                }
            }
            Driver::Macvlan | Driver::Ipvlan => self.remove_parent(network)?,
            Driver::Host | Driver::Null => {}
        }
        let facts = self.bridge_facts(network);
        let in_table = self.forget_bridge(&network.id);
        failpoint!("network.removed", Error::Failpoint("network.removed"));
        self.store.write::<_, Error>(|tx| Ok(tx.delete::<Network>(network.id.as_str())?))?;
        {
            let mut state = self.state();
            state.networks.remove(&network.id);
            state.allocators.remove(&network.id);
            state.seats.remove(&network.id);
        }
        if !in_table {
            return Ok(());
        }
        // Rules, too: without further bridges there are none about them.
        if !facts.segments.is_empty() {
            return self.replace_table();
        }
        let entries = facts.entries();
        self.change_table(&entries, |table| table.remove(&entries))
    }

    pub(super) fn delete_segments(&self, network: &Network) -> Result<()> {
        let segments: Vec<u16> = self.state().segments(&network.id).collect();
        let mut host = self.host();
        for segment in segments {
            kernel::delete_segment(&mut host, &network.id, segment)?;
        }
        Ok(())
    }

    /// One that was made for networks goes with the last of them.
    fn remove_parent(&self, network: &Network) -> Result<()> {
        let shared = self.state().networks.values().any(|n| n.id != network.id && n.parent == network.parent);
        let mut host = self.host();
        let link = host.link(&network.parent)?;
        if !shared && link.is_some_and(|l| l.alias.starts_with(&self.alias_prefix())) {
            kernel::delete_link(&mut host, &network.parent)?;
        }
        Ok(())
    }
}

impl State {
    /// With the configuration of another network, if it is made from one.
    fn configured(&self, request: &CreateNetwork) -> Result<CreateNetwork> {
        let mut request = request.clone();
        if request.config_from.is_empty() {
            return Ok(request);
        }
        let missing = || Error::NoConfiguration(request.config_from.clone());
        let from = self.by_name(&request.config_from).filter(|n| n.config_only).ok_or_else(missing)?;
        let own = !(request.subnets.is_empty()
            && request.options.is_empty()
            && request.labels.is_empty()
            && request.ipam_options.is_empty()
            && request.ipv6.is_none());
        if own {
            return Err(Error::Invalid("user specified configurations are not supported if the network depends on a configuration network".into()));
        }
        (request.ipv4, request.ipv6) = (Some(from.ipv4), Some(from.ipv6));
        request.options.clone_from(&from.options);
        request.labels.clone_from(&from.labels);
        request.ipam_options.clone_from(&from.ipam_options);
        request.subnets = from.subnets.iter().map(crate::create::AddressConfig::from).collect();
        Ok(request)
    }

    /// Whether others leave room in the kernel.
    fn check_neighbours(&self, network: &Network) -> Result<()> {
        let others = || self.networks.values().filter(|n| !n.config_only);
        if network.driver == Driver::Bridge
            && let Some(other) = others().find(|n| n.bridge == network.bridge)
        {
            let (id, other) = (network.id.to_string(), other.id.to_string());
            return Err(Error::SameBridge { id, other, bridge: network.bridge.clone() });
        }
        let alone = |n: &Network| {
            n.driver == Driver::Macvlan && n.options().text(crate::option::MACVLAN_MODE) == Some("passthru")
        };
        let same = others().find(|n| network.driver.has_parent() && n.parent == network.parent);
        match same {
            Some(other) if alone(network) || alone(other) => Err(Error::Invalid(format!(
                "cannot use mode passthru, {} network {} is already using parent interface {}",
                other.driver.as_str(),
                other.id,
                network.parent
            ))),
            _ => Ok(()),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
