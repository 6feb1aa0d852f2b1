//! `info`, `version`, `events`, `system df`, `system prune`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::inspect::FORMAT_HELP as INSPECT_HELP;
use crate::cmd::{lifecycle, network, transfer, volume};
use crate::connection;
use crate::failure::{Failure, Outcome};
use crate::flag::{FILTER, Flag, Ty};
use crate::format::order::natural;
use crate::format::{columns, inspect, units};
use crate::plugin::{self, Plugin};
use crate::spec::{filter, timestamp};
use jiff::Timestamp;
use knarr_docker_types::event::Message;
use knarr_docker_types::system::{Info, Version};
use knarr_gotemplate::{MissingKey, Struct, Template, Value as TemplateValue};
use serde_json::{Value, json};
use std::fmt::Write;

pub static FORMAT_FLAGS: &[Flag] = &[Flag::new("format", Ty::Str, INSPECT_HELP).short('f')];
pub static EVENTS_FLAGS: &[Flag] = &[
    Flag::new("filter", FILTER, "Filter output based on conditions provided").short('f'),
    Flag::new("format", Ty::Str, INSPECT_HELP),
    Flag::new("since", Ty::Str, "Show all events created since timestamp"),
    Flag::new("until", Ty::Str, "Stream events until this timestamp"),
];
pub static PRUNE_FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Remove all unused images not just dangling ones").short('a'),
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"label=<key>=<value>\")"),
    Flag::new("force", Ty::Bool, "Do not prompt for confirmation").short('f'),
    Flag::new("volumes", Ty::Bool, "Prune anonymous volumes"),
];

const EXIT_BAD_FORMAT: i32 = 64;

fn template(format: &str, what: &str) -> Outcome<Template> {
    let text = if format == "json" { "{{json .}}" } else { format };
    Template::parse(text).map_err(|e| Failure::with_code(EXIT_BAD_FORMAT, format!("{what}{e}")))
}

/// `amd64`, as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Docker's client calls this template by a name.
fn named_version(failure: Failure) -> Failure {
    let message = failure.message.replacen("template: :", "template: version:", 1);
    Failure::with_code(failure.code, message.replacen("executing \"\"", "executing \"version\"", 1))
}

pub async fn version(cli: Shared, m: Matches) -> Outcome {
    let format = m.text("format");
    let chosen = match format {
        "" => None,
        _ => Some(template(format, "template parsing error: ").map_err(named_version)?),
    };
    let ours = knarr_docker_types::ApiVersion::CURRENT;
    let context = connection::context_name(&cli)?;
    // without an engine there is half an answer, without a context none
    connection::choose(&cli)?;
    let client = cli.client().await;
    let mut spoken = ours;
    let server: Outcome<Version> = async {
        let client = client?;
        spoken = client.version().await?;
        Ok(client.get("/version").fetch().await?)
    }
    .await;
    let client_part = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": spoken.to_string(),
        "DefaultAPIVersion": ours.to_string(),
        "GitCommit": "", "GoVersion": "",
        "Os": std::env::consts::OS,
        "Arch": architecture(),
        "BuildTime": "",
        "Context": context,
    });
    if let Some(template) = chosen {
        let server_part =
            server.as_ref().ok().map(serde_json::to_value).and_then(Result::ok).unwrap_or_default();
        let document = json!({"Client": client_part, "Server": server_part});
        match inspect::execute_as(&template, &document, "system.versionInfo") {
            Ok(text) => cli.println(&text)?,
            Err(message) if server.is_ok() => {
                cli.println("")?;
                return Err(named_version(Failure::new(message)));
            }
            // what is missing is the server's
            Err(_) => cli.println("")?,
        }
        return server.map(drop);
    }
    let downgraded = if spoken == ours { String::new() } else { format!(" (downgraded from {ours})") };
    let mut text = format!(
        "Client:\n Version:\t{}\n API version:\t{spoken}{downgraded}\n OS/Arch:\t{}/{}\n Context:\t{context}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        architecture(),
    );
    if let Ok(server) = &server {
        write_server(&mut text, server);
    }
    cli.print(&columns::align(&text, &columns::FACTS))?;
    server.map(drop)
}

