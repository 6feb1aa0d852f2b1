//! User-defined networks come and go.
use super::Networks;
use super::state::{blank, routes};
use crate::create::{AddressConfig, CreateNetwork};
use crate::error::{Error, Result};
use crate::kernel;
use crate::network::{Driver, Network, option, parse_flag};
use crate::pools;
use ipnet::Ipv4Net;
use knarr_base::failpoint;

/// Names of interfaces have at most this many bytes.
const MAX_INTERFACE_NAME: usize = 15;
/// Longest name of a network.
const MAX_NAME: usize = 255;
/// What an interface may carry.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

impl Networks {
    pub(super) fn create_network(&self, request: &CreateNetwork) -> Result<Network> {
        check(request)?;
        let routes = routes(&mut self.host(), None)?;
        let network = {
            let mut state = self.state();
            if state.by_name(&request.name).is_some() {
                return Err(Error::NameTaken(request.name.clone()));
            }
            let network = plan(request, &self.config.pools(), &state.subnets(None), &routes)?;
            if let Some(other) = state.networks.values().find(|n| n.bridge == network.bridge) {
                let (id, other) = (network.id.to_string(), other.id.to_string());
                return Err(Error::SameBridge { id, other, bridge: network.bridge });
            }
            state.networks.insert(network.id.clone(), network.clone());
            state.make_allocator(&network.id);
            network
        };
        let made =
            self.store.write::<_, Error>(|tx| Ok(tx.put(network.id.as_str(), &network)?)).and_then(|()| {
                failpoint!("network.recorded", Error::Failpoint("network.recorded"));
                self.ensure_bridge(&network)
            });
        if let Err(e) = made {
            let _ = self.erase(&network);
            return Err(e);
        }
        Ok(network)
    }

    pub(super) fn remove_network(&self, text: &str) -> Result<Network> {
        let network = {
            let mut state = self.state();
            let id = state.resolve(text)?;
            let network = state.described(&id)?;
            if network.predefined {
                return Err(Error::CannotRemove(network.name));
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

    /// Bridge, firewall, row, memory.
    fn erase(&self, network: &Network) -> Result<()> {
        {
            let mut host = self.host();
            let link = host.link(&network.bridge)?;
            // A bridge that somebody else made stays.
            if link.is_some_and(|l| kernel::is_ours(&l, &network.id)) {
                kernel::delete_link(&mut host, &network.bridge)?;
            }
        }
        self.forget_bridge(&network.id);
        failpoint!("network.removed", Error::Failpoint("network.removed"));
        self.store.write::<_, Error>(|tx| Ok(tx.delete::<Network>(network.id.as_str())?))?;
        {
            let mut state = self.state();
            state.networks.remove(&network.id);
            state.allocators.remove(&network.id);
        }
        let entries = super::attach::bridge_facts(network).entries();
        self.change_table(|table| table.remove(&entries))
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn check(request: &CreateNetwork) -> Result<()> {
    let name = &request.name;
    if name.trim().is_empty() {
        return Err(Error::InvalidName("name is empty".into()));
    }
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::InvalidName(format!("{name:?}: more than {MAX_NAME} bytes or unprintable")));
    }
    if ["bridge", "host", "none", "default"].contains(&name.as_str()) {
        return Err(Error::Predefined(name.clone()));
    }
    match request.driver.as_str() {
        "" | "bridge" => {}
        "host" | "null" => return Err(Error::OnlyOne(request.driver.clone())),
        other => return Err(Error::UnknownDriver(other.to_owned())),
    }
    if !matches!(request.ipam_driver.as_str(), "" | "default") {
        return Err(Error::UnknownDriver(request.ipam_driver.clone()));
    }
    if request.ipv6 {
        return Err(Error::Unsupported("IPv6 networks are not supported yet".into()));
    }
    if request.subnets.len() > 1 {
        return Err(Error::Invalid("bridge driver doesn't support multiple subnets".into()));
    }
    Ok(())
}

fn plan(
    request: &CreateNetwork,
    pools: &[crate::config::AddressPool],
    networks: &[Ipv4Net],
    routes: &[Ipv4Net],
) -> Result<Network> {
    let default = AddressConfig::default();
    let subnet = pools::complete(request.subnets.first().unwrap_or(&default), pools, networks, routes)?;
    let mut network = blank(&request.name, Driver::Bridge)?;
    network.predefined = false;
    network.internal = request.internal;
    network.attachable = request.attachable;
    network.ipam_options.clone_from(&request.ipam_options);
    network.options.clone_from(&request.options);
    network.labels.clone_from(&request.labels);
    network.subnets = vec![subnet];
    network.chosen_subnet = request.subnets.iter().any(|s| s.subnet.is_some());
    network.bridge = match request.options.get(option::BRIDGE_NAME) {
        Some(name) => name.clone(),
        None => format!("br-{}", network.id.short()),
    };
    let bytes = network.bridge.as_bytes();
    let valid = !bytes.is_empty()
        && bytes.len() <= MAX_INTERFACE_NAME
        && !bytes.iter().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | 0))
        && network.bridge != "."
        && network.bridge != "..";
    if !valid {
        return Err(Error::Invalid(format!("invalid bridge name {:?}", network.bridge)));
    }
    check_options(&network)?;
    Ok(network)
}

/// Options that would be silently taken for their defaults otherwise.
fn check_options(network: &Network) -> Result<()> {
    let invalid = |option, reason| {
        let value = network.options.get(option).cloned().unwrap_or_default();
        Err(Error::InvalidOption { option, value, reason })
    };
    let given = |name| network.options.get(name).map(String::as_str);
    for name in [option::ICC, option::MASQUERADE] {
        if given(name).is_some_and(|text| parse_flag(text).is_none()) {
            return invalid(name, "not a boolean");
        }
    }
    if given(option::MTU)
        .is_some_and(|text| !text.parse().is_ok_and(|mtu: u32| mtu == 0 || MTUS.contains(&mtu)))
    {
        return invalid(option::MTU, "not a number from 68 to 65535");
    }
    if given(option::HOST_BINDING).is_some_and(|text| text.parse::<std::net::Ipv4Addr>().is_err()) {
        return invalid(option::HOST_BINDING, "not an IPv4 address");
    }
    Ok(())
}
