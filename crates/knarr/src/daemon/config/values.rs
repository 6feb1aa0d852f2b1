//! How single values of flags and of `daemon.json` are read: sizes, pools, limits, runtimes. Pure.
use super::{ConfigError, Pool, RuntimeEntry, Tls, Ulimit};
use knarr_base::units;
use knarr_engine::config::StorageDriver;
use std::{collections::BTreeMap, path::PathBuf};

pub fn non_empty(
    flag: Vec<String>,
    file: Option<Vec<String>>,
    default: impl FnOnce() -> Vec<String>,
) -> Vec<String> {
    if !flag.is_empty() { flag } else { file.filter(|v| !v.is_empty()).unwrap_or_else(default) }
}

pub fn absolute(what: &'static str, path: Option<PathBuf>, default: &str) -> Result<PathBuf, ConfigError> {
    let path = path.unwrap_or_else(|| default.into());
    if path.is_absolute() {
        return Ok(path);
    }
    Err(ConfigError::Invalid { what, value: path.display().to_string(), why: "expected an absolute path" })
}

pub fn tls(
    on: bool,
    verify: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<Tls>, ConfigError> {
    if !on && !verify {
        return Ok(None);
    }
    let missing =
        |what| ConfigError::Invalid { what, value: String::new(), why: "needed with --tls or --tlsverify" };
    let ca = if verify { Some(ca.ok_or(missing("tlscacert"))?) } else { None };
    Ok(Some(Tls { ca, cert: cert.ok_or(missing("tlscert"))?, key: key.ok_or(missing("tlskey"))? }))
}

pub fn parse_pool(text: &str) -> Result<Pool, ConfigError> {
    let bad = || ConfigError::Invalid {
        what: "default-address-pool",
        value: text.into(),
        why: "expected base=CIDR,size=N",
    };
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.trim().split_once('=').ok_or_else(bad)? {
            ("base", v) => base = Some(v.to_owned()),
            ("size", v) => size = Some(v.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        }
    }
    Ok(Pool { base: base.ok_or_else(bad)?, size: size.ok_or_else(bad)? })
}

/// `DRIVER=OPTION=VALUE`.
pub fn network_opts(list: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>, ConfigError> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for text in list {
        let parts = text.split_once('=').and_then(|(driver, rest)| Some((driver, rest.split_once('=')?)));
        let Some((driver, (name, value))) = parts else {
            return Err(ConfigError::Invalid {
                what: "default-network-opt",
                value: text.clone(),
                why: "expected DRIVER=OPTION=VALUE",
            });
        };
        all.entry(driver.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Whether iptables is asked for; there is one backend, a table of nftables beside whatever else the host has.
pub fn firewall_backend(name: Option<String>) -> Result<bool, ConfigError> {
    match name.unwrap_or_default().as_str() {
        "" | "nftables" => Ok(false),
        "iptables" => Ok(true),
        other => Err(ConfigError::Invalid {
            what: "firewall-backend",
            value: other.to_owned(),
            why: "expected nftables (or iptables, which means the same here)",
        }),
    }
}

pub fn parse_ulimit(text: &str) -> Result<Ulimit, ConfigError> {
    let bad = || ConfigError::Invalid {
        what: "default-ulimit",
        value: text.into(),
        why: "expected TYPE=SOFT[:HARD]",
    };
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    Ok(Ulimit {
        name: name.to_owned(),
        soft: soft.parse().map_err(|_| bad())?,
        hard: hard.parse().map_err(|_| bad())?,
    })
}

pub fn key_values(what: &'static str, list: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    list.iter()
        .map(|t| {
            let (k, v) = t.split_once('=').ok_or(ConfigError::Invalid {
                what,
                value: t.clone(),
                why: "expected KEY=VALUE",
            })?;
            Ok((k.to_owned(), v.to_owned()))
        })
        .collect()
}

/// `NAME=PATH` of flags, or the entries of the file; both together are an error before.
pub fn runtimes(
    flags: &[String],
    file: BTreeMap<String, RuntimeEntry>,
) -> Result<BTreeMap<String, RuntimeEntry>, ConfigError> {
    let bad = |value: &str, why| ConfigError::Invalid { what: "runtime", value: value.to_owned(), why };
    let mut all = file;
    for text in flags {
        let (name, path) = text.split_once('=').unwrap_or((text, ""));
        let entry = RuntimeEntry { path: path.into(), ..RuntimeEntry::default() };
        if name.is_empty() || path.is_empty() {
            return Err(bad(text, "expected NAME=PATH"));
        }
        if all.insert(name.to_owned(), entry).is_some() {
            return Err(bad(name, "was already defined"));
        }
    }
    for (name, entry) in &all {
        if !entry.kind.is_empty() {
            return Err(bad(name, "runtimeType names a containerd shim, which cannot be used; give a path"));
        }
        if name.is_empty() || entry.path.as_os_str().is_empty() {
            return Err(bad(name, "a path must be configured"));
        }
        if entry.path.is_relative() && entry.path.components().count() > 1 {
            return Err(bad(name, "expected an absolute path, or a name to look for"));
        }
    }
    Ok(all)
}

pub fn cgroupns_mode(mode: Option<String>) -> Result<String, ConfigError> {
    match mode.unwrap_or_default() {
        mode if matches!(mode.as_str(), "" | "host" | "private") => Ok(mode),
        value => Err(ConfigError::Invalid {
            what: "default cgroup namespace mode",
            value,
            why: "use \"host\" or \"private\"",
        }),
    }
}

pub fn default_ipc_mode(mode: Option<String>) -> Result<String, ConfigError> {
    match mode.unwrap_or_default() {
        mode if mode.is_empty() => Ok("private".to_owned()),
        mode if matches!(mode.as_str(), "private" | "shareable") => Ok(mode),
        value => {
            let why = "use \"private\" or \"shareable\"";
            Err(ConfigError::Invalid { what: "default IPC mode", value, why })
        }
    }
}

/// A layer is fetched again until it is there or its registry fails for good; what that takes is not counted by layer.
pub fn attempts(number: Option<u32>) -> Result<(), ConfigError> {
    match number {
        None | Some(DOWNLOAD_ATTEMPTS) => Ok(()),
        Some(number) => Err(ConfigError::Invalid {
            what: "max-download-attempts",
            value: number.to_string(),
            why: "it is always 5",
        }),
    }
}

const DOWNLOAD_ATTEMPTS: u32 = 5;

/// All versions are served.
pub fn min_api_version(version: Option<String>) -> Result<(), ConfigError> {
    match version {
        None => Ok(()),
        Some(version) if matches!(version.as_str(), "" | "1.24") => Ok(()),
        Some(value) => {
            let why = "all versions from 1.24 on are served; leave it out";
            Err(ConfigError::Invalid { what: "min-api-version", value, why })
        }
    }
}

/// Whether the systemd cgroup driver is asked for, or the other one.
pub fn exec_opts(list: &[String]) -> Result<Option<bool>, ConfigError> {
    let mut systemd = None;
    for (key, value) in key_values("exec-opt", list)? {
        let bad = |why| ConfigError::Invalid { what: "exec-opt", value: format!("{key}={value}"), why };
        if key != "native.cgroupdriver" {
            return Err(bad("the one option is native.cgroupdriver"));
        }
        systemd = match value.as_str() {
            "cgroupfs" => Some(false),
            "systemd" => Some(true),
            _ => return Err(bad("expected cgroupfs or systemd")),
        };
    }
    Ok(systemd)
}

pub fn parse_size(text: &str) -> Result<u64, ConfigError> {
    let bad = || ConfigError::Invalid {
        what: "default-shm-size",
        value: text.into(),
        why: "expected a size such as 64m",
    };
    units::size(text.trim(), units::Base::Binary).map_err(|_| bad())
}

/// `None`: what works best.
pub fn storage_driver(name: Option<String>) -> Result<Option<StorageDriver>, ConfigError> {
    let Some(value) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let why = match value.as_str() {
        "fuse-overlayfs" => "it is not supported; vfs works on every file system",
        _ => "expected overlay2, btrfs or vfs",
    };
    let known = StorageDriver::parse(&value);
    known.map(Some).ok_or(ConfigError::Invalid { what: "storage driver", value, why })
}

/// There is nothing to choose yet; what would be ignored is refused.
pub fn storage_opts(list: &[String]) -> Result<(), ConfigError> {
    for (key, value) in key_values("storage-opt", list)? {
        let why = match key.as_str() {
            // It is for kernels of before version 4.
            "overlay2.override_kernel_check" | "overlay.override_kernel_check" => continue,
            "overlay2.size" | "overlay.size" => "a limit needs quotas of projects, which are not set",
            "btrfs.min_space" => "a limit needs quota groups, which are not set",
            _ => "no storage driver has this option",
        };
        return Err(ConfigError::Invalid { what: "storage-opt", value: format!("{key}={value}"), why });
    }
    Ok(())
}
