//! Networks and ports of a container, as shown.
use crate::engine::Inner;
use crate::registry::Snapshot;
use knarr_docker_types::container::PortSummary;
use knarr_docker_types::host_config::{PortBinding, PortMap};
use knarr_docker_types::network::EndpointSettings;
use knarr_docker_types::{List, Map};
use knarr_network::Endpoint;

/// Endpoints of a container that runs; an error shows as none.
fn endpoints(engine: &Inner, snapshot: &Snapshot) -> Vec<Endpoint> {
    if !snapshot.is_live() {
        return Vec::new();
    }
    engine.networks.endpoints(snapshot.id()).unwrap_or_default()
}

/// `NetworkSettings.Networks`.
pub(crate) fn networks(engine: &Inner, snapshot: &Snapshot) -> Map<EndpointSettings> {
    let container = &snapshot.container;
    let mode = container.host_config.network_mode.as_str();
    let mut shown: Map<EndpointSettings> = Map::empty();
    if mode.starts_with("container:") {
        return shown;
    }
    for (name, settings) in &container.networks {
        let name = if name == "default" { mode } else { name };
        shown.insert(name.to_owned(), settings.clone());
    }
    let named = |id: &str| engine.networks.named(id).ok();
    if !shown.contains_key(mode) && !container.off_mode_network {
        let name = named(mode).map_or_else(|| mode.to_owned(), |(name, _)| name);
        shown.entry(name).or_default();
    }
    for endpoint in endpoints(engine, snapshot) {
        let settings = shown.entry(endpoint.network_name.clone()).or_default();
        fill(settings, &endpoint);
    }
    // As Docker: one that was never started is on no network yet.
    let joined = !snapshot.status.started_at.is_never();
    for (name, settings) in shown.iter_mut() {
        if settings.network_id.is_empty()
            && joined
            && let Some((_, id)) = named(name)
        {
            settings.network_id = id.to_string();
        }
    }
    shown
}

/// `HostConfig.Links`: `/other:/own/alias`. One that is gone is not shown.
pub(crate) fn links(engine: &Inner, snapshot: &Snapshot) -> List<String> {
    let container = &snapshot.container;
    let shown = |text: &String| {
        let link = knarr_network::Link::parse(text)?;
        let other = engine.containers.resolve(&link.name).ok()?;
        Some(format!("/{}:/{}/{}", other.snapshot.container.name, container.name, link.alias))
    };
    match container.host_config.links.is_empty() {
        true => container.host_config.links.clone(),
        false => container.host_config.links.iter().filter_map(shown).collect::<Vec<_>>().into(),
    }
}

fn fill(settings: &mut EndpointSettings, endpoint: &Endpoint) {
    settings.network_id = endpoint.network.to_string();
    settings.endpoint_id.clone_from(&endpoint.id);
    settings.gateway = endpoint.gateway.map_or_else(String::new, |ip| ip.to_string());
    settings.ip_address = endpoint.ipv4.map_or_else(String::new, |ip| ip.to_string());
    settings.ip_prefix_len = i64::from(endpoint.prefix);
    settings.ipv6_gateway = endpoint.gateway6.map_or_else(String::new, |ip| ip.to_string());
    settings.global_ipv6_address = endpoint.ipv6.map_or_else(String::new, |ip| ip.to_string());
    settings.global_ipv6_prefix_len = i64::from(endpoint.prefix6);
    settings.mac_address = endpoint.mac.map_or_else(String::new, |mac| mac.to_string());
    // Nobody is asked for names on the default bridge.
    let nameless =
        endpoint.dns_names.is_empty() || endpoint.network_name == knarr_network::network::DEFAULT_NETWORK;
    settings.dns_names = if nameless { List::nil() } else { endpoint.dns_names.clone().into() };
}

/// `NetworkSettings.Ports`: exposed ports with what they are published on.
pub(crate) fn port_map(engine: &Inner, snapshot: &Snapshot) -> PortMap {
    let mut map: PortMap = Map::empty();
    if !snapshot.is_live() {
        return map;
    }
    let container = &snapshot.container;
    for port in container.config.exposed_ports.keys().chain(container.host_config.port_bindings.keys()) {
        map.entry(port.clone()).or_insert_with(List::nil);
    }
    for port in endpoints(engine, snapshot).iter().flat_map(|e| &e.ports) {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let binding = PortBinding {
            host_ip: port.host_ip.to_string(),
            host_port: host_port(port.host_port),
            sources: port.scope.words().into(),
        };
        map.entry(key).or_insert_with(List::nil).push(binding);
    }
    map
}

/// A port that is not translated has none on the host.
fn host_port(port: u16) -> String {
    if port == 0 { String::new() } else { port.to_string() }
}

/// The rows of the column PORTS.
pub(crate) fn ports(engine: &Inner, snapshot: &Snapshot) -> Vec<PortSummary> {
    let mut rows = Vec::new();
    for (port, bindings) in &port_map(engine, snapshot) {
        let Some((number, kind)) = port.split_once('/') else { continue };
        let private_port = number.parse().unwrap_or(0);
        if bindings.is_empty() {
            rows.push(PortSummary { private_port, kind: kind.to_owned(), ..PortSummary::default() });
        }
        for binding in bindings {
            rows.push(PortSummary {
                ip: binding.host_ip.clone(),
                private_port,
                public_port: binding.host_port.parse().unwrap_or(0),
                kind: kind.to_owned(),
                sources: binding.sources.clone(),
            });
        }
    }
    rows
}
