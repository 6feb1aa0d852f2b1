//! Networks.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::name_server;
use crate::prune::Prune;
use crate::record::Container;
use crate::registry::Snapshot;
use crate::start;
use knarr_docker_types::network::{
    ConfigReference, ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, EndpointResource,
    EndpointSettings, Inspect, Ipam, IpamConfig, IpamStatus, Network, PruneReport, Status, SubnetStatus,
};
use knarr_docker_types::{Filters, List, Map};
use knarr_network as net;
use knarr_state::Event;
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// Runs of one container that may end while it is connected to a network.
const MAX_RUNS: u32 = 5;
const FILTERS: &[&str] = &["driver", "dangling", "id", "label", "name", "scope", "type"];

impl Engine {
    pub async fn network_create(&self, request: CreateRequest) -> Result<CreateResponse> {
        let asked = asked(&request)?;
        self.blocking(move |engine| {
            let network = engine.networks.create(&asked)?;
            engine.emit_now(network_event("create", &network))?;
            Ok(CreateResponse { id: network.id.to_string(), warning: String::new() })
        })
        .await
    }

    pub async fn network_list(&self, filters: Filters) -> Result<Vec<Network>> {
        filters.validate(FILTERS)?;
        let dangling = filters.boolean("dangling").map_err(|_| {
            let text =
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")";
            Error::Invalid(text.to_owned())
        })?;
        if let Some(kind) = filters.get("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
            return Err(Error::Invalid(format!("invalid filter: 'type'='{kind}'")));
        }
        self.blocking(move |engine| {
            let mut networks = engine.networks.list()?;
            networks.retain(|n| matches(n, &filters, dangling));
            Ok(networks.iter().map(shown).collect())
        })
        .await
    }

    pub async fn network_inspect(&self, network: &str) -> Result<Inspect> {
        let name = network.to_owned();
        self.blocking(move |engine| {
            let network = engine.networks.inspect(&name)?;
            let mut containers: Map<EndpointResource> = Map::empty();
            for (id, attached) in &network.containers {
                let resource = EndpointResource {
                    name: attached.name.clone(),
                    endpoint_id: attached.endpoint_id.clone(),
                    mac_address: attached.mac.map_or_else(String::new, |mac| mac.to_string()),
                    ipv4_address: attached.ipv4.map_or_else(String::new, |ip| ip.to_string()),
                    ipv6_address: attached.ipv6.map_or_else(String::new, |ip| ip.to_string()),
                };
                containers.insert(id.to_string(), resource);
            }
            let status = status(&engine.networks.usage(&network.id));
            Ok(Inspect { network: shown(&network), containers, status })
        })
        .await
    }

    pub async fn network_remove(&self, network: &str) -> Result<()> {
        let name = network.to_owned();
        self.blocking(move |engine| {
            let network = engine.networks.remove(&name)?;
            engine.emit_now(network_event("destroy", &network))
        })
        .await
    }

    pub async fn network_connect(&self, network: &str, request: ConnectRequest) -> Result<()> {
        let id = self.entry(&request.container)?.snapshot.id().clone();
        let _edit = self.inner.edits.of(&id).await;
        let entry = self.entry(id.as_str())?;
        let settings = request.endpoint_config.unwrap_or_default();
        let network = self.join(&entry.snapshot, network, &settings).await?;
        let extra = vec![("network".to_owned(), network.name.clone())];
        let change = move |c: &mut Container| joined_network(c, &network.name, network.id.as_str(), settings);
        entry.inbox.configure("network_connect", extra, change).await
    }

    pub async fn network_disconnect(&self, network: &str, request: DisconnectRequest) -> Result<()> {
        let id = self.entry(&request.container)?.snapshot.id().clone();
        let _edit = self.inner.edits.of(&id).await;
        let entry = self.entry(id.as_str())?;
        let network = self.leave(&entry.snapshot, network).await?;
        let extra = vec![("network".to_owned(), network.name.clone())];
        let change = move |c: &mut Container| left_network(c, &network.name, network.id.as_str());
        entry.inbox.configure("network_disconnect", extra, change).await
    }

