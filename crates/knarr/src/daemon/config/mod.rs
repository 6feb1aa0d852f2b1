//! What the engine is to do: `dockerd`'s flags merged with `daemon.json`. Pure: text in, one value out.
//!
//! Reference: <https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file>. Invariants: a key that is not
//! known is an error that names it; a directive given both as a flag and in the file is an error, as in Docker.
mod refused;
mod values;

use super::flags::Flags;
use knarr_engine::config::StorageDriver;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};
use values::{
    absolute, attempts, cgroupns_mode, default_ipc_mode, exec_opts, firewall_backend, key_values,
    min_api_version, network_opts, non_empty, parse_pool, parse_size, parse_ulimit, runtimes, storage_driver,
    storage_opts, tls,
};

pub const DEFAULT_DATA_ROOT: &str = "/var/lib/knarr";
pub const DEFAULT_EXEC_ROOT: &str = "/run/knarr";
pub const DEFAULT_CONFIG_FILE: &str = "/etc/knarr/daemon.json";
const DEFAULT_SHUTDOWN_TIMEOUT_S: u64 = 15;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("unable to configure the engine with file {file}: {why}")]
    File { file: PathBuf, why: String },
    #[error(
        "unable to configure the engine with file {file}: the following directives don't match any configuration option: {keys}"
    )]
    UnknownKeys { file: PathBuf, keys: String },
    #[error(
        "unable to configure the engine with file {file}: the following directives are specified both as a flag and in the configuration file: {keys}"
    )]
    Twice { file: PathBuf, keys: String },
    #[error("unable to configure the engine with file {file}: {key} cannot be used: {why}")]
    Refused { file: PathBuf, key: String, why: String },
    #[error("invalid {what}: {value:?}: {why}")]
    Invalid { what: &'static str, value: String, why: &'static str },
}

/// `daemon.json`. Every key that Docker documents and Knarr follows.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct File {
    hosts: Option<Vec<String>>,
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    group: Option<String>,
    debug: Option<bool>,
    log_level: Option<String>,
    log_format: Option<String>,
    tls: Option<bool>,
    tlsverify: Option<bool>,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
    registry_mirrors: Option<Vec<String>>,
    registry_prefix_mirrors: Option<BTreeMap<String, Vec<String>>>,
    insecure_registries: Option<Vec<String>>,
    proxies: Option<ProxyEntries>,
    max_concurrent_downloads: Option<u32>,
    max_concurrent_uploads: Option<u32>,
    bridge: Option<String>,
    bip: Option<String>,
    fixed_cidr: Option<String>,
    bip6: Option<String>,
    #[serde(rename = "fixed-cidr-v6")]
    fixed_cidr_v6: Option<String>,
    default_gateway: Option<String>,
    #[serde(rename = "default-gateway-v6")]
    default_gateway_v6: Option<String>,
    ipv6: Option<bool>,
    default_network_opts: Option<BTreeMap<String, BTreeMap<String, String>>>,
    ip_forward_no_drop: Option<bool>,
    ip6tables: Option<bool>,
    allow_direct_routing: Option<bool>,
    publish_scope: Option<Words>,
    firewall_backend: Option<String>,
    userland_proxy_path: Option<PathBuf>,
    default_address_pools: Option<Vec<Pool>>,
    mtu: Option<u32>,
    ip: Option<String>,
    icc: Option<bool>,
    ip_forward: Option<bool>,
    ip_masq: Option<bool>,
    iptables: Option<bool>,
    userland_proxy: Option<bool>,
    dns: Option<Vec<String>>,
    dns_opts: Option<Vec<String>>,
    dns_search: Option<Vec<String>>,
    /// Docker's older key, for one address.
    host_gateway_ip: Option<String>,
    host_gateway_ips: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    log_driver: Option<String>,
    log_opts: Option<BTreeMap<String, String>>,
    cgroup_parent: Option<String>,
    exec_opts: Option<Vec<String>>,
    runtimes: Option<BTreeMap<String, RuntimeEntry>>,
    default_runtime: Option<String>,
    userns_remap: Option<String>,
    userns_pool: Option<String>,
    restart_delay: Option<String>,
    restart_max_delay: Option<String>,
    selinux_enabled: Option<bool>,
    default_cgroupns_mode: Option<String>,
    default_ulimits: Option<BTreeMap<String, UlimitEntry>>,
    default_shm_size: Option<SizeText>,
    init: Option<bool>,
    no_new_privileges: Option<bool>,
    seccomp_profile: Option<String>,
    storage_driver: Option<String>,
    storage_opts: Option<Vec<String>>,
    live_restore: Option<bool>,
    shutdown_timeout: Option<u64>,
    default_stop_timeout: Option<i64>,
    default_ipc_mode: Option<String>,
    metrics_addr: Option<String>,
    max_download_attempts: Option<u32>,
    min_api_version: Option<String>,
    /// Of no meaning here, but in many files and units.
    containerd: Option<String>,
    containerd_namespace: Option<String>,
    containerd_plugin_namespace: Option<String>,
    experimental: Option<bool>,
    raw_logs: Option<bool>,
    clean_up: Option<BTreeMap<String, String>>,
}

