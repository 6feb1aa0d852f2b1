//! `top`, `port`, `diff`, `commit`, `export`, `update`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::create_request::memory;
use crate::cmd::transfer::copy_to;
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{BYTES, CPUS, Flag, LABEL, NETWORK, SWAP, Ty};
use crate::format::columns;
use crate::format::listing::Listing;
use crate::format::order::natural;
use crate::spec::{decimal, network, port, restart};
use knarr_docker_types::Map;
use knarr_docker_types::container::{
    FilesystemChange, InspectResponse, TopResponse, UpdateRequest, UpdateResponse,
};
use knarr_docker_types::id_response::IdResponse;
use knarr_docker_types::network::EndpointSettings;
use knarr_docker_types::resources::Resources;
use knarr_oci::reference::Reference;
use std::collections::BTreeMap;

pub static COMMIT_FLAGS: &[Flag] = &[
    Flag::new("author", Ty::Str, "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")").short('a'),
    Flag::new("change", Ty::List, "Apply Dockerfile instruction to the created image").short('c'),
    Flag::new("message", Ty::Str, "Commit message").short('m'),
    Flag::new("pause", Ty::Bool, "Pause container during commit").short('p').default("true"),
];
pub static EXPORT_FLAGS: &[Flag] =
    &[Flag::new("output", Ty::Str, "Write to a file, instead of STDOUT").short('o')];