    /// Connects a container, if it runs; else sees whether it could be.
    pub(crate) async fn join(
        &self,
        snapshot: &Snapshot,
        network: &str,
        settings: &EndpointSettings,
    ) -> Result<net::Network> {
        let mut snapshot = snapshot.clone();
        let mut tries = 0;
        let network = loop {
            let (joining, name, given) = (snapshot.clone(), network.to_owned(), settings.clone());
            if let Some(network) =
                self.blocking(move |engine| connect(engine, &joining, &name, &given)).await?
            {
                break network;
            }
            tries += 1;
            if tries == MAX_RUNS {
                return Err(Error::Conflict(format!("container {} ends again and again", snapshot.id())));
            }
            snapshot = Snapshot::clone(&self.entry(snapshot.id().as_str())?.snapshot);
        };
        let snapshot = &snapshot;
        let names = self.inner.networks.has_names(&network.id) && !self.inner.dns.serves(snapshot.id());
        if snapshot.is_live() && names {
            let begun = name_server::begin(&self.inner, &snapshot.container, &snapshot.status).await;
            if let Err(error) = begun {
                let (snapshot, network) = (snapshot.clone(), network.clone());
                self.blocking(move |engine| {
                    undo_connect(engine, &snapshot, &network);
                    Ok(())
                })
                .await?;
                return Err(error);
            }
        }
        Ok(network)
    }

    /// Takes a container off a network that its row has.
    pub(crate) async fn leave(&self, snapshot: &Snapshot, network: &str) -> Result<net::Network> {
        let (leaving, name) = (snapshot.clone(), network.to_owned());
        self.blocking(move |engine| disconnect(engine, &leaving, &name)).await
    }

    /// The same for a network that its row does not have.
    pub(crate) async fn leave_joined(&self, snapshot: &Snapshot, network: &str) -> Result<()> {
        let (leaving, name) = (snapshot.clone(), network.to_owned());
        self.blocking(move |engine| take_off(engine, &leaving, &engine.networks.find(&name)?)).await
    }

    pub async fn network_prune(&self, filters: Filters) -> Result<PruneReport> {
        let prune = Prune::new(filters, &["label", "label!", "until"])?;
        self.blocking(move |engine| {
            let wanted = |n: &net::Network| prune.wants(n.created_nanos, &n.labels);
            let deleted = engine.networks.prune(&wanted)?;
            Ok(PruneReport {
                networks_deleted: if deleted.is_empty() { List::nil() } else { deleted.into() },
            })
        })
        .await
    }
}

fn network_event(action: &str, network: &net::Network) -> Event {
    Event::now("network", action, network.id.as_str())
        .with("name", network.name.as_str())
        .with("type", network.driver.as_str())
}

/// Whether a network mode means the network of these names.
fn is_mode(keys: &[String], mode: &str) -> bool {
    keys.iter().any(|key| key == mode)
        || (keys[0] == net::network::DEFAULT_NETWORK && matches!(mode, "" | "default"))
}

const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";
const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// What Docker's clients are told when a network's or a container's kind does not allow it.
fn connectable(network: &net::Network, mode: &str) -> Result<()> {
    let text = match network.driver {
        _ if network.config_only => return Err(net::Error::ConfigurationOnly.into()),
        net::Driver::Host => {
            "cannot connect container to host network - container must be created in host network mode"
        }
        net::Driver::Null => PRIVATE,
        _ if mode == "host" || mode.starts_with("container:") => SHARED,
        _ if mode == "none" => PRIVATE,
        _ => return Ok(()),
    };
    Err(Error::Invalid(text.to_owned()))
}

/// `None`: the run that was connected is over, and another one may have begun.
fn connect(
    engine: &Inner,
    snapshot: &Snapshot,
    name: &str,
    settings: &EndpointSettings,
) -> Result<Option<net::Network>> {
    let network = engine.networks.find(name)?;
    let container = &snapshot.container;
    connectable(&network, &container.host_config.network_mode)?;
    let mut request = start::endpoint_request(container, &network.name, Some(settings))?;
    engine.networks.check(&request)?;
    if !snapshot.is_live() {
        return Ok(Some(network));
    }
    // Where the default routes go is decided when it is there.
    (request.default4, request.default6) = (false, false);
    let namespace = start::network_namespace(&snapshot.status)?;
    let endpoint = engine.networks.connect_in(&request, namespace.as_fd())?;
    // Its end is published before its endpoints are released: either that is seen here, or the release sees this one.
    if !is_same_run(engine, snapshot) {
        engine.networks.give_up(&endpoint)?;
        return Ok(None);
    }
    let settled =
        engine.networks.settle(snapshot.id(), namespace.as_fd(), &start::published_ports(container)?);
    if let Err(error) = settled {
        // Such as a port that is taken: all is as before.
        undo_connect(engine, snapshot, &network);
        return Err(error.into());
    }
    start::joined(engine, container, &endpoint, engine.networks.has_names(&endpoint.network))?;
    engine.emit_now(network_event("connect", &network).with("container", snapshot.id().as_str()))?;
    Ok(Some(network))
}