/// Every key of `File`, to find the unknown ones and the ones given twice.
const KEYS: &[&str] = &[
    "hosts",
    "data-root",
    "exec-root",
    "pidfile",
    "group",
    "debug",
    "log-level",
    "log-format",
    "tls",
    "tlsverify",
    "tlscacert",
    "tlscert",
    "tlskey",
    "registry-mirrors",
    "registry-prefix-mirrors",
    "insecure-registries",
    "proxies",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "bridge",
    "bip",
    "fixed-cidr",
    "bip6",
    "fixed-cidr-v6",
    "default-gateway",
    "default-gateway-v6",
    "ipv6",
    "default-network-opts",
    "ip-forward-no-drop",
    "ip6tables",
    "allow-direct-routing",
    "publish-scope",
    "firewall-backend",
    "userland-proxy-path",
    "default-address-pools",
    "mtu",
    "ip",
    "icc",
    "ip-forward",
    "ip-masq",
    "iptables",
    "userland-proxy",
    "dns",
    "dns-opts",
    "dns-search",
    "host-gateway-ip",
    "host-gateway-ips",
    "labels",
    "log-driver",
    "log-opts",
    "cgroup-parent",
    "exec-opts",
    "runtimes",
    "default-runtime",
    "userns-remap",
    "userns-pool",
    "restart-delay",
    "restart-max-delay",
    "selinux-enabled",
    "default-cgroupns-mode",
    "default-ulimits",
    "default-shm-size",
    "init",
    "no-new-privileges",
    "seccomp-profile",
    "storage-driver",
    "storage-opts",
    "live-restore",
    "shutdown-timeout",
    "default-stop-timeout",
    "default-ipc-mode",
    "metrics-addr",
    "max-download-attempts",
    "min-api-version",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "experimental",
    "raw-logs",
    "builder",
    "features",
    "clean-up",
];

/// One word, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Several(Vec<String>),
}

impl Words {
    fn into_list(self) -> Vec<String> {
        match self {
            Words::One(word) => vec![word],
            Words::Several(words) => words,
        }
    }
}

/// One entry of `default-address-pools`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Pool {
    pub base: String,
    pub size: u8,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
struct UlimitEntry {
    name: Option<String>,
    soft: i64,
    hard: i64,
}

/// `proxies`: proxies on the way to registries.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxyEntries {
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
}

/// One entry of `runtimes`: a program with runc's command line.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct RuntimeEntry {
    pub path: PathBuf,
    #[serde(rename = "runtimeArgs")]
    pub args: Vec<String>,
    #[serde(rename = "runtimeType")]
    kind: String,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

