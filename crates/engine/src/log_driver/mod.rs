//! Log drivers: which there are, what their options mean, and what a supervisor is told. Pure, but for names that are looked
//! up ([`target`]).
//!
//! Standard: Docker's drivers `local`, `json-file`, `journald`, `syslog` and `none`, with its options and texts. What goes
//! elsewhere is kept in a file of this machine, too (Docker's dual logging), so that `logs` works with every driver.
mod attributes;
mod options;
mod target;

use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use knarr_docker_types::host_config;
use knarr_shim_proto::{LogConfig, LogDriver, RemoteLog};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use options::validate;

/// All drivers, as `info` lists them.
pub(crate) const NAMES: [&str; 5] = ["journald", "json-file", "local", "none", "syslog"];
/// The driver of containers when nothing is configured.
pub const DEFAULT: &str = "local";

/// Whether a driver with these options can be a default.
pub fn check(driver: &str, options: &BTreeMap<String, String>) -> std::result::Result<(), String> {
    validate(driver, options)
}

/// Gives a request the engine's defaults: its driver, and its options if the driver is the same; those of the cache anyway.
pub(crate) fn merge(
    requested: &mut host_config::LogConfig,
    driver: &str,
    defaults: &BTreeMap<String, String>,
) {
    if requested.kind.is_empty() {
        driver.clone_into(&mut requested.kind);
    }
    let same = requested.kind == driver;
    for (key, value) in defaults.iter().filter(|(key, _)| same || key.starts_with("cache-")) {
        if !requested.config.contains_key(key) {
            requested.config.insert(key.clone(), value.clone());
        }
    }
}

/// Where `logs` reads; `None`: nothing is kept here.
pub(crate) fn path(engine: &Inner, container: &Container) -> Option<PathBuf> {
    let dir = engine.paths.container(&container.id);
    match container.log_driver.as_str() {
        "none" => None,
        "json-file" => Some(dir.join(format!("{}-json.log", container.id))),
        "local" => Some(dir.join("local-logs/container.log")),
        _ if options::flag(&container.log_opts, "cache-disabled", false) => None,
        _ => Some(dir.join("container-cached.log")),
    }
}

/// What `inspect` shows: the files of `json-file` only, as their form is the only one that others read.
pub(crate) fn shown_path(engine: &Inner, container: &Container) -> String {
    let path = path(engine, container).filter(|_| container.log_driver == "json-file");
    path.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
}

/// What the supervisor is told. Options were validated before.
pub(crate) async fn config(engine: &Inner, container: &Container) -> Result<LogConfig> {
    let options = &container.log_opts;
    let path = path(engine, container);
    let driver = container.log_driver.as_str();
    if driver == "local"
        && let Some(dir) = path.as_ref().and_then(|path| path.parent())
    {
        make_directory(dir)?;
    }
    let files = match driver {
        "json-file" => LogDriver::JsonFile,
        _ if path.is_none() => LogDriver::None,
        _ => LogDriver::Local,
    };
    let prefix = if matches!(driver, "json-file" | "local") { "" } else { "cache-" };
    let limits = options::limits(options, prefix, files);
    let failed = |why: String| Error::Invalid(format!("failed to initialize logging driver: {why}"));
    let remote = match driver {
        "journald" => Some(target::journald(container).map_err(failed)?),
        "syslog" => Some(target::syslog(engine, container).await.map_err(failed)?),
        _ => None,
    };
    let attrs =
        if remote.is_none() { attributes::of_lines(container).map_err(failed)? } else { BTreeMap::new() };
    Ok(LogConfig {
        driver: files,
        path: path.unwrap_or_default(),
        max_size: limits.max_size,
        max_file: limits.max_file,
        compress: limits.compress,
        attrs,
        remote: remote.map(|target| RemoteLog {
            target,
            non_blocking: options.get("mode").is_some_and(|mode| mode == "non-blocking"),
            buffer: options::buffer(options),
        }),
    })
}

fn make_directory(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::path("make", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
