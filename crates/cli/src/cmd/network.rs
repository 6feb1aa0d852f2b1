//! `network ls/create/rm/prune/connect/disconnect`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome};
use crate::flag::{FILTER, Flag, LABEL, LINK, Ty};
use crate::format::listing::{Listing, label_method, label_text};
use crate::format::order::natural;
use crate::format::units;
use crate::spec::filter;
use knarr_docker_types::network::{
    ConfigReference, ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, EndpointIpamConfig,
    EndpointSettings, Ipam, IpamConfig, Network, PruneReport,
};
use knarr_docker_types::{List, Map};
use std::collections::BTreeMap;

use super::ps::FORMAT_HELP;

pub static LS_FLAGS: &[Flag] = &[
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"driver=bridge\")").short('f'),
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("no-trunc", Ty::Bool, "Do not truncate the output"),
    Flag::new("quiet", Ty::Bool, "Only display network IDs").short('q'),
];
pub static CREATE_FLAGS: &[Flag] = &[
    Flag::new("attachable", Ty::Bool, "Enable manual container attachment"),
    Flag::new("aux-address", Ty::Map, "Auxiliary IPv4 or IPv6 addresses used by Network driver")
        .default("map[]"),
    Flag::new("config-from", Ty::Str, "The network from which to copy the configuration"),
    Flag::new("config-only", Ty::Bool, "Create a configuration only network"),
    Flag::new("driver", Ty::Str, "Driver to manage the Network").short('d').default("bridge"),
    Flag::new("gateway", Ty::Strings, "IPv4 or IPv6 Gateway for the master subnet"),
    Flag::new("ingress", Ty::Bool, "Create swarm routing-mesh network"),
    Flag::new("internal", Ty::Bool, "Restrict external access to the network"),
    Flag::new("ip-range", Ty::Strings, "Allocate container ip from a sub-range"),
    Flag::new("ipam-driver", Ty::Str, "IP Address Management Driver").default("default"),
    Flag::new("ipam-opt", Ty::Map, "Set IPAM driver specific options").default("map[]"),
    Flag::new("ipv4", Ty::Bool, "Enable or disable IPv4 address assignment").default("true"),
    Flag::new("ipv6", Ty::Bool, "Enable or disable IPv6 address assignment"),
    Flag::new("label", LABEL, "Set metadata on a network"),
    Flag::new("opt", Ty::Map, "Set driver specific options").short('o').default("map[]"),
    Flag::new("scope", Ty::Str, "Control the network's scope"),
    Flag::new("subnet", Ty::Strings, "Subnet in CIDR format that represents a network segment"),
];
pub static RM_FLAGS: &[Flag] =
    &[Flag::new("force", Ty::Bool, "Do not error if the network does not exist").short('f')];
pub static PRUNE_FLAGS: &[Flag] = &[
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::new("force", Ty::Bool, "Do not prompt for confirmation").short('f'),
];
pub static CONNECT_FLAGS: &[Flag] = &[
    Flag::new("alias", Ty::Strings, "Add network-scoped alias for the container"),
    Flag::new("driver-opt", Ty::Strings, "driver options for the network"),
    Flag::new(
        "gw-priority",
        Ty::Int,
        "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
    ),
    Flag::new("ip", Ty::Str, "IPv4 address (e.g., \"172.30.100.104\")"),
    Flag::new("ip6", Ty::Str, "IPv6 address (e.g., \"2001:db8::33\")"),
    Flag::new("link", LINK, "Add link to another container"),
    Flag::new("link-local-ip", Ty::Strings, "Add a link-local address for the container"),
];
pub static DISCONNECT_FLAGS: &[Flag] =
    &[Flag::new("force", Ty::Bool, "Force the container to disconnect from a network").short('f')];

