//! Puts the engine together: engine, listeners, signals, the idle end of an engine that was started on demand.
//!
//! Invariant: ending the engine, in whatever way, ends no container.
use super::{LogLevel, config::Config, flags::Flags, notify, pidfile::PidFile};
use anyhow::{Context, anyhow};
use knarr_api_docker::{Activity, Listen, ServerConfig, TlsConfig};
use knarr_engine::config::{Backoff, CleanPolicy, Proxies, Runtime};
use knarr_engine::{AddressPool, BuiltinImage, Engine, EngineConfig, NetworkConfig, Scope};
use std::{
    fs::DirBuilder,
    io::Write,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often an engine that was started on demand looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Threads for calls that block (files, netlink, archives); more requests wait their turn.
const BLOCKING_THREADS: usize = 64;

/// Runs the engine until a signal or idleness ends it.
pub fn run(config: Config, flags: Flags, level: LogLevel) -> anyhow::Result<()> {
    if config.exit_when_idle_s.is_some() {
        // Started by a client's terminal: a session of its own, so that no Ctrl-C or hang-up reaches it.
        // EPERM means that it leads one already.
        let _ = rustix::process::setsid();
    }
    for root in [&config.data_root, &config.exec_root] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| root.display().to_string())?;
    }
    let _pidfile = PidFile::create(&config.pidfile)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the engine's threads")?
        .block_on(serve(config, flags, level))
}

pub fn engine_config(c: &Config) -> anyhow::Result<EngineConfig> {
    knarr_engine::check_log_driver(&c.log_driver, &c.log_opts).map_err(|why| anyhow!(why))?;
    for label in &c.labels {
        anyhow::ensure!(label.contains('='), "bad attribute format: {label}");
    }
    Ok(EngineConfig {
        data_root: c.data_root.clone(),
        exec_root: c.exec_root.clone(),
        storage_driver: c.storage_driver,
        exe: "/proc/self/exe".into(),
        network: network_config(c)?,
        insecure_registries: c.insecure_registries.clone(),
        registry_mirrors: c.registry_mirrors.clone(),
        max_concurrent_downloads: c.max_concurrent_downloads,
        registry_prefix_mirrors: c.registry_prefix_mirrors.clone(),
        proxies: Proxies {
            http: c.proxies.http_proxy.clone(),
            https: c.proxies.https_proxy.clone(),
            none: c.proxies.no_proxy.clone(),
        },
        max_concurrent_uploads: uploads(c.max_concurrent_uploads),
        cgroup_parent: c.cgroup_parent.clone(),
        systemd_cgroup: c.systemd_cgroup,
        log_driver: c.log_driver.clone(),
        log_opts: c.log_opts.clone(),
        labels: c.labels.clone(),
        debug: c.debug,
        default_ulimits: c.default_ulimits.iter().map(|u| (u.name.clone(), (u.soft, u.hard))).collect(),
        default_shm_size: match c.default_shm_size_bytes {
            Some(bytes) => i64::try_from(bytes).context("default-shm-size is too large")?,
            None => knarr_engine::config::DEFAULT_SHM_SIZE,
        },
        runtimes: c
            .runtimes
            .iter()
            .map(|(name, r)| (name.clone(), Runtime { path: r.path.clone(), args: r.args.clone() }))
            .collect(),
        default_runtime: c.default_runtime.clone().unwrap_or(EngineConfig::default().default_runtime),
        userns_remap: c.userns_remap.clone(),
        userns_pool: c.userns_pool.clone(),
        restart_backoff: Backoff::parse(
            c.restart_delay.as_deref(),
            c.restart_max_delay.as_deref(),
            Backoff::default(),
        )
        .map_err(|why| anyhow!("invalid restart-delay or restart-max-delay: {why}"))?,
        selinux_enabled: c.selinux_enabled,
        cgroupns_mode: c.cgroupns_mode.clone(),
        init: c.init,
        no_new_privileges: c.no_new_privileges,
        seccomp_profile: c.seccomp_profile.clone().filter(|p| p != "builtin"),
        shutdown_timeout_s: c.shutdown_timeout_s,
        default_stop_timeout_s: c.default_stop_timeout_s,
        default_ipc_mode: c.default_ipc_mode.clone(),
        clean_up: match c.clean_up.is_empty() {
            true => None,
            false => Some(CleanPolicy::parse(&c.clean_up).map_err(|why| anyhow!("invalid clean-up: {why}"))?),
        },
        builtin_images: vec![BuiltinImage {
            reference: crate::hello::REFERENCE,
            archive: crate::hello::archive,
        }],
        ..EngineConfig::default()
    })
}

/// None at once would be no push at all.
fn uploads(configured: u32) -> usize {
    usize::try_from(configured.max(1)).unwrap_or(1)
}