fn write_server(out: &mut String, server: &Version) {
    let platform = match server.platform.name.as_str() {
        "" => String::new(),
        name => format!(" {name}"),
    };
    let _ = writeln!(out, "\nServer:{platform}");
    if !server.components.iter().any(|c| c.name == "Engine") {
        let _ = writeln!(
            out,
            " Engine:\n  Version:\t{}\n  API version:\t{} (minimum version {})\n  OS/Arch:\t{}/{}",
            server.version, server.api_version, server.min_api_version, server.os, server.arch
        );
    }
    for component in &server.components {
        let detail = |name: &str| component.details.get(name).map(String::as_str).unwrap_or_default();
        let _ = writeln!(out, " {}:\n  Version:\t{}", component.name, component.version);
        if component.name == "Engine" {
            let _ = writeln!(
                out,
                "  API version:\t{} (minimum version {})",
                detail("ApiVersion"),
                detail("MinAPIVersion")
            );
            for (title, name) in
                [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")]
            {
                if !detail(name).is_empty() {
                    let _ = writeln!(out, "  {title}:\t{}", detail(name));
                }
            }
            let _ = writeln!(out, "  OS/Arch:\t{}/{}", detail("Os"), detail("Arch"));
            let experimental =
                if detail("Experimental").is_empty() { "false" } else { detail("Experimental") };
            let _ = writeln!(out, "  Experimental:\t{experimental}");
        } else {
            for (name, value) in &component.details {
                let _ = writeln!(out, "  {name}:\t{value}");
            }
        }
    }
}

pub async fn info(cli: Shared, m: Matches) -> Outcome {
    let format = m.text("format");
    let chosen = if format.is_empty() { None } else { Some(template(format, "template parsing error: ")?) };
    let context = connection::context_name(&cli)?;
    let debug = cli.globals.flag("debug");
    let info: Outcome<Info> = async { Ok(cli.client().await?.get("/info").fetch().await?) }.await;
    if let Some(template) = chosen {
        let info = info?;
        let mut document = serde_json::to_value(&info).map_err(|e| Failure::new(e.to_string()))?;
        document["ClientInfo"] = json!({
            "Debug": debug, "Version": env!("CARGO_PKG_VERSION"),
            "DefaultAPIVersion": knarr_docker_types::ApiVersion::CURRENT.to_string(), "GitCommit": "", "GoVersion": "",
            "Os": std::env::consts::OS, "Arch": architecture(), "BuildTime": "", "Context": context,
            "Plugins": plugin::list(&cli).iter().map(Plugin::document).collect::<Vec<_>>(), "Warnings": null,
        });
        return match inspect::execute_as(&template, &document, "system.dockerInfo") {
            Ok(text) => cli.println(&text),
            Err(message) => {
                cli.println("")?;
                Err(Failure::new(message))
            }
        };
    }
    cli.print(&format!(
        "Client:\n Version:    {}\n Context:    {context}\n Debug Mode: {debug}\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    client_plugins(&cli)?;
    cli.print("\nServer:\n")?;
    match info {
        Ok(info) => {
            cli.print(&server_info(&info, debug))?;
            for warning in &info.warnings {
                cli.warn(warning);
            }
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// The plugins of this client.
fn client_plugins(cli: &Shared) -> Outcome {
    let (mut text, mut warnings) = (String::new(), Vec::new());
    for plugin in plugin::list(cli) {
        if let Some(problem) = plugin.problem {
            warnings.push(format!("WARNING: Plugin {:?} is not valid: {problem}", plugin.path));
            continue;
        }
        let _ = writeln!(text, "  {}: {} ({})", plugin.name, plugin.about, plugin.vendor);
        if !plugin.version.is_empty() {
            let _ = writeln!(text, "    Version:  {}", plugin.version);
        }
        let _ = writeln!(text, "    Path:     {}", plugin.path.display());
    }
    if !(text.is_empty() && warnings.is_empty()) {
        cli.print(&format!(" Plugins:\n{text}"))?;
    }
    warnings.iter().for_each(|warning| cli.warn(warning));
    Ok(())
}

fn server_info(info: &Info, debug: bool) -> String {
    let mut out = String::new();
    let mut line = |indent: usize, name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{:indent$}{name}: {value}", "");
    };
    line(1, "Containers", &info.containers);
    line(2, "Running", &info.containers_running);
    line(2, "Paused", &info.containers_paused);
    line(2, "Stopped", &info.containers_stopped);
    line(1, "Images", &info.images);
    line(1, "Server Version", &info.server_version);
    line(1, "Storage Driver", &info.driver);
    for pair in &info.driver_status {
        if let [name, value] = &pair[..] {
            line(2, name, value);
        }
    }
    let present = [
        ("Logging Driver", &info.logging_driver),
        ("Cgroup Driver", &info.cgroup_driver),
        ("Cgroup Version", &info.cgroup_version),
    ];
    for (name, value) in present.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(1, name, value);
    }
    line(1, "Plugins", &"");
    line(2, "Volume", &info.plugins.volume.join(" "));
    line(2, "Network", &info.plugins.network.join(" "));
    line(2, "Log", &info.plugins.log.join(" "));
    if !info.cdi_spec_dirs.is_empty() {
        line(1, "CDI spec directories", &format!("\n  {}", info.cdi_spec_dirs.join("\n  ")));
    }
    let swarm = &info.swarm.local_node_state;
    line(1, "Swarm", if swarm.is_empty() { &"inactive" } else { swarm });
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        line(1, "Runtimes", &names.join(" "));
        line(1, "Default Runtime", &info.default_runtime);
    }
    line(1, "Init Binary", &info.init_binary);
    for (name, commit) in [
        ("containerd version", &info.containerd_commit),
        ("runc version", &info.runc_commit),
        ("init version", &info.init_commit),
    ] {
        line(1, name, &commit.id);
    }
    let security = security_options(&info.security_options);
    if !security.is_empty() {
        line(1, "Security Options", &format!("\n{}", security.trim_end()));
    }
    for (name, value) in [
        ("Kernel Version", &info.kernel_version),
        ("Operating System", &info.operating_system),
        ("OSType", &info.os_type),
        ("Architecture", &info.architecture),
    ] {
        line(1, name, value);
    }
    line(1, "CPUs", &info.n_cpu);
    #[allow(clippy::cast_precision_loss)]
    line(1, "Total Memory", &units::binary(info.mem_total as f64));
    line(1, "Name", &info.name);
    line(1, "ID", &info.id);
    line(1, "Docker Root Dir", &info.docker_root_dir);
    line(1, "Debug Mode", &info.debug);
    if info.debug || debug {
        line(2, "File Descriptors", &info.n_fd);
        line(2, "Goroutines", &info.n_goroutines);
        line(2, "System Time", &info.system_time);
        line(2, "EventsListeners", &info.n_events_listener);
    }
    for (name, value) in
        [("HTTP Proxy", &info.http_proxy), ("HTTPS Proxy", &info.https_proxy), ("No Proxy", &info.no_proxy)]
    {
        if !value.is_empty() {
            line(1, name, value);
        }
    }
    if !info.labels.is_empty() {
        line(1, "Labels", &format!("\n  {}", info.labels.join("\n  ")));
    }
    line(1, "Experimental", &info.experimental_build);
    if let Some(registry) = &info.registry_config {
        let insecure = registry.index_configs.iter().filter(|(_, index)| !index.secure).map(|(name, _)| name);
        let all: Vec<&String> = insecure.chain(&registry.insecure_registry_cidrs).collect();
        if !all.is_empty() {
            let lines: Vec<String> = all.iter().map(|name| format!("\n  {name}")).collect();
            line(1, "Insecure Registries", &lines.concat());
        }
        if !registry.mirrors.is_empty() {
            line(1, "Registry Mirrors", &format!("\n  {}", registry.mirrors.join("\n  ")));
        }
    }
    line(1, "Live Restore Enabled", &info.live_restore_enabled);
    if !info.default_address_pools.is_empty() {
        let pools =
            info.default_address_pools.iter().map(|p| format!("\n   Base: {}, Size: {}", p.base, p.size));
        line(1, "Default Address Pools", &pools.collect::<String>());
    }
    // a title without a value ends in its colon
    let text: Vec<&str> = out.lines().map(|l| if l.ends_with(": ") { l.trim_end() } else { l }).collect();
    let keep_space =
        ["  Volume:", "  Network:", "  Log:", " init version:", " runc version:", " containerd version:"];
    let lines =
        text.into_iter().map(|l| if keep_space.contains(&l) { format!("{l} \n") } else { format!("{l}\n") });
    format!("{}\n", lines.collect::<String>())
}

/// `name=seccomp,profile=default` as lines.
fn security_options(options: &[String]) -> String {
    let mut out = String::new();
    for option in options {
        let mut profile = None;
        let mut name = option.as_str();
        for field in option.split(',') {
            match field.split_once('=') {
                Some(("name", value)) => name = value,
                Some(("profile", value)) => profile = Some(value),
                _ => {}
            }
        }
        let _ = writeln!(out, "  {name}");
        if let Some(profile) = profile {
            let _ = writeln!(out, "   Profile: {profile}");
        }
    }
    out
}

pub async fn events(cli: Shared, m: Matches) -> Outcome {
    let format = m.text("format");
    let chosen = if format.is_empty() { None } else { Some(template(format, "Error parsing format: ")?) };
    if let Some(template) = &chosen {
        // a wrong template is told before an event comes
        let nothing = json!({"Actor": {"ID": "", "Attributes": {}}});
        event_text(template, &nothing, format)
            .map_err(|e| Failure::with_code(EXIT_BAD_FORMAT, format!("Error parsing format: {e}")))?;
    }
    let now = Timestamp::now();
    let point = |flag: &str| timestamp::parse(m.text(flag), now).map_err(Failure::new);
    let client = cli.client().await?;
    let mut stream = client
        .get("/events")
        .query_some("since", point("since")?)
        .query_some("until", point("until")?)
        .filters(&filter::collect(&m.list("filter")))
        .lines()
        .await?;
    while let Some(line) = stream.next_raw().await? {
        let text = match &chosen {
            None => {
                let event: Message =
                    serde_json::from_slice(&line).map_err(|e| Failure::new(format!("invalid event: {e}")))?;
                event_line(&event)
            }
            Some(template) => {
                let event: Value =
                    serde_json::from_slice(&line).map_err(|e| Failure::new(format!("invalid event: {e}")))?;
                event_text(template, &event, format).map_err(Failure::new)?
            }
        };
        cli.println(&text)?;
    }
    Ok(())
}

/// An event through a template; members that it leaves out are there all the same, but not in JSON.
fn event_text(template: &Template, event: &Value, format: &str) -> Result<String, String> {
    const TEXTS: [&str; 6] = ["status", "id", "from", "Type", "Action", "scope"];
    let value = match inspect::typed_as(event, "*events.Message") {
        TemplateValue::Struct(inner) if format != "json" => {
            let missing = |name: &&str| event.get(*name).is_none();
            let texts =
                TEXTS.into_iter().filter(missing).map(|name| (name.to_owned(), TemplateValue::str("")));
            let numbers = ["time", "timeNano"].into_iter().filter(missing);
            let numbers = numbers.map(|name| (name.to_owned(), TemplateValue::Int(0)));
            TemplateValue::Struct(std::rc::Rc::new(Struct {
                type_name: inner.type_name,
                fields: inner.fields.clone(),
                omitted: texts.chain(numbers).collect(),
                fold_case: true,
                html_json: false,
            }))
        }
        _ => TemplateValue::from(event),
    };
    template.execute(&value, MissingKey::NoValue).map_err(|e| e.to_string())
}

/// `2026-01-02T15:04:05.000000000Z container start <id> (image=busybox, name=x)`.
fn event_line(event: &Message) -> String {
    let mut text = String::new();
    let nanos = if event.time_nano != 0 {
        i128::from(event.time_nano)
    } else {
        i128::from(event.time) * 1_000_000_000
    };
    if nanos != 0
        && let Ok(at) = Timestamp::from_nanosecond(nanos)
    {
        let local = at.to_zoned(jiff::tz::TimeZone::system());
        let zone = local.strftime("%:z").to_string();
        let zone = if zone == "+00:00" { "Z".to_owned() } else { zone };
        let _ = write!(
            text,
            "{}.{:09}{zone} ",
            local.strftime("%Y-%m-%dT%H:%M:%S"),
            at.subsec_nanosecond().abs()
        );
    }
    let _ = write!(text, "{} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<String> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let _ = write!(text, " ({})", pairs.join(", "));
    }
    text
}

pub async fn prune(cli: Shared, m: Matches) -> Outcome {
    let (all, volumes, filters) = (m.flag("all"), m.flag("volumes"), m.list("filter"));
    if volumes && filter::collect(&filters).contains("until") {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !m.flag("force") {
        let mut question = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
        if volumes {
            question.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        question.push_str(match all {
            true => "  - all images without at least one container associated to them\n",
            false => "  - all dangling images\n",
        });
        question.push_str(if all { "  - all build cache\n" } else { "  - unused build cache\n" });
        let shown = filter::for_prune(&filters, &cli.config().texts("pruneFilters"));
        let named = |name| shown.get(name).map(move |value| format!("{name}={value}"));
        let mut shown: Vec<String> = ["label", "label!", "until"].into_iter().flat_map(named).collect();
        shown.sort_by(|a, b| natural(a, b));
        if !shown.is_empty() {
            question.push_str("\n  Items to be pruned will be filtered with:\n");
            for text in &shown {
                let _ = writeln!(question, "  - {text}");
            }
        }
        question.push_str("\nAre you sure you want to continue?");
        if !cli.confirm(&question)? {
            return Ok(());
        }
    }
    let mut reclaimed = 0;
    let mut texts = Vec::new();
    let (space, text) = lifecycle::prune_containers(&cli, &filters).await?;
    reclaimed += space;
    texts.push(text);
    texts.push(network::prune_networks(&cli, &filters).await?);
    if volumes {
        let (space, text) = volume::prune_volumes(&cli, false, &filters).await?;
        reclaimed += space;
        texts.push(text);
    }
    let (space, text) = transfer::prune_images(&cli, all, &filters).await?;
    reclaimed += space;
    texts.push(text);
    for text in texts.iter().filter(|t| !t.is_empty()) {
        cli.println(text)?;
    }
    cli.println(&format!(
        "Total reclaimed space: {}",
        units::size(i64::try_from(reclaimed).unwrap_or(i64::MAX))
    ))
}