static LISTING: Listing = Listing {
    type_name: "*network.networkContext",
    table: "{{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
    quiet: "{{.ID}}",
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

pub async fn ls(cli: Shared, m: Matches) -> Outcome {
    let quiet = m.flag("quiet");
    let mut format = m.text("format").to_owned();
    if format.is_empty() && !quiet {
        format = cli.config().text("networksFormat").to_owned();
    }
    if format == "raw" {
        let raw = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";
        format = if quiet { "network_id: {{.ID}}" } else { raw }.to_owned();
    }
    let chosen = LISTING.choose(&format, quiet)?;
    let client = cli.client().await?;
    let filters = filter::collect(&m.list("filter"));
    let mut networks: Vec<Network> = client.get("/networks").filters(&filters).fetch().await?;
    networks.sort_by(|a, b| natural(&a.name, &b.name));
    let truncate = !m.flag("no-trunc");
    let rows = networks.iter().map(|n| {
        vec![
            ("ID", if truncate { units::short_id(&n.id) } else { &n.id }.into()),
            ("Name", n.name.as_str().into()),
            ("Driver", n.driver.as_str().into()),
            ("Scope", n.scope.as_str().into()),
            ("IPv4", n.enable_ipv4.to_string().into()),
            ("IPv6", n.enable_ipv6.to_string().into()),
            ("Internal", n.internal.to_string().into()),
            ("Labels", label_text(&n.labels)),
            ("Label", label_method(&n.labels)),
            ("CreatedAt", go_time(&n.created).into()),
        ]
    });
    cli.print(&LISTING.render(&chosen, rows)?)
}

/// RFC 3339 in the form of Go's `time.Time.String()`.
fn go_time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => {
            let fraction = match at.subsec_nanosecond() {
                0 => String::new(),
                nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
            };
            let utc = at.to_zoned(jiff::tz::TimeZone::UTC);
            format!("{}{fraction} +0000 UTC", utc.strftime("%Y-%m-%d %H:%M:%S"))
        }
        Err(_) => text.to_owned(),
    }
}

fn pairs(items: &[String]) -> Map<String> {
    let cut = items.iter().map(|i| i.split_once('=').unwrap_or((i, "")));
    cut.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>().into()
}

/// Whether an address or a smaller network lies in a subnet.
fn contains(subnet: &str, inner: &str) -> bool {
    use std::net::IpAddr;
    let Some((base, bits)) = subnet.split_once('/') else { return false };
    let address = inner.split('/').next().unwrap_or_default();
    let (Ok(base), Ok(address), Ok(bits)) =
        (base.parse::<IpAddr>(), address.parse::<IpAddr>(), bits.parse::<u32>())
    else {
        return false;
    };
    match (base, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

/// `--subnet`, `--ip-range`, `--gateway` and `--aux-address` belong together by containment.
fn ipam_config(m: &Matches) -> Outcome<List<IpamConfig>> {
    let (subnets, ranges, gateways) = (m.list("subnet"), m.list("ip-range"), m.list("gateway"));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut configs: Vec<IpamConfig> =
        subnets.iter().map(|s| IpamConfig { subnet: s.clone(), ..IpamConfig::default() }).collect();
    for (i, a) in subnets.iter().enumerate() {
        for b in &subnets[..i] {
            if contains(a, b) || contains(b, a) {
                return Err(Failure::new("multiple overlapping subnet configuration is not supported"));
            }
        }
    }
    let home = |configs: &[IpamConfig], text: &str, what: &str| {
        configs
            .iter()
            .position(|c| contains(&c.subnet, text))
            .ok_or_else(|| Failure::new(format!("no matching subnet for {what} {text}")))
    };
    for range in &ranges {
        let i = home(&configs, range, "range")?;
        if !configs[i].ip_range.is_empty() {
            return Err(Failure::new(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                configs[i].ip_range, configs[i].subnet
            )));
        }
        configs[i].ip_range.clone_from(range);
    }
    for gateway in &gateways {
        let i = home(&configs, gateway, "gateway")?;
        if !configs[i].gateway.is_empty() {
            return Err(Failure::new(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                configs[i].gateway, configs[i].subnet
            )));
        }
        configs[i].gateway.clone_from(gateway);
    }
    for text in m.list("aux-address") {
        let (name, address) = text.split_once('=').unwrap_or((&text, ""));
        let i = home(&configs, address, "aux-address")?;
        configs[i].aux_address.insert(name.to_owned(), address.to_owned());
    }
    Ok(configs.into())
}

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let config_from = m.text("config-from");
    let body = CreateRequest {
        name: m.args[0].clone(),
        driver: m.text("driver").to_owned(),
        scope: m.text("scope").to_owned(),
        enable_ipv4: m.changed("ipv4").then(|| m.flag("ipv4")),
        enable_ipv6: m.changed("ipv6").then(|| m.flag("ipv6")),
        ipam: Some(Ipam {
            driver: m.text("ipam-driver").to_owned(),
            options: pairs(&m.list("ipam-opt")),
            config: ipam_config(&m)?,
        }),
        internal: m.flag("internal"),
        attachable: m.flag("attachable"),
        ingress: m.flag("ingress"),
        config_only: m.flag("config-only"),
        config_from: (!config_from.is_empty()).then(|| ConfigReference { network: config_from.to_owned() }),
        options: pairs(&m.list("opt")),
        labels: pairs(&m.list("label")),
        ..CreateRequest::default()
    };
    let client = cli.client().await?;
    let created: CreateResponse = client.post("/networks/create").json(&body).fetch().await?;
    if !created.warning.is_empty() {
        cli.warn(&format!("WARNING: {}", created.warning));
    }
    cli.println(&created.id)
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let mut failed = false;
    for name in &m.args {
        match client.delete(format!("/networks/{name}")).done().await {
            Ok(()) => cli.println(name)?,
            Err(error) if m.flag("force") && error.is_not_found() => {}
            Err(error) => {
                cli.warn(&error.to_string());
                failed = true;
            }
        }
    }
    if failed { Err(Failure::new("exit status 1")) } else { Ok(()) }
}

