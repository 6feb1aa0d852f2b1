//! `inspect` of anything, and of one kind of object.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::images::platform_json;
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{Flag, Ty};
use crate::format::inspect::Inspector;
use knarr_docker_client::{Client, Error};
use serde_json::Value;

pub const FORMAT_HELP: &str = "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

pub static FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP).short('f'),
    Flag::new("size", Ty::Bool, "Display total file sizes if the type is container").short('s'),
    Flag::new("type", Ty::Str, "Only inspect objects of the given type"),
];
pub static SIZE_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP).short('f'),
    Flag::new("size", Ty::Bool, "Display total file sizes").short('s'),
];
pub static FORMAT_FLAGS: &[Flag] = &[Flag::new("format", Ty::Str, FORMAT_HELP).short('f')];
pub static NETWORK_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP).short('f'),
    Flag::new("verbose", Ty::Bool, "Verbose output for diagnostics").short('v'),
];
pub static IMAGE_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP).short('f'),
    Flag::new(
        "platform",
        Ty::Str,
        "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
];

/// Kinds of objects in the order in which a name is looked for.
const KINDS: [&str; 9] =
    ["container", "image", "network", "volume", "service", "task", "node", "plugin", "secret"];

/// Where one object of a kind is.
fn path(kind: &str, name: &str) -> String {
    match kind {
        "container" => format!("/containers/{name}/json"),
        "image" => format!("/images/{name}/json"),
        "plugin" => format!("/plugins/{name}/json"),
        other => format!("/{other}s/{name}"),
    }
}

async fn get(client: &Client, kind: &str, name: &str, size: bool) -> Result<Value, Error> {
    client.get(path(kind, name)).flag("size", size && kind == "container").fetch().await
}

/// What `container inspect` and its like ask beside the name.
struct Asked {
    size: bool,
    /// A platform as JSON.
    platform: String,
    verbose: bool,
}

/// What an engine says that has no object of a kind, or no such kind at all.
fn is_absent(error: &Error) -> bool {
    matches!(error.status(), Some(404 | 501 | 503 | 400))
        || error.api_message().is_some_and(|m| m.contains("not a swarm manager"))
}

async fn any(client: &Client, name: &str, size: bool) -> Result<Value, String> {
    for kind in &KINDS[..4] {
        match get(client, kind, name, size).await {
            Ok(document) => return Ok(document),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("Error: No such object: {name}"))
}

fn finish(cli: &Cli, inspector: Inspector, failures: Vec<String>) -> Outcome {
    cli.print(&inspector.finish())?;
    joined(failures)
}

pub async fn inspect(cli: Shared, m: Matches) -> Outcome {
    let kind = m.text("type");
    if !(kind.is_empty() && !m.changed("type") || KINDS.contains(&kind) || kind == "config") {
        let kind = match kind {
            "" => "type is empty".to_owned(),
            kind => format!("unknown type: {}", knarr_gotemplate::quote(kind)),
        };
        let known = "\"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"";
        return Err(Failure::new(format!("{kind}: must be one of {known}")));
    }
    if m.flag("size") && !matches!(kind, "" | "container") {
        cli.warn(&format!("WARNING: --size ignored for {kind}"));
    }
    let mut inspector = Inspector::new(m.text("format"))?;
    let client = cli.client().await?;
    let mut failures = Vec::new();
    for name in &m.args {
        let found = match kind {
            "" => any(&client, name, m.flag("size")).await,
            kind => get(&client, kind, name, m.flag("size")).await.map_err(|e| e.to_string()),
        };
        if let Err(message) = found.and_then(|document| inspector.add(document)) {
            failures.push(message);
        }
    }
    finish(&cli, inspector, failures)
}

async fn one_kind(cli: Shared, m: Matches, kind: &'static str, asked: Asked) -> Outcome {
    // Docker's client has volumes as its own structure only
    let mut inspector = match kind {
        "volume" => Inspector::typed(m.text("format"), "volume.Volume")?,
        _ => Inspector::new(m.text("format"))?,
    };
    let client = cli.client().await?;
    let mut failures = Vec::new();
    for name in &m.args {
        let request = client
            .get(path(kind, name))
            .flag("size", asked.size)
            .flag("verbose", asked.verbose)
            .query_some("platform", &asked.platform);
        let found = request.fetch().await.map_err(|e| e.to_string());
        if let Err(message) = found.and_then(|document| inspector.add(document)) {
            failures.push(message);
        }
    }
    finish(&cli, inspector, failures)
}

pub async fn container(cli: Shared, m: Matches) -> Outcome {
    let asked = Asked { size: m.flag("size"), platform: String::new(), verbose: false };
    one_kind(cli, m, "container", asked).await
}
pub async fn image(cli: Shared, m: Matches) -> Outcome {
    let platform = match m.text("platform") {
        "" => String::new(),
        text => platform_json(text, "")?,
    };
    one_kind(cli, m, "image", Asked { size: false, platform, verbose: false }).await
}
pub async fn network(cli: Shared, m: Matches) -> Outcome {
    let asked = Asked { size: false, platform: String::new(), verbose: m.flag("verbose") };
    one_kind(cli, m, "network", asked).await
}
pub async fn volume(cli: Shared, m: Matches) -> Outcome {
    one_kind(cli, m, "volume", Asked { size: false, platform: String::new(), verbose: false }).await
}
