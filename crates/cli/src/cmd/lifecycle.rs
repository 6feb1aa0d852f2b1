//! `stop`, `kill`, `restart`, `pause`, `unpause`, `wait`, `rm`, `rename`, `container prune`: one request for each container.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{FILTER, Flag, Ty};
use crate::format::units;
use crate::spec::filter;
use futures_util::StreamExt;
use futures_util::stream;
use knarr_docker_client::{Client, Error, Request};
use knarr_docker_types::container::{PruneReport, WaitResponse};

/// Requests under way at once.
const PARALLEL: usize = 50;

pub static STOP_FLAGS: &[Flag] = &[
    Flag::new("signal", Ty::Str, "Signal to send to the container").short('s'),
    Flag::new("time", Ty::Int, "Seconds to wait before killing the container").hidden(),
    Flag::new("timeout", Ty::Int, "Seconds to wait before killing the container").short('t'),
];
pub static KILL_FLAGS: &[Flag] =
    &[Flag::new("signal", Ty::Str, "Signal to send to the container").short('s')];
pub static RM_FLAGS: &[Flag] = &[
    Flag::new("force", Ty::Bool, "Force the removal of a running container (uses SIGKILL)").short('f'),
    Flag::new("link", Ty::Bool, "Remove the specified link").short('l'),
    Flag::new("volumes", Ty::Bool, "Remove anonymous volumes associated with the container").short('v'),
];
pub static PRUNE_FLAGS: &[Flag] = &[
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::new("force", Ty::Bool, "Do not prompt for confirmation").short('f'),
];

/// Sends one request for each name, prints the names in order, and collects what failed.
async fn each(cli: &Shared, names: &[String], make: impl Fn(&Client, &str) -> Request) -> Outcome {
    let client = cli.client().await?;
    let results = stream::iter(names.iter().map(|name| {
        let request = make(&client, name);
        async move { (name, request.done().await) }
    }));
    let mut results = results.buffered(PARALLEL);
    let mut failures = Vec::new();
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(()) => cli.println(name)?,
            // an engine that cannot be reached says so once
            Err(error) if error.is_connection() => return Err(error.into()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    joined(failures)
}

fn timeout(m: &Matches) -> String {
    let flag = ["timeout", "time"].into_iter().find(|flag| m.changed(flag));
    flag.map(|flag| m.int(flag).to_string()).unwrap_or_default()
}

async fn stop_or_restart(cli: Shared, m: Matches, verb: &str) -> Outcome {
    if m.changed("time") {
        cli.println("Flag --time has been deprecated, use --timeout instead")?;
        if m.changed("timeout") {
            return Err(Failure::new("conflicting options: cannot specify both --timeout and --time"));
        }
    }
    let (seconds, signal) = (timeout(&m), m.text("signal"));
    each(&cli, &m.args, |client, name| {
        client
            .post(format!("/containers/{name}/{verb}"))
            .query_some("signal", signal)
            .query_some("t", &seconds)
    })
    .await
}

pub async fn stop(cli: Shared, m: Matches) -> Outcome {
    stop_or_restart(cli, m, "stop").await
}
pub async fn restart(cli: Shared, m: Matches) -> Outcome {
    stop_or_restart(cli, m, "restart").await
}
pub async fn kill(cli: Shared, m: Matches) -> Outcome {
    let signal = m.text("signal");
    each(&cli, &m.args, |client, name| {
        client.post(format!("/containers/{name}/kill")).query_some("signal", signal)
    })
    .await
}
pub async fn pause(cli: Shared, m: Matches) -> Outcome {
    each(&cli, &m.args, |client, name| client.post(format!("/containers/{name}/pause"))).await
}
pub async fn unpause(cli: Shared, m: Matches) -> Outcome {
    each(&cli, &m.args, |client, name| client.post(format!("/containers/{name}/unpause"))).await
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let force = m.flag("force");
    let client = cli.client().await?;
    let removals = stream::iter(m.args.iter().map(|text| {
        let name = text.trim_matches('/');
        let request = client
            .delete(format!("/containers/{name}"))
            .flag("v", m.flag("volumes"))
            .flag("link", m.flag("link"))
            .flag("force", force);
        async move { (text, if name.is_empty() { None } else { Some(request.done().await) }) }
    }));
    let mut removals = removals.buffered(PARALLEL);
    let mut failures = Vec::new();
    while let Some((name, result)) = removals.next().await {
        match result {
            None => failures.push("container name cannot be empty".to_owned()),
            Some(Ok(())) => cli.println(name)?,
            Some(Err(error)) if error.is_connection() => return Err(error.into()),
            // gone is what was asked for
            Some(Err(error)) if force && error.is_not_found() => cli.warn(&error.to_string()),
            Some(Err(error)) => failures.push(error.to_string()),
        }
    }
    joined(failures)
}

pub async fn rename(cli: Shared, m: Matches) -> Outcome {
    let (old, new) = (m.args[0].trim(), m.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    let client = cli.client().await?;
    let renamed = client.post(format!("/containers/{old}/rename")).query("name", new).done().await;
    renamed.map_err(|error| match &error {
        Error::Api { .. } => Failure::new(format!("{error}\nError: failed to rename container named {old}")),
        _ => error.into(),
    })
}

pub async fn wait(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let mut failures = Vec::new();
    for name in &m.args {
        let waited: Result<WaitResponse, Error> =
            client.post(format!("/containers/{name}/wait")).fetch().await;
        match waited {
            Ok(response) => match response.error.filter(|e| !e.message.is_empty()) {
                Some(error) => failures.push(error.message),
                None => cli.println(&response.status_code.to_string())?,
            },
            Err(error) => failures.push(error.to_string()),
        }
    }
    joined(failures)
}

pub async fn prune(cli: Shared, m: Matches) -> Outcome {
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !m.flag("force") && !cli.confirm(question)? {
        return Ok(());
    }
    let (reclaimed, text) = prune_containers(&cli, &m.list("filter")).await?;
    let text = if text.is_empty() { text } else { format!("{text}\n") };
    let reclaimed = units::size(i64::try_from(reclaimed).unwrap_or(i64::MAX));
    cli.print(&format!("{text}Total reclaimed space: {reclaimed}\n"))
}

/// Prunes containers; what was reclaimed and the text to print.
pub async fn prune_containers(cli: &Shared, filters: &[String]) -> Outcome<(u64, String)> {
    let client = cli.client().await?;
    let report: PruneReport = client
        .post("/containers/prune")
        .filters(&filter::for_prune(filters, &cli.config().texts("pruneFilters")))
        .fetch()
        .await?;
    let text = match report.containers_deleted.is_empty() {
        true => String::new(),
        false => format!("Deleted Containers:\n{}\n", report.containers_deleted.join("\n")),
    };
    Ok((report.space_reclaimed, text))
}