pub async fn prune_networks(cli: &Shared, filters: &[String]) -> Outcome<String> {
    let client = cli.client().await?;
    let report: PruneReport = client
        .post("/networks/prune")
        .filters(&filter::for_prune(filters, &cli.config().texts("pruneFilters")))
        .fetch()
        .await?;
    Ok(match report.networks_deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted Networks:\n{}\n", report.networks_deleted.join("\n")),
    })
}

pub async fn prune(cli: Shared, m: Matches) -> Outcome {
    let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !m.flag("force") && !cli.confirm(question)? {
        return Ok(());
    }
    let text = prune_networks(&cli, &m.list("filter")).await?;
    if text.is_empty() { Ok(()) } else { cli.println(&text) }
}

pub async fn connect(cli: Shared, m: Matches) -> Outcome {
    let list = |flag: &str| {
        let items = m.list(flag);
        if items.is_empty() { List::nil() } else { List::from(items) }
    };
    let mut driver_opts = Map::nil();
    for option in m.list("driver-opt") {
        match option.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                driver_opts.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            _ => return Err(Failure::new("invalid key/value pair format in driver options")),
        }
    }
    let addresses = EndpointIpamConfig {
        ipv4_address: m.text("ip").to_owned(),
        ipv6_address: m.text("ip6").to_owned(),
        link_local_ips: list("link-local-ip"),
    };
    let settings = EndpointSettings {
        ipam_config: (addresses != EndpointIpamConfig::default()).then_some(addresses),
        links: list("link"),
        aliases: list("alias"),
        driver_opts,
        gw_priority: m.int("gw-priority"),
        ..EndpointSettings::default()
    };
    let body = ConnectRequest { container: m.args[1].clone(), endpoint_config: Some(settings) };
    let client = cli.client().await?;
    Ok(client.post(format!("/networks/{}/connect", m.args[0])).json(&body).done().await?)
}

pub async fn disconnect(cli: Shared, m: Matches) -> Outcome {
    let body = DisconnectRequest { container: m.args[1].clone(), force: m.flag("force") };
    let client = cli.client().await?;
    Ok(client.post(format!("/networks/{}/disconnect", m.args[0])).json(&body).done().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_subnet() {
        assert!(
            contains("10.0.0.0/8", "10.1.2.3")
                && contains("fd00::/8", "fd00::1/64")
                && !contains("10.0.0.0/8", "11.0.0.1")
        );
    }
}
