//! `volume ls/create/rm/prune`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{BYTES, FILTER, Flag, LABEL, Ty};
use crate::format::listing::{Listing, Row, label_method, label_text};
use crate::format::order::natural;
use crate::format::units;
use crate::spec::filter;
use knarr_docker_types::volume::{CreateRequest, ListResponse, PruneReport, Volume};
use std::collections::BTreeMap;

use super::ps::FORMAT_HELP;

pub static LS_FLAGS: &[Flag] = &[
    Flag::new("cluster", Ty::Bool, "Display only cluster volumes, and use cluster volume list formatting")
        .hidden(),
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"dangling=true\")").short('f'),
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("quiet", Ty::Bool, "Only display volume names").short('q'),
];
pub static CREATE_FLAGS: &[Flag] = &[
    Flag::new("driver", Ty::Str, "Specify volume driver name").short('d').default("local"),
    Flag::new("label", LABEL, "Set metadata for a volume"),
    Flag::new("name", Ty::Str, "Specify volume name").hidden(),
    Flag::new("opt", Ty::Map, "Set driver specific options").short('o').default("map[]"),
];
/// Flags for volumes of a swarm, which an engine without one refuses.
pub static CLUSTER_FLAGS: &[Flag] = &[
    Flag::new("availability", Ty::Str, "Cluster Volume availability (\"active\", \"pause\", \"drain\")")
        .default("active")
        .hidden(),
    Flag::new("group", Ty::Str, "Cluster Volume group (cluster volumes)").hidden(),
    Flag::new("limit-bytes", BYTES, "Minimum size of the Cluster Volume in bytes").hidden(),
    Flag::new("required-bytes", BYTES, "Maximum size of the Cluster Volume in bytes").hidden(),
    Flag::new("scope", Ty::Str, "Cluster Volume access scope (\"single\", \"multi\")")
        .default("single")
        .hidden(),
    Flag::new("secret", Ty::Map, "Cluster Volume secrets").default("map[]").hidden(),
    Flag::new(
        "sharing",
        Ty::Str,
        "Cluster Volume access sharing (\"none\", \"readonly\", \"onewriter\", \"all\")",
    )
    .default("none")
    .hidden(),
    Flag::new("topology-preferred", Ty::List, "A topology that the Cluster Volume would be preferred in")
        .hidden(),
    Flag::new("topology-required", Ty::List, "A topology that the Cluster Volume must be accessible from")
        .hidden(),
    Flag::new("type", Ty::Str, "Cluster Volume access type (\"mount\", \"block\")").default("block").hidden(),
];
pub static UPDATE_FLAGS: &[Flag] =
    &[Flag::new("availability", Ty::Str, "Cluster Volume availability (\"active\", \"pause\", \"drain\")")
        .default("active")];
pub static RM_FLAGS: &[Flag] =
    &[Flag::new("force", Ty::Bool, "Force the removal of one or more volumes").short('f')];
pub static PRUNE_FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Remove all unused volumes, not just anonymous ones").short('a'),
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"label=<label>\")"),
    Flag::new("force", Ty::Bool, "Do not prompt for confirmation").short('f'),
];

const CLUSTER: &str = "{{.Name}}\\t{{.Group}}\\t{{.Driver}}\\t{{.Availability}}\\t{{.Status}}";

pub static LISTING: Listing = Listing {
    type_name: "*formatter.volumeContext",
    table: "{{.Driver}}\\t{{.Name}}",
    quiet: "{{.Name}}",
    titles: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
};