/// A limit of `setrlimit`, by Docker's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// What is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub hosts: Vec<String>,
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub storage_driver: Option<StorageDriver>,
    pub pidfile: PathBuf,
    pub group: Option<String>,
    pub debug: bool,
    pub log_level: String,
    pub log_json: bool,
    pub tls: Option<Tls>,
    pub insecure_loopback_tcp: bool,
    pub registry_mirrors: Vec<String>,
    /// Mirrors by the beginning of a repository's full name.
    pub registry_prefix_mirrors: BTreeMap<String, Vec<String>>,
    pub insecure_registries: Vec<String>,
    pub proxies: ProxyEntries,
    pub max_concurrent_downloads: u32,
    pub max_concurrent_uploads: u32,
    pub bridge: Option<String>,
    pub bip: Option<String>,
    pub fixed_cidr: Option<String>,
    pub bip6: Option<String>,
    pub fixed_cidr_v6: Option<String>,
    pub default_gateway: Option<String>,
    pub default_gateway_v6: Option<String>,
    pub ipv6: bool,
    /// Options of networks by driver.
    pub default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    pub ip_forward_no_drop: bool,
    pub userland_proxy: bool,
    pub firewall_v6: bool,
    pub allow_direct_routing: bool,
    /// Who reaches published ports that do not say: `any`, `loopback`, networks.
    pub publish_scope: Vec<String>,
    /// Asked for, but the firewall is a table of nftables anyway.
    pub wants_iptables: bool,
    /// Asked for, but there is none.
    pub containerd: Option<String>,
    pub default_address_pools: Vec<Pool>,
    pub mtu: Option<u32>,
    pub default_bind_ip: Option<String>,
    pub icc: bool,
    pub ip_forward: bool,
    pub ip_masq: bool,
    pub firewall: bool,
    pub dns: Vec<String>,
    pub dns_opts: Vec<String>,
    pub dns_search: Vec<String>,
    pub host_gateway_ips: Vec<String>,
    pub labels: Vec<String>,
    pub log_driver: String,
    pub log_opts: BTreeMap<String, String>,
    pub cgroup_parent: Option<String>,
    /// `None`: whatever fits the machine.
    pub systemd_cgroup: Option<bool>,
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    pub default_runtime: Option<String>,
    pub userns_remap: Option<String>,
    pub userns_pool: Option<String>,
    pub restart_delay: Option<String>,
    pub restart_max_delay: Option<String>,
    pub selinux_enabled: bool,
    /// Empty, `host` or `private`.
    pub cgroupns_mode: String,
    pub default_ulimits: Vec<Ulimit>,
    pub default_shm_size_bytes: Option<u64>,
    pub init: bool,
    pub no_new_privileges: bool,
    pub seccomp_profile: Option<String>,
    pub shutdown_timeout_s: u64,
    pub default_stop_timeout_s: i64,
    pub default_ipc_mode: String,
    /// Where numbers for Prometheus are served.
    pub metrics_addr: Option<String>,
    /// When images go by themselves, as options; empty: never.
    pub clean_up: BTreeMap<String, String>,
    pub exit_when_idle_s: Option<u64>,
}

/// Files of a TLS listener. Without `ca`, clients are not asked for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub ca: Option<PathBuf>,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Parses `daemon.json`. `given` are the directives that were given as flags.
pub fn parse_file(path: &std::path::Path, text: &str, given: &[&'static str]) -> Result<File, ConfigError> {
    let file = || path.to_path_buf();
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|e| ConfigError::File { file: file(), why: e.to_string() })?;
    let Some(object) = value.as_object() else {
        return Err(ConfigError::File { file: file(), why: "expected a JSON object".into() });
    };
    let known = |key: &&str| KEYS.contains(key) || refused::REFUSED.iter().any(|(refused, _)| refused == key);
    let unknown: Vec<&str> = object.keys().map(String::as_str).filter(|key| !known(key)).collect();
    if !unknown.is_empty() {
        return Err(ConfigError::UnknownKeys { file: file(), keys: unknown.join(", ") });
    }
    let twice: Vec<&str> = object.keys().map(String::as_str).filter(|k| given.contains(k)).collect();
    if !twice.is_empty() {
        return Err(ConfigError::Twice { file: file(), keys: twice.join(", ") });
    }
    if let Some((key, why)) = object.iter().find_map(|(key, value)| Some((key, refused::why(key, value)?))) {
        return Err(ConfigError::Refused { file: file(), key: key.clone(), why });
    }
    serde_path_to_error::deserialize(value)
        .map_err(|e| ConfigError::File { file: file(), why: e.to_string() })
}

