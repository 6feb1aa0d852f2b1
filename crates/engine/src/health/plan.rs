//! What a container's health check is: its configuration with Docker's defaults.
use super::target::Target;
use knarr_docker_types::Map;
use knarr_docker_types::container_config::{Config, HealthConfig};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Bytes of a URL.
const MAX_URL: usize = 2048;
/// Bytes of the name of a gRPC service.
const MAX_SERVICE: usize = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
    /// Between probes in the start period, until the first success.
    pub start_interval: Duration,
    /// Failures one after the other that make it unhealthy.
    pub retries: u32,
    pub on_failure: OnFailure,
}

/// How to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A program of the container; 0 is healthy.
    Command(Vec<String>),
    /// The rest is asked by the engine, inside of the container's network namespace.
    Http(Http),
    Tcp(Target),
    Grpc(Grpc),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    pub target: Target,
    /// With the query.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grpc {
    pub target: Target,
    /// Empty: the server as a whole.
    pub service: String,
}

/// What is done about a container that became unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnFailure {
    #[default]
    None,
    Restart,
    Stop,
    Kill,
}

/// The annotation of a container that says so. Annotations are part of the request only; an image has none.
const ON_FAILURE: &str = "io.knarr.health.on-failure";

impl OnFailure {
    pub fn of(annotations: &Map<String>) -> Result<Self, String> {
        match annotations.get(ON_FAILURE).map(String::as_str) {
            None | Some("" | "none") => Ok(Self::None),
            Some("restart") => Ok(Self::Restart),
            Some("stop") => Ok(Self::Stop),
            Some("kill") => Ok(Self::Kill),
            Some(other) => {
                Err(format!("invalid {ON_FAILURE} {other:?}: it has to be none, restart, stop or kill"))
            }
        }
    }
}

impl Plan {
    /// `None`: it has no check, or one that this engine does not know (of an image; a request with one is refused).
    pub fn of(config: &Config, annotations: &Map<String>) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let probe = probe(&health.test, &config.shell).ok()??;
        let or = |ns: i64, default: Duration| match u64::try_from(ns) {
            Ok(0) | Err(_) => default,
            Ok(ns) => Duration::from_nanos(ns),
        };
        Some(Self {
            probe,
            interval: or(health.interval_ns, INTERVAL),
            timeout: or(health.timeout_ns, TIMEOUT),
            start_period: or(health.start_period_ns, Duration::ZERO),
            start_interval: or(health.start_interval_ns, START_INTERVAL),
            retries: u32::try_from(health.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES),
            on_failure: OnFailure::of(annotations).unwrap_or_default(),
        })
    }
}

/// Whether a check can be made of it; the error is what is wrong.
pub(crate) fn check(health: &HealthConfig) -> Result<(), String> {
    probe(&health.test, &[]).map(|_| ())
}

fn probe(test: &[String], shell: &[String]) -> Result<Option<Probe>, String> {
    let Some((kind, arguments)) = test.split_first() else { return Ok(None) };
    match kind.as_str() {
        "" | "NONE" => Ok(None),
        "CMD" => Ok(Some(Probe::Command(arguments.to_vec()))),
        "CMD-SHELL" => {
            let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let mut command = if shell.is_empty() { default() } else { shell.to_vec() };
            command.extend_from_slice(arguments);
            Ok(Some(Probe::Command(command)))
        }
        "HTTP" => one(arguments, "HTTP").and_then(http).map(|http| Some(Probe::Http(http))),
        "TCP" => {
            one(arguments, "TCP").and_then(|text| Target::parse(text, None)).map(|to| Some(Probe::Tcp(to)))
        }
        "GRPC" => one(arguments, "GRPC").and_then(grpc).map(|grpc| Some(Probe::Grpc(grpc))),
        other => Err(format!("Unknown healthcheck type {other:?} (expected 'CMD')")),
    }
}

fn one<'a>(arguments: &'a [String], kind: &str) -> Result<&'a str, String> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(format!("a healthcheck of type {kind} has one argument")),
    }
}

/// `http://[ADDRESS][:PORT][/PATH]`.
fn http(url: &str) -> Result<Http, String> {
    if url.starts_with("https://") {
        return Err(
            "a healthcheck of type HTTP cannot use https; use TCP, or a command of the image".to_owned()
        );
    }
    let rest =
        url.strip_prefix("http://").ok_or_else(|| format!("{url:?} of a healthcheck is no http:// URL"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    if url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{url:?} of a healthcheck has characters that no URL has, or too many"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Http { target: Target::parse(authority, Some(80))?, path })
}

/// `[ADDRESS:]PORT[/SERVICE]`.
fn grpc(text: &str) -> Result<Grpc, String> {
    let (address, service) = text.split_once('/').unwrap_or((text, ""));
    if service.len() > MAX_SERVICE {
        return Err(format!("a service of a healthcheck has at most {MAX_SERVICE} bytes"));
    }
    Ok(Grpc { target: Target::parse(address, None)?, service: service.to_owned() })
}
