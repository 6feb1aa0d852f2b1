//! `stats`: resource usage, live or once.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{Flag, Ty};
use crate::format::listing::{Listing, Row};
use crate::format::units;
use crate::term::signals;
use futures_util::{StreamExt, stream};
use knarr_docker_client::Client;
use knarr_docker_types::container::{StatsResponse, Summary};
use std::time::Duration;

use super::ps::FORMAT_HELP;

/// How often the screen is drawn.
const INTERVAL: Duration = Duration::from_millis(1000);
const PARALLEL: usize = 50;
const NOTHING: &str = "--";

pub static FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Show all containers (default shows just running)").short('a'),
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("no-stream", Ty::Bool, "Disable streaming stats and only pull the first result"),
    Flag::new("no-trunc", Ty::Bool, "Do not truncate output"),
];

static LISTING: Listing = Listing {
    type_name: "*container.statsContext",
    table: "{{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t{{.PIDs}}",
    quiet: "{{.ID}}",
    titles: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

async fn sample(client: &Client, name: &str) -> Result<StatsResponse, knarr_docker_client::Error> {
    client.get(format!("/containers/{name}/stats")).query("stream", "0").fetch().await
}

async fn targets(client: &Client, m: &Matches) -> Outcome<Vec<String>> {
    if !m.args.is_empty() {
        return Ok(m.args.clone());
    }
    let list: Vec<Summary> = client.get("/containers/json").flag("all", m.flag("all")).fetch().await?;
    Ok(list.into_iter().map(|c| c.id).collect())
}

/// One sample of each container, in order; a named container that does not exist is an error.
async fn samples(client: &Client, m: &Matches) -> Outcome<Vec<(String, Option<StatsResponse>)>> {
    let names = targets(client, m).await?;
    let requests = names.into_iter().map(|name| async move {
        let result = sample(client, &name).await;
        (name, result)
    });
    let results: Vec<_> = stream::iter(requests).buffered(PARALLEL).collect().await;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, result) in results {
        match result {
            Ok(stats) => rows.push((name, Some(stats))),
            Err(error) if error.is_connection() => return Err(error.into()),
            Err(error) if !m.args.is_empty() => failures.push(error.to_string()),
            // gone since it was listed
            Err(_) => {}
        }
    }
    joined(failures)?;
    Ok(rows)
}

pub async fn stats(cli: Shared, m: Matches) -> Outcome {
    let mut format = m.text("format").to_owned();
    if format.is_empty() {
        format = cli.config().text("statsFormat").to_owned();
    }
    let chosen = LISTING.choose(&format, false)?;
    let client = cli.client().await?;
    let truncate = !m.flag("no-trunc");
    let render = |rows: Vec<(String, Option<StatsResponse>)>| {
        LISTING.render(&chosen, rows.iter().map(|(name, stats)| row(name, stats.as_ref(), truncate)))
    };
    if m.flag("no-stream") {
        return cli.print(&render(samples(&client, &m).await?)?);
    }
    let mut ended = Box::pin(signals::ended());
    let mut start = "\x1b[2J\x1b[H";
    loop {
        let text = render(samples(&client, &m).await?)?;
        let mut screen = std::mem::replace(&mut start, "\x1b[H").to_owned();
        for line in text.lines() {
            screen.push_str(line);
            screen.push_str("\x1b[K\n");
        }
        screen.push_str("\x1b[J");
        cli.print(&screen)?;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            number = &mut ended => return Err(Failure::status(128 + number)),
        }
    }
}

fn row(name: &str, stats: Option<&StatsResponse>, truncate: bool) -> Row {
    let Some(s) = stats.filter(|s| !s.id.is_empty() || s.memory_stats.limit > 0) else {
        let nothing = ["Name", "ID", "CPUPerc", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        let mut row: Row = nothing.into_iter().map(|field| (field, NOTHING.into())).collect();
        row.push(("Container", name.into()));
        row.push(("MemUsage", "-- / --".into()));
        return row;
    };
    #[allow(clippy::cast_precision_loss)]
    let (used, limit) = (memory(s) as f64, s.memory_stats.limit as f64);
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (read, written) = block_io(s);
    let (received, sent) =
        s.networks.iter().fold((0, 0), |(rx, tx), (_, n)| (rx + n.rx_bytes, tx + n.tx_bytes));
    #[allow(clippy::cast_precision_loss)]
    let pair = |a: u64, b: u64| format!("{} / {}", units::size_of(a as f64), units::size_of(b as f64));
    let own_name = s.name.strip_prefix('/').unwrap_or(&s.name);
    vec![
        ("Container", name.into()),
        ("Name", if own_name.is_empty() { NOTHING } else { own_name }.into()),
        ("ID", if truncate { units::short_id(&s.id) } else { &s.id }.into()),
        ("CPUPerc", format!("{:.2}%", cpu_percent(s)).into()),
        ("MemUsage", format!("{} / {}", units::binary(used), units::binary(limit)).into()),
        ("MemPerc", format!("{percent:.2}%").into()),
        ("NetIO", pair(received, sent).into()),
        ("BlockIO", pair(read, written).into()),
        ("PIDs", s.pids_stats.current.to_string().into()),
    ]
}

/// Memory without the page cache that can go at once.
fn memory(s: &StatsResponse) -> u64 {
    let stats = &s.memory_stats;
    for name in ["total_inactive_file", "inactive_file"] {
        if let Some(inactive) = stats.stats.get(name).filter(|v| **v < stats.usage) {
            return stats.usage - inactive;
        }
    }
    stats.usage
}

#[allow(clippy::cast_precision_loss)]
fn cpu_percent(s: &StatsResponse) -> f64 {
    let used = s.cpu_stats.cpu_usage.total_usage as f64 - s.precpu_stats.cpu_usage.total_usage as f64;
    let system = s.cpu_stats.system_cpu_usage as f64 - s.precpu_stats.system_cpu_usage as f64;
    let cpus = match s.cpu_stats.online_cpus {
        0 => s.cpu_stats.cpu_usage.percpu_usage.len() as f64,
        count => f64::from(count),
    };
    if used > 0.0 && system > 0.0 { used / system * cpus * 100.0 } else { 0.0 }
}

fn block_io(s: &StatsResponse) -> (u64, u64) {
    let entries = s.blkio_stats.io_service_bytes_recursive.iter();
    entries.fold((0, 0), |(read, written), entry| match entry.op.bytes().next() {
        Some(b'r' | b'R') => (read + entry.value, written),
        Some(b'w' | b'W') => (read, written + entry.value),
        _ => (read, written),
    })
}