pub static UPDATE_FLAGS: &[Flag] = &[
    Flag::new(
        "blkio-weight",
        Ty::Uint16,
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag::new("cpu-period", Ty::Int, "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag::new("cpu-quota", Ty::Int, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag::new("cpu-rt-period", Ty::Int, "Limit the CPU real-time period in microseconds"),
    Flag::new("cpu-rt-runtime", Ty::Int, "Limit the CPU real-time runtime in microseconds"),
    Flag::new("cpu-shares", Ty::Int, "CPU shares (relative weight)").short('c'),
    Flag::new("cpus", CPUS, "Number of CPUs"),
    Flag::new("cpuset-cpus", Ty::Str, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag::new("cpuset-mems", Ty::Str, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag::new("label-add", LABEL, "Add or change a label, also while the container runs"),
    Flag::new("label-rm", Ty::List, "Remove a label by its key"),
    Flag::new("memory", BYTES, "Memory limit").short('m'),
    Flag::new("memory-reservation", BYTES, "Memory soft limit"),
    Flag::new("memory-swap", SWAP, "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
    Flag::new("network-add", NETWORK, "Connect to one more network, also while the container runs"),
    Flag::new("network-rm", Ty::List, "Disconnect from a network"),
    Flag::new("pids-limit", Ty::Int, "Tune container pids limit (set -1 for unlimited)"),
    Flag::new("publish-add", Ty::List, "Publish one more port, also while the container runs"),
    Flag::new(
        "publish-rm",
        Ty::List,
        "Do not publish a port any more ([[IP:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL])",
    ),
    Flag::new("restart", Ty::Str, "Restart policy to apply when a container exits"),
];

pub async fn top(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let request =
        client.get(format!("/containers/{}/top", m.args[0])).query_some("ps_args", m.args[1..].join(" "));
    let processes: TopResponse = request.fetch().await?;
    let mut text = processes.titles.join("\t") + "\n";
    for process in &processes.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    cli.print(&columns::align(&text, &columns::TOP))
}

pub async fn port(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let container: InspectResponse = client.get(format!("/containers/{}/json", m.args[0])).fetch().await?;
    let ports = container.network_settings.unwrap_or_default().ports;
    let join = |ip: &str, port: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    if let Some(wanted) = m.args.get(1).filter(|wanted| !wanted.is_empty()) {
        let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
        let full = format!("{number}/{}", if protocol.is_empty() { "tcp" } else { protocol });
        if let Err(reason) = Ty::Uint16.check(number) {
            return Err(Failure::new(format!("Error: invalid port ({number}): {reason}")));
        }
        let found = ports.get(&full).filter(|bindings| !bindings.is_empty());
        let Some(bindings) = found else {
            return Err(Failure::new(format!(
                "Error: No public port '{wanted}' published for {}",
                m.args[0]
            )));
        };
        let mut lines: Vec<String> = bindings.iter().map(|b| join(&b.host_ip, &b.host_port)).collect();
        lines.sort_by(|a, b| natural(a, b));
        return cli.println(&lines.join("\n"));
    }
    let each = ports.iter().flat_map(|(port, bindings)| bindings.iter().map(move |binding| (port, binding)));
    let mut lines: Vec<String> =
        each.map(|(port, b)| format!("{port} -> {}\n", join(&b.host_ip, &b.host_port))).collect();
    lines.sort_by(|a, b| natural(a, b));
    cli.print(&lines.concat())
}

static DIFF: Listing = Listing {
    type_name: "*container.diffContext",
    table: "{{.Type}} {{.Path}}",
    quiet: "{{.Path}}",
    titles: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
};

pub async fn diff(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let changes: Option<Vec<FilesystemChange>> =
        client.get(format!("/containers/{}/changes", m.args[0])).fetch().await?;
    let chosen = DIFF.choose(DIFF.table, false)?;
    let rows = changes.unwrap_or_default().into_iter().map(|change| {
        let kind = match change.kind {
            0 => "C",
            1 => "A",
            2 => "D",
            _ => "",
        };
        vec![("Type", kind.into()), ("Path", change.path.into())]
    });
    cli.print(&DIFF.render(&chosen, rows)?)
}

pub async fn commit(cli: Shared, m: Matches) -> Outcome {
    let (repository, tag) = match m.args.get(1) {
        None => (String::new(), String::new()),
        Some(text) => {
            let reference = Reference::parse_name(text).map_err(|e| Failure::new(e.to_string()))?;
            if reference.digest().is_some() {
                return Err(Failure::new("refusing to create a tag with a digest reference"));
            }
            (reference.familiar_name(), reference.tag().unwrap_or("latest").to_owned())
        }
    };
    let client = cli.client().await?;
    let mut request = client
        .post("/commit")
        .query("container", &m.args[0])
        .query_some("repo", repository)
        .query_some("tag", tag)
        .query_some("comment", m.text("message"))
        .query_some("author", m.text("author"));
    for change in m.list("change") {
        request = request.query("changes", change);
    }
    if !m.flag("pause") {
        request = request.query("pause", "0");
    }
    let created: IdResponse = request.json(&serde_json::Value::Null).fetch().await?;
    cli.println(&created.id)
}

pub async fn export(cli: Shared, m: Matches) -> Outcome {
    if m.text("output").is_empty() && crate::term::stdout_is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let client = cli.client().await?;
    let response = client.get(format!("/containers/{}/export", m.args[0])).send().await?;
    copy_to(response, m.text("output"), "failed to export container").await
}

fn labels(items: &[String]) -> Map<String> {
    let pairs = items.iter().map(|item| item.split_once('=').unwrap_or((item, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>().into()
}

fn networks(items: &[String]) -> Result<Map<EndpointSettings>, String> {
    let mut networks = BTreeMap::new();
    for text in items {
        let attachment = network::parse(text)?;
        networks.insert(attachment.target.clone(), attachment.settings()?);
    }
    Ok(networks.into())
}

pub async fn update(cli: Shared, m: Matches) -> Outcome {
    let changed = UPDATE_FLAGS.iter().any(|flag| m.changed(flag.long));
    if !changed {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let body = UpdateRequest {
        resources: Resources {
            blkio_weight: u16::try_from(m.int("blkio-weight")).unwrap_or(0),
            cpu_shares: m.int("cpu-shares"),
            memory: memory(&m, "memory"),
            memory_reservation: memory(&m, "memory-reservation"),
            memory_swap: memory(&m, "memory-swap"),
            cpu_period: m.int("cpu-period"),
            cpu_quota: m.int("cpu-quota"),
            cpu_realtime_period: m.int("cpu-rt-period"),
            cpu_realtime_runtime: m.int("cpu-rt-runtime"),
            cpuset_cpus: m.text("cpuset-cpus").to_owned(),
            cpuset_mems: m.text("cpuset-mems").to_owned(),
            nano_cpus: match m.text("cpus") {
                "" => 0,
                text => decimal::nano_cpus(text)?,
            },
            pids_limit: m.changed("pids-limit").then(|| m.int("pids-limit")),
            ..Resources::default()
        },
        restart_policy: restart::parse(m.text("restart"))?,
        labels_add: labels(&m.list("label-add")),
        labels_remove: m.list("label-rm").into(),
        ports_add: port::parse(&m.list("publish-add"), &[])?.bindings,
        ports_remove: port::parse(&m.list("publish-rm"), &[])?.bindings,
        networks_add: networks(&m.list("network-add"))?,
        networks_remove: m.list("network-rm").into(),
    };
    let client = cli.client().await?;
    let (mut failures, mut warnings) = (Vec::new(), Vec::new());
    for name in &m.args {
        let request = client.post(format!("/containers/{name}/update")).json(&body);
        match request.fetch::<UpdateResponse>().await {
            Ok(response) => {
                cli.println(name)?;
                warnings.extend(response.warnings);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    if !warnings.is_empty() {
        cli.warn(&warnings.join("\n"));
    }
    joined(failures)
}