fn network_config(c: &Config) -> anyhow::Result<NetworkConfig> {
    let defaults = NetworkConfig::default();
    Ok(NetworkConfig {
        bridge: c.bridge.clone(),
        bip: parsed("bip", c.bip.as_deref())?,
        fixed_cidr: parsed("fixed-cidr", c.fixed_cidr.as_deref())?,
        bip6: parsed("bip6", c.bip6.as_deref())?,
        fixed_cidr_v6: parsed("fixed-cidr-v6", c.fixed_cidr_v6.as_deref())?,
        default_gateway: parsed("default-gateway", c.default_gateway.as_deref())?,
        default_gateway_v6: parsed("default-gateway-v6", c.default_gateway_v6.as_deref())?,
        ipv6: c.ipv6,
        default_network_options: c.default_network_opts.clone(),
        ip_forward_no_drop: c.ip_forward_no_drop,
        relays: c.userland_proxy,
        firewall_v6: c.firewall_v6,
        direct_routing: c.allow_direct_routing,
        publish_scope: Scope::parse(c.publish_scope.iter().map(String::as_str))
            .map_err(|why| anyhow!("invalid publish-scope: {why}"))?,
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
        host_gateway_ips: host_gateways(&c.host_gateway_ips)?,
        ..defaults
    })
}

/// At most one of each family, as in Docker.
fn host_gateways(texts: &[String]) -> anyhow::Result<Vec<IpAddr>> {
    let all: Vec<IpAddr> =
        texts.iter().map(|text| needed("host-gateway-ip", text)).collect::<anyhow::Result<_>>()?;
    for (family, count) in [
        ("IPv4", all.iter().filter(|ip| ip.is_ipv4()).count()),
        ("IPv6", all.iter().filter(|ip| ip.is_ipv6()).count()),
    ] {
        anyhow::ensure!(count <= 1, "only one {family} address may be given as host-gateway-ip");
    }
    Ok(all)
}

fn parsed<T: std::str::FromStr>(what: &str, text: Option<&str>) -> anyhow::Result<Option<T>> {
    text.map(|t| needed(what, t)).transpose()
}

fn needed<T: std::str::FromStr>(what: &str, text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|_| anyhow!("invalid {what}: {text:?}"))
}

async fn serve(config: Config, flags: Flags, level: LogLevel) -> anyhow::Result<()> {
    if config.wants_iptables {
        tracing::warn!(
            "firewall-backend iptables: the firewall is a table of nftables of its own all the same"
        );
    }
    if let Some(address) = &config.containerd {
        tracing::info!(%address, "containerd is not used: the engine makes containers itself");
    }
    let hangups = super::reload::hangups()?;
    let engine = Engine::open(engine_config(&config)?).await?;
    let server = server_config(&config)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(end_on_signal(shutdown.clone()));
    tokio::spawn(super::reload::on_hangup(hangups, engine.clone(), flags, level));
    if let Some(address) = &config.metrics_addr {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot serve metrics on {address} (metrics-addr)"))?;
        tracing::info!(%address, "serving metrics at /metrics");
        tokio::spawn(knarr_api_docker::serve_metrics(listener, engine.clone(), shutdown.clone()));
    }
    if let Some(seconds) = config.exit_when_idle_s {
        let limit = Duration::from_secs(seconds);
        tokio::spawn(end_when_idle(engine.clone(), server.activity.clone(), limit, shutdown.clone()));
    }
    let hosts = config.hosts.join(" ");
    let on_demand = config.exit_when_idle_s.is_some();
    knarr_api_docker::serve(server, engine.clone(), shutdown, move || {
        tracing::info!(%hosts, "serving the Docker Engine API");
        notify::send("READY=1");
        if on_demand {
            announce();
        }
    })
    .await?;
    notify::send("STOPPING=1");
    engine.shutdown().await?;
    Ok(())
}

/// Tells the client that started this engine on demand that it serves.
fn announce() {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", super::READY).and_then(|()| out.flush());
    // The starter reads to the end of the line; the pipe itself must not be kept open by the engine or its children.
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn server_config(c: &Config) -> anyhow::Result<ServerConfig> {
    let mut listeners = Vec::new();
    for host in &c.hosts {
        if host.starts_with("fd://") {
            listeners.extend(knarr_linux::inherited::listen_fds().into_iter().map(Listen::Inherited));
        } else {
            listeners.push(Listen::parse(host, c.tls.is_some()).map_err(|e| anyhow!(e))?);
        }
    }
    if listeners.is_empty() {
        return Err(anyhow!("no socket to listen on: fd:// was given, but the service manager passed none"));
    }
    let defaults = ServerConfig::default();
    Ok(ServerConfig {
        listeners,
        tls: c.tls.clone().map(|t| TlsConfig { cert: t.cert, key: t.key, client_ca: t.ca }),
        allow_plain_loopback: c.insecure_loopback_tcp,
        socket_group: c.group.clone().unwrap_or(defaults.socket_group),
        grace: Duration::from_secs(c.shutdown_timeout_s),
        ..ServerConfig::default()
    })
}

async fn end_on_signal(shutdown: CancellationToken) {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()].map(signal);
    let [Ok(mut term), Ok(mut int), Ok(mut quit)] = signals else {
        tracing::error!("cannot watch for signals: the engine ends at the first one");
        return;
    };
    tokio::select! {
        _ = term.recv() => {},
        _ = int.recv() => {},
        _ = quit.recv() => {},
    }
    tracing::info!("the engine stops; containers go on");
    shutdown.cancel();
}

async fn end_when_idle(engine: Engine, activity: Activity, limit: Duration, shutdown: CancellationToken) {
    let mut busy_at = Instant::now();
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        if activity.open() > 0 || !engine.is_idle() {
            busy_at = Instant::now();
        } else if busy_at.elapsed() >= limit {
            tracing::info!("nothing runs and nobody asks: the engine ends");
            return shutdown.cancel();
        }
    }
}