/// Whether the container still runs as it did.
fn is_same_run(engine: &Inner, snapshot: &Snapshot) -> bool {
    engine.containers.resolve(snapshot.id().as_str()).is_ok_and(|entry| {
        let now = &entry.snapshot;
        now.is_live()
            && now.status.pid == snapshot.status.pid
            && now.status.started_at == snapshot.status.started_at
    })
}

/// Takes a running container off a network again. What fails is logged: the reason for it is what the client hears.
fn undo_connect(engine: &Inner, snapshot: &Snapshot, network: &net::Network) {
    let (id, network) = (snapshot.id(), network.id.as_str());
    let undo = || -> Result<()> {
        if !is_same_run(engine, snapshot) {
            let endpoints = engine.networks.endpoints(id)?;
            return endpoints
                .iter()
                .filter(|e| e.network.as_str() == network)
                .try_for_each(|e| Ok(engine.networks.give_up(e)?));
        }
        let namespace = start::network_namespace(&snapshot.status)?;
        let endpoint = engine.networks.disconnect(id, network, namespace.as_fd())?;
        start::left(engine, &snapshot.container, &endpoint)?;
        let ports = start::published_ports(&snapshot.container)?;
        Ok(engine.networks.settle(id, namespace.as_fd(), &ports)?)
    };
    if let Err(error) = undo() {
        tracing::error!(container = id.short(), network, %error, "a failed connection to a network is not undone");
    }
}

fn disconnect(engine: &Inner, snapshot: &Snapshot, name: &str) -> Result<net::Network> {
    let network = engine.networks.find(name)?;
    let container = &snapshot.container;
    if container.host_config.network_mode == "host" && network.driver == net::Driver::Host {
        let text =
            "cannot disconnect container from host network - container was created in host network mode";
        return Err(Error::Invalid(text.to_owned()));
    }
    let keys = [network.name.clone(), network.id.to_string()];
    let asked = container.networks.keys().any(|key| keys.contains(key))
        || (is_mode(&keys, &container.host_config.network_mode) && !container.off_mode_network);
    if !asked {
        let (container, network) = (snapshot.id().to_string(), network.name);
        return Err(net::Error::NotConnected { container, network }.into());
    }
    if !snapshot.is_live() || matches!(network.driver, net::Driver::Host | net::Driver::Null) {
        return Ok(network);
    }
    take_off(engine, snapshot, &network)?;
    Ok(network)
}

fn take_off(engine: &Inner, snapshot: &Snapshot, network: &net::Network) -> Result<()> {
    let container = &snapshot.container;
    let namespace = start::network_namespace(&snapshot.status)?;
    let endpoint = engine.networks.disconnect(snapshot.id(), network.id.as_str(), namespace.as_fd())?;
    engine.networks.settle(snapshot.id(), namespace.as_fd(), &start::published_ports(container)?)?;
    start::left(engine, container, &endpoint)?;
    engine.emit_now(network_event("disconnect", network).with("container", snapshot.id().as_str()))
}

/// The row of a container that is on one more network.
pub(crate) fn joined_network(container: &mut Container, name: &str, id: &str, settings: EndpointSettings) {
    if is_mode(&[name.to_owned(), id.to_owned()], &container.host_config.network_mode) {
        container.off_mode_network = false;
    }
    container.networks.insert(name.to_owned(), settings);
}

/// The row of a container that is on one network less.
pub(crate) fn left_network(container: &mut Container, name: &str, id: &str) {
    if is_mode(&[name.to_owned(), id.to_owned()], &container.host_config.network_mode) {
        container.off_mode_network = true;
        container.networks.remove("default");
    }
    for key in [name, id] {
        container.networks.remove(key);
    }
}

fn status(usage: &[net::Usage]) -> Option<Status> {
    if usage.is_empty() {
        return None;
    }
    let subnets = usage.iter().map(|u| {
        let status = SubnetStatus { ips_in_use: u.in_use, dynamic_ips_available: u.free };
        (u.subnet.to_string(), status)
    });
    Some(Status { ipam: IpamStatus { subnets: subnets.collect() } })
}

