//! From what is asked for to a network's row. Pure.
use super::state::blank;
use crate::config::NetworkConfig;
use crate::create::{AddressConfig, CreateNetwork};
use crate::error::{Error, Result};
use crate::network::{Driver, Network, Subnet};
use crate::option::{self, Options, check_interface, parse_flag};
use crate::{parent, pools};
use ipnet::IpNet;

/// Longest name of a network.
const MAX_NAME: usize = 255;

impl From<&Subnet> for AddressConfig {
    /// What the user chose of it.
    fn from(subnet: &Subnet) -> Self {
        Self {
            subnet: subnet.chosen.then_some(subnet.subnet),
            ip_range: subnet.ip_range,
            gateway: subnet.gateway_chosen.then_some(subnet.gateway),
            auxiliary: subnet.auxiliary.clone(),
        }
    }
}

/// What needs no look at other networks.
pub(super) fn check(request: &CreateNetwork) -> Result<()> {
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
    driver(request)?;
    if !matches!(request.ipam_driver.as_str(), "" | "default") {
        return Err(Error::UnknownDriver(request.ipam_driver.clone()));
    }
    if request.config_only && !request.config_from.is_empty() {
        return Err(Error::Invalid(
            "cannot create a configuration network that depends on another one".into(),
        ));
    }
    let complaints: Vec<String> = request.subnets.iter().flat_map(pools::complaints).collect();
    match complaints.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::InvalidNetwork(one.clone())),
        many => {
            let lines: Vec<String> = many.iter().map(|text| format!("* {text}")).collect();
            Err(Error::InvalidNetwork(lines.join("\n")))
        }
    }
}

fn driver(request: &CreateNetwork) -> Result<Driver> {
    let text = request.driver.as_str();
    if request.config_only {
        return Ok(Driver::Null);
    }
    match text {
        "" => Ok(Driver::Bridge),
        "host" | "null" => Err(Error::OnlyOne(text.to_owned())),
        text => Driver::parse(text).ok_or_else(|| Error::UnknownDriver(text.to_owned())),
    }
}

/// `networks` are the subnets of other networks, `routes` the host's.
pub(super) fn plan(
    request: &CreateNetwork,
    config: &NetworkConfig,
    networks: &[IpNet],
    routes: &[IpNet],
) -> Result<Network> {
    let driver = driver(request)?;
    let mut network = blank(&request.name, driver)?;
    network.predefined = false;
    network.internal = request.internal;
    network.attachable = request.attachable;
    network.config_only = request.config_only;
    network.config_from.clone_from(&request.config_from);
    network.ipam_options.clone_from(&request.ipam_options);
    network.options.clone_from(&request.options);
    network.labels.clone_from(&request.labels);
    if !request.config_only {
        for (name, value) in config.default_network_options.get(driver.as_str()).into_iter().flatten() {
            network.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let family = |asked: Option<bool>, name: &str, default: bool| {
        let option = network.options.get(name).and_then(|text| parse_flag(text));
        asked.or(option).unwrap_or(default)
    };
    let (ipv4, ipv6) =
        (family(request.ipv4, option::ENABLE_V4, true), family(request.ipv6, option::ENABLE_V6, false));
    (network.ipv4, network.ipv6) = (ipv4, ipv6);
    if !ipv4 && !ipv6 {
        return Err(Error::NoFamily);
    }
    match driver {
        Driver::Bridge => plan_bridge(&mut network)?,
        Driver::Macvlan | Driver::Ipvlan => plan_parent(&mut network)?,
        Driver::Host | Driver::Null => {}
    }
    network.subnets = subnets(&network, request, config, networks, routes)?;
    Ok(network)
}

fn plan_bridge(network: &mut Network) -> Result<()> {
    network.options().check_bridge(network.internal)?;
    network.bridge = match network.options.get(option::BRIDGE_NAME) {
        Some(name) => name.clone(),
        None => format!("br-{}", network.id.short()),
    };
    check_interface(&network.bridge)
}

fn plan_parent(network: &mut Network) -> Result<()> {
    let options = Options(&network.options);
    options.check_mtu()?;
    parent::read(network.driver, options)?;
    match options.text(option::PARENT) {
        Some(name) => {
            check_interface(name)?;
            if name == "lo" {
                let text =
                    format!("loopback interface is not a valid {} parent link", network.driver.as_str());
                return Err(Error::Invalid(text));
            }
            network.parent = name.to_owned();
        }
        // Such containers reach each other only.
        None => {
            network.parent = parent::nowhere(network.id.short());
            network.internal = true;
        }
    }
    Ok(())
}

/// One of each family that is on; what was given of the other one is kept as it was given.
fn subnets(
    network: &Network,
    request: &CreateNetwork,
    config: &NetworkConfig,
    networks: &[IpNet],
    routes: &[IpNet],
) -> Result<Vec<Subnet>> {
    let pools = config.pools();
    let is_ipv4 = |c: &AddressConfig| c.subnet.is_none_or(|s| s.addr().is_ipv4());
    let default = AddressConfig::default();
    let mut subnets: Vec<Subnet> = Vec::new();
    for ipv4 in [true, false] {
        let given: Vec<&AddressConfig> = request.subnets.iter().filter(|c| is_ipv4(c) == ipv4).collect();
        if given.len() > 1 {
            return Err(Error::MultipleSubnets(network.driver.as_str()));
        }
        let on = if ipv4 { network.ipv4 } else { network.ipv6 };
        let config = match given.first() {
            Some(given) => given,
            None if on && !network.config_only => &default,
            None => continue,
        };
        // The configuration of others, and what is not used, takes nothing from anybody.
        let taken = if on && !network.config_only { networks } else { &[] };
        if config.subnet.is_none() && network.config_only {
            continue;
        }
        subnets.push(pools::complete(config, ipv4, &pools, taken, routes)?);
    }
    Ok(subnets)
}
