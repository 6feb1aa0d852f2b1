//! `version` and `info`.
use crate::engine::Inner;
use crate::error::Result;
use crate::machine::Phase;
use crate::record::Time;
use knarr_docker_types::plugin::PluginsInfo;
use knarr_docker_types::registry::{IndexInfo, ServiceConfig};
use knarr_docker_types::system::{Commit, ComponentVersion, FirewallInfo, Info, PlatformInfo, Version};
use knarr_docker_types::{ApiVersion, List, Map};
use std::fs;

/// Architecture in Go's words, for `version`.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Clients look for the member; this engine is made of Rust.
const NO_GO: &str = "none";

pub(crate) fn version(engine: &Inner) -> Version {
    let config = &engine.config();
    let details = [
        ("ApiVersion", ApiVersion::CURRENT.to_string()),
        ("Arch", architecture().to_owned()),
        ("GitCommit", config.git_commit.clone()),
        ("GoVersion", NO_GO.to_owned()),
        ("KernelVersion", engine.host.kernel.clone()),
        ("MinAPIVersion", ApiVersion::MINIMUM.to_string()),
        ("Os", "linux".to_owned()),
    ];
    Version {
        platform: PlatformInfo { name: "Knarr".to_owned() },
        version: config.version.clone(),
        api_version: ApiVersion::CURRENT.to_string(),
        min_api_version: ApiVersion::MINIMUM.to_string(),
        os: "linux".to_owned(),
        arch: architecture().to_owned(),
        components: vec![ComponentVersion {
            name: "Engine".to_owned(),
            version: config.version.clone(),
            details: details.into_iter().collect(),
        }]
        .into(),
        git_commit: config.git_commit.clone(),
        go_version: NO_GO.to_owned(),
        kernel_version: engine.host.kernel.clone(),
        ..Version::default()
    }
}

pub(crate) fn info(engine: &Inner) -> Result<Info> {
    let containers = engine.containers.all();
    let count = |test: &dyn Fn(Phase) -> bool| {
        i64::try_from(containers.iter().filter(|s| test(s.status.phase)).count()).unwrap_or(i64::MAX)
    };
    let config = &engine.config();
    let (name, version) = operating_system();
    let list = |items: &[&str]| -> List<String> { items.iter().map(|i| (*i).to_owned()).collect() };
    let pair = |key: &str, value: &str| -> List<String> { vec![key.to_owned(), value.to_owned()].into() };
    Ok(Info {
        id: engine.id.clone(),
        containers: count(&|_| true),
        containers_running: count(&|p| matches!(p, Phase::Running | Phase::Restarting)),
        containers_paused: count(&|p| p == Phase::Paused),
        containers_stopped: count(&|p| {
            matches!(p, Phase::Created | Phase::Exited | Phase::Dead | Phase::Removing)
        }),
        images: i64::try_from(engine.images.count()?).unwrap_or(i64::MAX),
        driver: engine.images.driver().kind().name().to_owned(),
        driver_status: std::iter::once(pair("Backing Filesystem", &backing(&config.data_root)))
            .chain(engine.images.driver().status().iter().map(|(key, value)| pair(key, value)))
            .collect(),
        plugins: PluginsInfo {
            volume: list(&["local"]),
            network: list(&["bridge", "host", "ipvlan", "macvlan", "null"]),
            authorization: List::nil(),
            log: list(&crate::log_driver::NAMES),
        },
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|t| t.trim() == "1"),
        debug: config.debug,
        n_goroutines: i64::try_from(tokio::runtime::Handle::current().metrics().num_alive_tasks())
            .unwrap_or(i64::MAX),
        n_fd: i64::try_from(fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)).unwrap_or(0),
        oom_kill_disable: !engine.host.cgroup_v2,
        system_time: Time::now().rfc3339(),
        logging_driver: config.log_driver.clone(),
        cgroup_driver: if engine.systemd_cgroup() { "systemd" } else { "cgroupfs" }.to_owned(),
        cgroup_version: if engine.host.cgroup_v2 { "2" } else { "1" }.to_owned(),
        n_events_listener: i64::try_from(engine.store.subscribers()).unwrap_or(0),
        kernel_version: engine.host.kernel.clone(),
        operating_system: name,
        os_version: version,
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(registries(engine)),
        n_cpu: i64::try_from(std::thread::available_parallelism().map_or(1, |n| n.get())).unwrap_or(1),
        mem_total: memory_total(),
        docker_root_dir: config.data_root.to_string_lossy().into_owned(),
        http_proxy: proxy(&config.proxies.http, "HTTP_PROXY"),
        https_proxy: proxy(&config.proxies.https, "HTTPS_PROXY"),
        no_proxy: proxy(&config.proxies.none, "NO_PROXY"),
        name: engine.host.hostname.clone(),
        labels: config.labels.clone().into(),
        server_version: config.version.clone(),
        runtimes: crate::runtimes::shown(config),
        default_runtime: config.default_runtime.clone(),
        live_restore_enabled: true,
        init_binary: "docker-init".to_owned(),
        containerd_commit: Commit::default(),
        runc_commit: Commit::default(),
        init_commit: Commit::default(),
        swarm: knarr_docker_types::swarm::Info::inactive(),
        security_options: security_options(engine),
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), ..FirewallInfo::default() }),
        warnings: match [engine.networks.warnings(), engine.lsm.warnings()].concat() {
            none if none.is_empty() => List::nil(),
            some => some.into(),
        },
        ..Info::default()
    })
}