fn asked(request: &CreateRequest) -> Result<net::CreateNetwork> {
    if request.ingress {
        return Err(Error::Forbidden("Ingress network can only be global scope network".to_owned()));
    }
    if matches!(request.scope.as_str(), "swarm" | "global") {
        return Err(Error::Forbidden(
            "cannot create a swarm scoped network when swarm is not active".to_owned(),
        ));
    }
    if request.driver == "overlay" {
        return Err(Error::Forbidden(crate::error::NOT_A_MANAGER.to_owned()));
    }
    let ipam = request.ipam.clone().unwrap_or_default();
    let (mut subnets, mut wrong) = (Vec::new(), Vec::new());
    for config in &ipam.config {
        match subnet(config) {
            Ok(config) => subnets.push(config),
            Err(text) => wrong.push(text),
        }
    }
    match wrong.as_slice() {
        [] => {}
        [one] => return Err(net::Error::InvalidNetwork(one.clone()).into()),
        many => {
            let lines: Vec<String> = many.iter().map(|text| format!("* {text}")).collect();
            return Err(net::Error::InvalidNetwork(lines.join("\n")).into());
        }
    }
    Ok(net::CreateNetwork {
        name: request.name.clone(),
        driver: request.driver.clone(),
        internal: request.internal,
        attachable: request.attachable,
        ipv4: request.enable_ipv4,
        ipv6: request.enable_ipv6,
        config_only: request.config_only,
        config_from: request.config_from.as_ref().map(|from| from.network.clone()).unwrap_or_default(),
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.into_inner(),
        subnets,
        options: request.options.clone().into_inner(),
        labels: request.labels.clone().into_inner(),
    })
}

fn subnet(config: &IpamConfig) -> Result<net::AddressConfig, String> {
    fn parse<T: std::str::FromStr>(what: &str, text: &str, expected: &str) -> Result<Option<T>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("invalid {what} {text}: invalid {expected}"))
    }
    let mut auxiliary = BTreeMap::new();
    for (name, address) in &config.aux_address {
        if let Some(ip) = parse("auxiliary address", address, "address")? {
            auxiliary.insert(name.clone(), ip);
        }
    }
    Ok(net::AddressConfig {
        subnet: parse("subnet", &config.subnet, "CIDR block notation")?,
        ip_range: parse("ip-range", &config.ip_range, "CIDR block notation")?,
        gateway: parse("gateway", &config.gateway, "address")?,
        auxiliary,
    })
}

/// What the user gave, or what was chosen for them.
fn shown_subnet(subnet: &net::Subnet) -> IpamConfig {
    let gateway = !subnet.chosen || subnet.gateway_chosen;
    IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.ip_range.map_or_else(String::new, |r| r.to_string()),
        gateway: if gateway { subnet.gateway.to_string() } else { String::new() },
        aux_address: if subnet.auxiliary.is_empty() {
            Map::nil()
        } else {
            subnet.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect()
        },
    }
}

fn shown(network: &net::Network) -> Network {
    let config: Vec<IpamConfig> = network.subnets.iter().map(shown_subnet).collect();
    let bare = network.predefined && matches!(network.driver, net::Driver::Host | net::Driver::Null);
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: crate::record::Time(network.created_nanos).rfc3339(),
        scope: "local".to_owned(),
        driver: network.driver.as_str().to_owned(),
        enable_ipv4: network.ipv4,
        enable_ipv6: network.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: if network.ipam_options.is_empty() {
                Map::nil()
            } else {
                network.ipam_options.clone().into()
            },
            config: if bare || config.is_empty() { List::nil() } else { config.into() },
        },
        internal: network.internal,
        attachable: network.attachable,
        config_from: ConfigReference { network: network.config_from.clone() },
        config_only: network.config_only,
        options: network.options.clone().into(),
        labels: network.labels.clone().into(),
        ..Network::default()
    }
}

fn matches(network: &net::Network, filters: &Filters, dangling: Option<bool>) -> bool {
    let any =
        |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
    any("driver", &|d| network.driver.as_str() == d)
        && any("id", &|id| network.id.as_str().starts_with(id))
        && any("name", &|name| network.name.contains(name))
        && any("scope", &|scope| scope == "local")
        && any("type", &|kind| (kind == "builtin") == network.predefined)
        && dangling
            .is_none_or(|wanted| wanted == (network.is_user_defined() && network.containers.is_empty()))
        && filters.labels_match("label", &network.labels)
}