/// The directives that were given as flags, by their names in the file.
pub fn given(f: &Flags) -> Vec<&'static str> {
    let mut v = Vec::new();
    let mut note = |is: bool, key: &'static str| {
        if is {
            v.push(key);
        }
    };
    note(!f.hosts.is_empty(), "hosts");
    note(f.data_root.is_some(), "data-root");
    note(f.exec_root.is_some(), "exec-root");
    note(f.pidfile.is_some(), "pidfile");
    note(f.group.is_some(), "group");
    note(f.debug, "debug");
    note(f.log_level.is_some(), "log-level");
    note(f.log_format.is_some(), "log-format");
    note(f.tls, "tls");
    note(f.tlsverify, "tlsverify");
    note(f.tlscacert.is_some(), "tlscacert");
    note(f.tlscert.is_some(), "tlscert");
    note(f.tlskey.is_some(), "tlskey");
    note(f.http_proxy.is_some() || f.https_proxy.is_some() || f.no_proxy.is_some(), "proxies");
    note(f.max_concurrent_downloads.is_some(), "max-concurrent-downloads");
    note(f.max_concurrent_uploads.is_some(), "max-concurrent-uploads");
    note(f.bridge.is_some(), "bridge");
    note(f.bip.is_some(), "bip");
    note(f.fixed_cidr.is_some(), "fixed-cidr");
    note(f.bip6.is_some(), "bip6");
    note(f.fixed_cidr_v6.is_some(), "fixed-cidr-v6");
    note(f.default_gateway.is_some(), "default-gateway");
    note(f.default_gateway_v6.is_some(), "default-gateway-v6");
    note(f.ipv6.is_some(), "ipv6");
    note(!f.default_network_opts.is_empty(), "default-network-opts");
    note(f.ip_forward_no_drop.is_some(), "ip-forward-no-drop");
    note(f.ip6tables.is_some(), "ip6tables");
    note(f.allow_direct_routing.is_some(), "allow-direct-routing");
    note(!f.publish_scope.is_empty(), "publish-scope");
    note(f.firewall_backend.is_some(), "firewall-backend");
    note(f.userland_proxy_path.is_some(), "userland-proxy-path");
    note(!f.default_address_pools.is_empty(), "default-address-pools");
    note(f.mtu.is_some(), "mtu");
    note(f.ip.is_some(), "ip");
    note(f.icc.is_some(), "icc");
    note(f.ip_forward.is_some(), "ip-forward");
    note(f.ip_masq.is_some(), "ip-masq");
    note(f.iptables.is_some(), "iptables");
    note(f.userland_proxy.is_some(), "userland-proxy");
    note(!f.dns.is_empty(), "dns");
    note(!f.dns_opts.is_empty(), "dns-opts");
    note(!f.dns_search.is_empty(), "dns-search");
    note(!f.host_gateway_ips.is_empty(), "host-gateway-ip");
    note(!f.host_gateway_ips.is_empty(), "host-gateway-ips");
    note(!f.labels.is_empty(), "labels");
    note(f.log_driver.is_some(), "log-driver");
    note(!f.log_opts.is_empty(), "log-opts");
    note(f.cgroup_parent.is_some(), "cgroup-parent");
    note(!f.exec_opts.is_empty(), "exec-opts");
    note(!f.add_runtimes.is_empty(), "runtimes");
    note(f.default_runtime.is_some(), "default-runtime");
    note(f.userns_remap.is_some(), "userns-remap");
    note(f.userns_pool.is_some(), "userns-pool");
    note(f.restart_delay.is_some(), "restart-delay");
    note(f.restart_max_delay.is_some(), "restart-max-delay");
    note(f.selinux_enabled, "selinux-enabled");
    note(f.default_cgroupns_mode.is_some(), "default-cgroupns-mode");
    note(!f.default_ulimits.is_empty(), "default-ulimits");
    note(f.default_shm_size.is_some(), "default-shm-size");
    note(f.init, "init");
    note(f.no_new_privileges, "no-new-privileges");
    note(f.seccomp_profile.is_some(), "seccomp-profile");
    note(f.storage_driver.is_some(), "storage-driver");
    note(!f.storage_opts.is_empty(), "storage-opts");
    note(f.live_restore, "live-restore");
    note(f.shutdown_timeout.is_some(), "shutdown-timeout");
    note(f.default_stop_timeout.is_some(), "default-stop-timeout");
    note(f.default_ipc_mode.is_some(), "default-ipc-mode");
    note(f.metrics_addr.is_some(), "metrics-addr");
    note(f.max_download_attempts.is_some(), "max-download-attempts");
    note(f.containerd.is_some(), "containerd");
    note(f.containerd_namespace.is_some(), "containerd-namespace");
    note(f.containerd_plugins_namespace.is_some(), "containerd-plugin-namespace");
    note(f.experimental, "experimental");
    note(f.raw_logs, "raw-logs");
    note(!f.clean_up.is_empty(), "clean-up");
    v
}