pub fn row(v: &Volume) -> Row {
    let (links, size) = match &v.usage_data {
        Some(usage) => (usage.ref_count.to_string(), units::size(usage.size)),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    vec![
        ("Name", v.name.as_str().into()),
        ("Driver", v.driver.as_str().into()),
        ("Scope", v.scope.as_str().into()),
        ("Availability", "N/A".into()),
        ("Group", "N/A".into()),
        ("Mountpoint", v.mountpoint.as_str().into()),
        ("Labels", label_text(&v.labels)),
        ("Label", label_method(&v.labels)),
        ("Links", links.into()),
        ("Size", size.into()),
        ("Status", "N/A".into()),
    ]
}

pub async fn ls(cli: Shared, m: Matches) -> Outcome {
    let quiet = m.flag("quiet");
    let mut format = m.text("format").to_owned();
    if format.is_empty() && !quiet {
        format = cli.config().text("volumesFormat").to_owned();
    }
    if format == "raw" {
        format = if quiet { "name: {{.Name}}" } else { "name: {{.Name}}\ndriver: {{.Driver}}\n" }.to_owned();
    }
    let cluster = m.flag("cluster");
    let table = if cluster { CLUSTER } else { LISTING.table };
    let chosen = LISTING.choose_with_table(&format, quiet, table)?;
    let client = cli.client().await?;
    let filters = filter::collect(&m.list("filter"));
    let mut list: ListResponse = client.get("/volumes").filters(&filters).fetch().await?;
    if cluster {
        // volumes of a swarm, of which an engine without one has none
        list.volumes.clear();
    }
    list.volumes.sort_by(|a, b| natural(&a.name, &b.name));
    cli.print(&LISTING.render(&chosen, list.volumes.iter().map(row))?)
}

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let argument = m.args.first().map(String::as_str).unwrap_or_default();
    let flag = m.text("name");
    if !flag.is_empty() && !argument.is_empty() {
        return Err(Failure::new(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    if CLUSTER_FLAGS.iter().any(|flag| m.changed(flag.long)) {
        return Err(Failure::new(
            "Error response from daemon: This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
             this node to swarm and try again.",
        ));
    }
    let pairs = |items: Vec<String>| {
        let cut = items.iter().map(|i| i.split_once('=').unwrap_or((i, "")));
        cut.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let body = CreateRequest {
        driver: m.text("driver").to_owned(),
        driver_opts: pairs(m.list("opt")).into(),
        labels: pairs(m.list("label")).into(),
        name: if argument.is_empty() { flag } else { argument }.to_owned(),
        ..CreateRequest::default()
    };
    let client = cli.client().await?;
    let volume: Volume = client.post("/volumes/create").json(&body).fetch().await?;
    cli.println(&volume.name)
}

/// Only volumes of a swarm can be updated, so this finds out what is wrong.
pub async fn update(cli: Shared, m: Matches) -> Outcome {
    let name = m.args.first().map(String::as_str).unwrap_or_default();
    let client = cli.client().await?;
    let _: Volume = client.get(format!("/volumes/{name}")).fetch().await?;
    Err(Failure::new("Can only update cluster volumes"))
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let mut failures = Vec::new();
    for name in &m.args {
        match client.delete(format!("/volumes/{name}")).flag("force", m.flag("force")).done().await {
            Ok(()) => cli.println(name)?,
            Err(error) => failures.push(error.to_string()),
        }
    }
    joined(failures)
}

pub async fn prune_volumes(cli: &Shared, all: bool, filters: &[String]) -> Outcome<(u64, String)> {
    let mut filters = filter::for_prune(filters, &cli.config().texts("pruneFilters"));
    if all {
        if filters.contains("all") {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.add("all", "true");
    }
    let client = cli.client().await?;
    let report: PruneReport = client.post("/volumes/prune").filters(&filters).fetch().await?;
    let text = match report.volumes_deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted Volumes:\n{}\n", report.volumes_deleted.join("\n")),
    };
    Ok((report.space_reclaimed, text))
}

pub async fn prune(cli: Shared, m: Matches) -> Outcome {
    let all = m.flag("all");
    let what = if all { "all local volumes" } else { "anonymous local volumes" };
    let question = format!(
        "WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
    );
    if !m.flag("force") && !cli.confirm(&question)? {
        return Ok(());
    }
    let (reclaimed, text) = prune_volumes(&cli, all, &m.list("filter")).await?;
    let text = if text.is_empty() { text } else { format!("{text}\n") };
    let reclaimed = units::size(i64::try_from(reclaimed).unwrap_or(i64::MAX));
    cli.print(&format!("{text}Total reclaimed space: {reclaimed}\n"))
}
