//! What a container's health check is: its configuration with Docker's defaults.
use knarr_docker_types::container_config::{Config, HealthConfig};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

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
}

/// How to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A program of the container; 0 is healthy.
    Command(Vec<String>),
}

impl Plan {
    /// `None`: it has no check, or one that this engine does not know (of an image; a request with one is refused).
    pub fn of(config: &Config) -> Option<Self> {
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
        other => Err(format!("Unknown healthcheck type {other:?} (expected 'CMD')")),
    }
}