fn security_options(engine: &Inner) -> List<String> {
    let mut options: Vec<String> = engine.lsm.names().into_iter().map(str::to_owned).collect();
    options.push(format!(
        "name=seccomp,profile={}",
        engine.config().seccomp_profile.as_deref().unwrap_or("builtin")
    ));
    if engine.userns.is_default() {
        options.push("name=userns".to_owned());
    }
    if engine.host.cgroup_v2 {
        options.push("name=cgroupns".to_owned());
    }
    options.into()
}

fn registries(engine: &Inner) -> ServiceConfig {
    let config = &engine.config();
    let (networks, hosts): (Vec<_>, Vec<_>) =
        config.insecure_registries.iter().partition(|text| is_network(text));
    let mut networks: List<String> = networks.into_iter().cloned().collect();
    for local in ["::1/128", "127.0.0.0/8"] {
        networks.push(local.to_owned());
    }
    let mirrors: List<String> = match config.registry_mirrors.is_empty() {
        true => List::nil(),
        // With a slash at the end, as Docker shows them.
        false => {
            let shown = config.registry_mirrors.iter().map(|m| format!("{}/", m.trim_end_matches('/')));
            shown.collect::<Vec<_>>().into()
        }
    };
    let mut index_configs: Map<IndexInfo> = Map::empty();
    let hub = IndexInfo {
        name: "docker.io".into(),
        mirrors: mirrors.clone().not_nil(),
        secure: true,
        official: true,
    };
    index_configs.insert("docker.io".to_owned(), hub);
    for host in hosts {
        let info = IndexInfo { name: host.clone(), mirrors: List::empty(), secure: false, official: false };
        index_configs.insert(host.clone(), info);
    }
    ServiceConfig { insecure_registry_cidrs: networks, index_configs, mirrors }
}

fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, _)| address.parse::<std::net::IpAddr>().is_ok())
}

/// What is configured, or the environment's; without the password, as Docker shows it.
fn proxy(configured: &str, name: &str) -> String {
    let text = if configured.is_empty() {
        std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default()
    } else {
        configured.to_owned()
    };
    masked(&text)
}

fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let authority = rest.split('/').next().unwrap_or_default();
    let Some((_, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let tail = rest.strip_prefix(authority).unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}xxxxx:xxxxx@{host}{tail}")
}

pub(crate) fn memory_total() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("");
    line.split_whitespace().next().and_then(|kb| kb.parse::<i64>().ok()).map_or(0, |kb| kb * 1024)
}

/// `PRETTY_NAME` and `VERSION_ID` of os-release(5).
pub(crate) fn operating_system() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map_or_else(String::new, |value| value.trim_matches('"').to_owned())
    };
    let name = value("PRETTY_NAME");
    (if name.is_empty() { "Linux".to_owned() } else { name }, value("VERSION_ID"))
}

/// The file system's name by its magic number (statfs(2)).
pub(crate) fn backing(path: &std::path::Path) -> String {
    let kind = rustix::fs::statfs(path).map_or(0, |s| s.f_type);
    match kind {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0xca45_1a4e => "bcachefs",
        0x6969 => "nfs",
        0xf2f5_2010 => "f2fs",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        0x794c_7630 => "overlayfs",
        _ => "<unknown>",
    }
    .to_owned()
}
