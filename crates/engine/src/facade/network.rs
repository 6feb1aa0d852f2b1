//! Networks.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::name_server;
use crate::registry::Snapshot;
use crate::start;
use crate::view_image::until;
use knarr_docker_types::network::{
    ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, EndpointResource, Inspect, Ipam,
    IpamConfig, Network, PruneReport,
};
use knarr_docker_types::{Filters, List, Map};
use knarr_network as net;
use knarr_state::Event;
use std::collections::BTreeMap;
use std::sync::Arc;

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
        let dangling = filters.boolean("dangling")?;
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
                    ipv6_address: String::new(),
                };
                containers.insert(id.to_string(), resource);
            }
            Ok(Inspect { network: shown(&network), containers, status: None })
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
        let entry = self.entry(&request.container)?;
        let (snapshot, name) = (Arc::clone(&entry.snapshot), network.to_owned());
        let mode = snapshot.container.host_config.network_mode.clone();
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            return Err(Error::Forbidden(format!(
                "container cannot be connected to network {network}: its network mode is {mode}"
            )));
        }
        let settings = request.endpoint_config.unwrap_or_default();
        let given = settings.clone();
        let joining = Arc::clone(&snapshot);
        let network = self.blocking(move |engine| connect(engine, &joining, &name, &given)).await?;
        let names = self.inner.networks.has_names(&network.id) && !self.inner.dns.serves(snapshot.id());
        if snapshot.is_live() && names {
            name_server::begin(&self.inner, &snapshot.container, &snapshot.status).await?;
        }
        let key = network.name.clone();
        let extra = vec![("network".to_owned(), key.clone())];
        entry.inbox.configure("network_connect", extra, move |c| drop(c.networks.insert(key, settings))).await
    }

    pub async fn network_disconnect(&self, network: &str, request: DisconnectRequest) -> Result<()> {
        let entry = self.entry(&request.container)?;
        let (snapshot, name) = (Arc::clone(&entry.snapshot), network.to_owned());
        let network = self
            .blocking(move |engine| {
                let network = engine.networks.inspect(&name)?;
                if snapshot.is_live() {
                    let endpoint = engine.networks.disconnect(snapshot.id(), &name)?;
                    start::left(engine, &snapshot.container, &endpoint)?;
                }
                engine.emit_now(
                    network_event("disconnect", &network).with("container", snapshot.id().as_str()),
                )?;
                Ok(network)
            })
            .await?;
        let keys = [network.name.clone(), network.id.to_string()];
        entry
            .inbox
            .configure("network_disconnect", vec![("network".to_owned(), network.name)], move |c| {
                for key in keys {
                    c.networks.remove(&key);
                }
            })
            .await
    }

    pub async fn network_prune(&self, filters: Filters) -> Result<PruneReport> {
        filters.validate(&["label", "label!", "until"])?;
        let before = filters.get("until").next().map(until).transpose()?;
        self.blocking(move |engine| {
            let wanted = |n: &net::Network| {
                before.is_none_or(|before| n.created_nanos < before)
                    && filters.labels_match("label", &n.labels)
                    && !(filters.contains("label!") && filters.labels_match("label!", &n.labels))
            };
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

fn connect(
    engine: &Inner,
    snapshot: &Snapshot,
    name: &str,
    settings: &knarr_docker_types::network::EndpointSettings,
) -> Result<net::Network> {
    let network = engine.networks.inspect(name)?;
    if network.driver != net::Driver::Bridge {
        return Err(Error::Forbidden("container cannot be connected to host network - container must be created with host network mode".to_owned()));
    }
    let connected =
        snapshot.container.networks.keys().any(|key| *key == network.name || *key == network.id.as_str());
    if connected {
        let (container, network) = (snapshot.container.name.clone(), network.name);
        return Err(net::Error::AlreadyConnected { container, network }.into());
    }
    if snapshot.is_live() {
        let mut request = start::endpoint_request(&snapshot.container, &network.name, Some(settings))?;
        request.default_route = engine.networks.endpoints(snapshot.id())?.is_empty();
        let namespace = start::network_namespace(&snapshot.status)?;
        let endpoint = engine.networks.connect_in(&request, std::os::fd::AsFd::as_fd(&namespace))?;
        start::joined(engine, &snapshot.container, &endpoint, engine.networks.has_names(&endpoint.network))?;
    }
    engine.emit_now(network_event("connect", &network).with("container", snapshot.id().as_str()))?;
    Ok(network)
}

fn asked(request: &CreateRequest) -> Result<net::CreateNetwork> {
    if request.config_only || request.config_from.as_ref().is_some_and(|c| !c.network.is_empty()) {
        return Err(Error::NotImplemented("configuration-only networks".to_owned()));
    }
    if request.ingress || matches!(request.scope.as_str(), "swarm" | "global") {
        return Err(Error::Invalid("This node is not a swarm manager.".to_owned()));
    }
    let ipam = request.ipam.clone().unwrap_or_default();
    let mut subnets = Vec::new();
    for config in &ipam.config {
        subnets.push(subnet(config)?);
    }
    Ok(net::CreateNetwork {
        name: request.name.clone(),
        driver: request.driver.clone(),
        internal: request.internal,
        attachable: request.attachable,
        ipv6: request.enable_ipv6.unwrap_or(false),
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.into_inner(),
        subnets,
        options: request.options.clone().into_inner(),
        labels: request.labels.clone().into_inner(),
    })
}

fn subnet(config: &IpamConfig) -> Result<net::AddressConfig> {
    fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<Option<T>> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Error::Invalid(format!("invalid {what}: {text}")))
    }
    let mut auxiliary = BTreeMap::new();
    for (name, address) in &config.aux_address {
        if let Some(ip) = parse("auxiliary address", address)? {
            auxiliary.insert(name.clone(), ip);
        }
    }
    Ok(net::AddressConfig {
        subnet: parse("subnet", &config.subnet)?,
        ip_range: parse("ip-range", &config.ip_range)?,
        gateway: parse("gateway", &config.gateway)?,
        auxiliary,
    })
}

fn shown(network: &net::Network) -> Network {
    let config = network.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.ip_range.map_or_else(String::new, |r| r.to_string()),
        gateway: subnet.gateway.to_string(),
        aux_address: if subnet.auxiliary.is_empty() {
            Map::nil()
        } else {
            subnet.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect()
        },
    });
    let config: Vec<IpamConfig> = config.collect();
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: crate::record::Time(network.created_nanos).rfc3339(),
        scope: "local".to_owned(),
        driver: network.driver.as_str().to_owned(),
        enable_ipv4: true,
        enable_ipv6: network.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: if network.predefined { Map::nil() } else { network.ipam_options.clone().into() },
            config: if network.driver == net::Driver::Bridge { config.into() } else { Default::default() },
        },
        internal: network.internal,
        attachable: network.attachable,
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
