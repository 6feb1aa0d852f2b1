//! Puts the engine together: engine, listeners, signals, the idle end of an engine that was started on demand.
//!
//! Invariant: ending the engine, in whatever way, ends no container.
use super::{config::Config, notify, pidfile::PidFile};
use anyhow::{Context, anyhow};
use knarr_engine::{AddressPool, BuiltinImage, Engine, EngineConfig, NetworkConfig};
use std::{fs::DirBuilder, net::IpAddr, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How often an engine that was started on demand looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Threads for calls that block (files, netlink, archives); more requests wait their turn.
const BLOCKING_THREADS: usize = 64;

/// Runs the engine until a signal or idleness ends it.
pub fn run(config: Config) -> anyhow::Result<()> {
    if config.exit_when_idle_s.is_some() {
        // Started by a client's terminal: a session of its own, so that no Ctrl-C or hang-up reaches it.
        // EPERM means that it leads one already.
        let _ = rustix::process::setsid();
    }
    for root in [&config.data_root, &config.exec_root] {
        DirBuilder::new().recursive(true).mode(0o711).create(root).with_context(|| root.display().to_string())?;
    }
    let _pidfile = PidFile::create(&config.pidfile)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the engine's threads")?
        .block_on(serve(config))
}

fn engine_config(c: &Config) -> anyhow::Result<EngineConfig> {
    Ok(EngineConfig {
        data_root: c.data_root.clone(),
        exec_root: c.exec_root.clone(),
        exe: "/proc/self/exe".into(),
        network: network_config(c)?,
        insecure_registries: c.insecure_registries.clone(),
        registry_mirrors: c.registry_mirrors.clone(),
        cgroup_parent: c.cgroup_parent.clone(),
        log_driver: c.log_driver.clone(),
        log_opts: c.log_opts.clone(),
        labels: c.labels.clone(),
        debug: c.debug,
        default_ulimits: c.default_ulimits.iter().map(|u| (u.name.clone(), (u.soft, u.hard))).collect(),
        default_shm_size: match c.default_shm_size_bytes {
            Some(bytes) => i64::try_from(bytes).context("default-shm-size is too large")?,
            None => knarr_engine::config::DEFAULT_SHM_SIZE,
        },
        init: c.init,
        no_new_privileges: c.no_new_privileges,
        seccomp_profile: c.seccomp_profile.clone().filter(|p| p != "builtin"),
        shutdown_timeout_s: c.shutdown_timeout_s,
        builtin_images: vec![BuiltinImage { reference: crate::hello::REFERENCE, archive: crate::hello::archive }],
        ..EngineConfig::default()
    })
}

fn network_config(c: &Config) -> anyhow::Result<NetworkConfig> {
    let defaults = NetworkConfig::default();
    Ok(NetworkConfig {
        bridge: c.bridge.clone(),
        bip: parsed("bip", c.bip.as_deref())?,
        fixed_cidr: parsed("fixed-cidr", c.fixed_cidr.as_deref())?,
        mtu: c.mtu.unwrap_or(defaults.mtu),
        default_address_pools: c
            .default_address_pools
            .iter()
            .map(|p| Ok(AddressPool { base: needed("default-address-pool", &p.base)?, size: p.size }))
            .collect::<anyhow::Result<_>>()?,
        icc: c.icc,
        ip_forward: c.ip_forward,
        ip_masq: c.ip_masq,
        firewall: c.firewall,
        host_ip: parsed("ip", c.default_bind_ip.as_deref())?.unwrap_or(defaults.host_ip),
        dns: c.dns.iter().map(|d| needed::<IpAddr>("dns", d)).collect::<anyhow::Result<_>>()?,
        dns_search: c.dns_search.clone(),
        dns_options: c.dns_opts.clone(),
        ..defaults
    })
}

fn parsed<T: std::str::FromStr>(what: &str, text: Option<&str>) -> anyhow::Result<Option<T>> {
    text.map(|t| needed(what, t)).transpose()
}

fn needed<T: std::str::FromStr>(what: &str, text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|_| anyhow!("invalid {what}: {text:?}"))
}