/// Merges both. Lists given as flags and lists of the file never meet (that is an error), except registries, which add up.
pub fn merge(f: Flags, file: File) -> Result<Config, ConfigError> {
    let exec_root = absolute("exec-root", f.exec_root.or(file.exec_root), DEFAULT_EXEC_ROOT)?;
    let data_root = absolute("data-root", f.data_root.or(file.data_root), DEFAULT_DATA_ROOT)?;
    let hosts = non_empty(f.hosts, file.hosts, || vec![format!("unix://{}/knarr.sock", exec_root.display())]);
    let storage_driver = storage_driver(f.storage_driver.or(file.storage_driver))?;
    storage_opts(&non_empty(f.storage_opts, file.storage_opts, Vec::new))?;
    let log_level = f.log_level.or(file.log_level).unwrap_or_else(|| "info".into());
    if !matches!(log_level.as_str(), "debug" | "info" | "warn" | "error" | "fatal" | "panic" | "trace") {
        return Err(ConfigError::Invalid {
            what: "logging level",
            value: log_level,
            why: "expected debug, info, warn, error or fatal",
        });
    }
    let log_json = match f.log_format.or(file.log_format).as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(ConfigError::Invalid {
                what: "log format",
                value: other.into(),
                why: "expected text or json",
            });
        }
    };
    let debug = f.debug || file.debug.unwrap_or(false);
    attempts(f.max_download_attempts.or(file.max_download_attempts))?;
    min_api_version(file.min_api_version)?;
    Ok(Config {
        tls: tls(
            f.tls || file.tls.unwrap_or(false),
            f.tlsverify || file.tlsverify.unwrap_or(false),
            f.tlscacert.or(file.tlscacert),
            f.tlscert.or(file.tlscert),
            f.tlskey.or(file.tlskey),
        )?,
        pidfile: f.pidfile.or(file.pidfile).unwrap_or_else(|| exec_root.join("knarr.pid")),
        hosts,
        data_root,
        exec_root,
        storage_driver,
        group: f.group.or(file.group),
        log_level: if debug { "debug".into() } else { log_level },
        debug,
        log_json,
        insecure_loopback_tcp: f.insecure_loopback_tcp,
        registry_mirrors: [f.registry_mirrors, file.registry_mirrors.unwrap_or_default()].concat(),
        registry_prefix_mirrors: file.registry_prefix_mirrors.unwrap_or_default(),
        proxies: {
            let file = file.proxies.unwrap_or_default();
            ProxyEntries {
                http_proxy: f.http_proxy.unwrap_or(file.http_proxy),
                https_proxy: f.https_proxy.unwrap_or(file.https_proxy),
                no_proxy: f.no_proxy.unwrap_or(file.no_proxy),
            }
        },
        insecure_registries: [f.insecure_registries, file.insecure_registries.unwrap_or_default()].concat(),
        max_concurrent_downloads: f.max_concurrent_downloads.or(file.max_concurrent_downloads).unwrap_or(3),
        max_concurrent_uploads: f.max_concurrent_uploads.or(file.max_concurrent_uploads).unwrap_or(5),
        bridge: f.bridge.or(file.bridge),
        bip: f.bip.or(file.bip),
        fixed_cidr: f.fixed_cidr.or(file.fixed_cidr),
        bip6: f.bip6.or(file.bip6),
        fixed_cidr_v6: f.fixed_cidr_v6.or(file.fixed_cidr_v6),
        default_gateway: f.default_gateway.or(file.default_gateway),
        default_gateway_v6: f.default_gateway_v6.or(file.default_gateway_v6),
        ipv6: f.ipv6.or(file.ipv6).unwrap_or(false),
        default_network_opts: match f.default_network_opts.as_slice() {
            [] => file.default_network_opts.unwrap_or_default(),
            given => network_opts(given)?,
        },
        userland_proxy: f.userland_proxy.or(file.userland_proxy).unwrap_or(true),
        ip_forward_no_drop: f.ip_forward_no_drop.or(file.ip_forward_no_drop).unwrap_or(false),
        firewall_v6: f.ip6tables.or(file.ip6tables).unwrap_or(true),
        allow_direct_routing: f.allow_direct_routing.or(file.allow_direct_routing).unwrap_or(false),
        publish_scope: match f.publish_scope.as_slice() {
            [] => file.publish_scope.map_or_else(|| vec!["any".to_owned()], Words::into_list),
            given => given.to_vec(),
        },
        containerd: f.containerd.or(file.containerd).filter(|address| !address.is_empty()),
        wants_iptables: firewall_backend(f.firewall_backend.or(file.firewall_backend))?,
        default_address_pools: if f.default_address_pools.is_empty() {
            file.default_address_pools.unwrap_or_default()
        } else {
            f.default_address_pools.iter().map(|p| parse_pool(p)).collect::<Result<_, _>>()?
        },
        mtu: f.mtu.or(file.mtu),
        default_bind_ip: f.ip.or(file.ip),
        icc: f.icc.or(file.icc).unwrap_or(true),
        ip_forward: f.ip_forward.or(file.ip_forward).unwrap_or(true),
        ip_masq: f.ip_masq.or(file.ip_masq).unwrap_or(true),
        firewall: f.iptables.or(file.iptables).unwrap_or(true),
        dns: non_empty(f.dns, file.dns, Vec::new),
        dns_opts: non_empty(f.dns_opts, file.dns_opts, Vec::new),
        dns_search: non_empty(f.dns_search, file.dns_search, Vec::new),
        host_gateway_ips: non_empty(
            f.host_gateway_ips,
            file.host_gateway_ips.or(file.host_gateway_ip.map(|ip| vec![ip])),
            Vec::new,
        ),
        labels: non_empty(f.labels, file.labels, Vec::new),
        log_driver: f.log_driver.or(file.log_driver).unwrap_or_else(|| "local".into()),
        log_opts: if f.log_opts.is_empty() {
            file.log_opts.unwrap_or_default()
        } else {
            key_values("log-opt", &f.log_opts)?
        },
        clean_up: if f.clean_up.is_empty() {
            file.clean_up.unwrap_or_default()
        } else {
            key_values("clean-up", &f.clean_up)?
        },
        cgroup_parent: f.cgroup_parent.or(file.cgroup_parent),
        systemd_cgroup: exec_opts(&non_empty(f.exec_opts, file.exec_opts, Vec::new))?,
        runtimes: runtimes(&f.add_runtimes, file.runtimes.unwrap_or_default())?,
        default_runtime: f.default_runtime.or(file.default_runtime).filter(|name| !name.is_empty()),
        userns_remap: f.userns_remap.or(file.userns_remap).filter(|user| !user.is_empty()),
        userns_pool: f.userns_pool.or(file.userns_pool).filter(|pool| !pool.is_empty()),
        restart_delay: f.restart_delay.or(file.restart_delay).filter(|text| !text.is_empty()),
        restart_max_delay: f.restart_max_delay.or(file.restart_max_delay).filter(|text| !text.is_empty()),
        selinux_enabled: f.selinux_enabled || file.selinux_enabled.unwrap_or(false),
        cgroupns_mode: cgroupns_mode(f.default_cgroupns_mode.or(file.default_cgroupns_mode))?,
        default_ulimits: if f.default_ulimits.is_empty() {
            file.default_ulimits
                .unwrap_or_default()
                .into_iter()
                .map(|(k, u)| Ulimit { name: u.name.unwrap_or(k), soft: u.soft, hard: u.hard })
                .collect()
        } else {
            f.default_ulimits.iter().map(|u| parse_ulimit(u)).collect::<Result<_, _>>()?
        },
        default_shm_size_bytes: match (f.default_shm_size, file.default_shm_size) {
            (Some(text), _) | (None, Some(SizeText::Text(text))) => Some(parse_size(&text)?),
            (None, Some(SizeText::Number(bytes))) => Some(bytes),
            (None, None) => None,
        },
        init: f.init || file.init.unwrap_or(false),
        no_new_privileges: f.no_new_privileges || file.no_new_privileges.unwrap_or(false),
        seccomp_profile: f.seccomp_profile.or(file.seccomp_profile),
        shutdown_timeout_s: f
            .shutdown_timeout
            .or(file.shutdown_timeout)
            .unwrap_or(DEFAULT_SHUTDOWN_TIMEOUT_S),
        default_stop_timeout_s: f.default_stop_timeout.or(file.default_stop_timeout).unwrap_or(10),
        default_ipc_mode: default_ipc_mode(f.default_ipc_mode.or(file.default_ipc_mode))?,
        metrics_addr: f.metrics_addr.or(file.metrics_addr).filter(|address| !address.is_empty()),
        exit_when_idle_s: f.exit_when_idle,
    })
}

#[cfg(test)]
mod tests;
