//! Flags of `run` and `create` -> the body of `POST /containers/create`. Pure but for the files that flags name.
use crate::arguments::Matches;
use crate::spec::network::{self, Attachment};
use crate::spec::{
    blkio, decimal, device, dns, duration, env, host, key_value_file, mount, port, restart, security, size,
    ulimit, volume,
};
use knarr_docker_types::container::{CreateRequest, HealthConfig};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::{HostConfig, LogConfig};
use knarr_docker_types::network::{EndpointSettings, NetworkingConfig};
use knarr_docker_types::resources::{DeviceRequest, Resources};
use knarr_docker_types::{Empty, List, Map};
use std::collections::BTreeMap;

/// What the flags say and the environment adds.
pub struct Request {
    pub body: CreateRequest,
    /// `--attach` was given.
    pub attach_given: bool,
}

/// Reads all flags; the error is the text that `run` shows after the program's name.
pub fn build(m: &Matches, proxies: &[(String, String)]) -> Result<Request, String> {
    let swappiness = m.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let mac = m.text("mac-address");
    if !mac.is_empty() && !network::is_mac(mac) {
        return Err(format!("{mac} is not a valid mac address"));
    }
    let (binds, volumes) = volumes(m)?;
    let ports = port::parse(&m.list("publish"), &m.list("expose"))?;
    let networks = networks(m)?;
    let mut config = config(m, proxies)?;
    config.exposed_ports = ports.exposed;
    config.volumes = volumes;
    let mut host = host_config(m)?;
    host.binds = binds;
    host.port_bindings = ports.bindings;
    host.network_mode = networks.first().map_or("default", |n| n.target.as_str()).to_owned();
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let endpoints_config = endpoints(m, networks)?;
    let body = CreateRequest {
        config,
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config }),
    };
    Ok(Request { body, attach_given: m.changed("attach") })
}

fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A list that is nil when nothing was given.
fn nil_if_empty(items: Vec<String>) -> List<String> {
    if items.is_empty() { List::nil() } else { items.into() }
}

fn key_values(items: &[String]) -> Map<String> {
    let pairs = items.iter().map(|item| item.split_once('=').unwrap_or((item, "")));
    Map::from(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>())
}

fn volumes(m: &Matches) -> Result<(List<String>, Map<Empty>), String> {
    let mut binds = List::nil();
    let mut anonymous = Map::empty();
    for text in m.list("volume") {
        match volume::parse(&text)? {
            volume::Volume::Anonymous(path) => drop(anonymous.insert(path, Empty)),
            // the same bind twice is one bind
            volume::Volume::Bind(bind) if binds.contains(&bind) => {}
            volume::Volume::Bind(bind) => binds.push(bind),
        }
    }
    Ok((binds, anonymous))
}

fn environment(m: &Matches, proxies: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for file in m.list("env-file") {
        variables.extend(key_value_file::read(&file, Some(&own_variable))?);
    }
    let given: Vec<String> = m.list("env").iter().map(|text| env::resolve(text, own_variable)).collect();
    for (name, value) in proxies {
        let named = |text: &String| text.split('=').next().is_some_and(|n| n == name);
        if !given.iter().any(named) {
            variables.push(format!("{name}={value}"));
        }
    }
    // a variable that is given again keeps only its last value
    let name = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
    let last = |i: usize| given[i + 1..].iter().all(|later| name(later) != name(&given[i]));
    variables.extend(given.iter().enumerate().filter(|(i, _)| last(*i)).map(|(_, text)| text.clone()));
    Ok(variables)
}

fn config(m: &Matches, proxies: &[(String, String)]) -> Result<Config, String> {
    let attach: Vec<String> = m.list("attach").iter().map(|s| s.to_lowercase()).collect();
    let all = attach.is_empty();
    let attached = |name: &str| attach.iter().any(|s| s == name);
    let mut labels = Vec::new();
    for file in m.list("label-file") {
        labels.extend(key_value_file::read(&file, None)?);
    }
    labels.extend(m.list("label"));
    let stdin = m.flag("interactive");
    let attach_stdin = attached("stdin") || stdin;
    let entrypoint = match m.text("entrypoint") {
        "" if m.changed("entrypoint") => vec![String::new()].into(),
        "" => Default::default(),
        program => vec![program.to_owned()].into(),
    };
    let command: Vec<String> = m.args.iter().skip(1).cloned().collect();
    Ok(Config {
        hostname: m.text("hostname").to_owned(),
        domainname: m.text("domainname").to_owned(),
        user: m.text("user").to_owned(),
        attach_stdin,
        attach_stdout: all || attached("stdout"),
        attach_stderr: all || attached("stderr"),
        tty: m.flag("tty"),
        open_stdin: stdin,
        // the last client that goes away closes the container's input
        stdin_once: stdin && attach_stdin,
        env: nil_if_empty(environment(m, proxies)?),
        cmd: if command.is_empty() { Default::default() } else { command.into() },
        healthcheck: health(m)?,
        image: m.args.first().cloned().unwrap_or_default(),
        working_dir: m.text("workdir").to_owned(),
        entrypoint,
        labels: key_values(&labels),
        stop_signal: m.text("stop-signal").to_owned(),
        stop_timeout: m.changed("stop-timeout").then(|| m.int("stop-timeout")),
        ..Config::default()
    })
}

fn health(m: &Matches) -> Result<Option<HealthConfig>, String> {
    let time = |name: &str| match m.text(name) {
        "" => 0,
        text => duration::parse(text).unwrap_or(0),
    };
    let health = HealthConfig {
        test: health_test(m)?,
        interval_ns: time("health-interval"),
        timeout_ns: time("health-timeout"),
        start_period_ns: time("health-start-period"),
        start_interval_ns: time("health-start-interval"),
        retries: m.int("health-retries"),
    };
    let given = health != HealthConfig::default();
    if m.flag("no-healthcheck") {
        if given {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig { test: vec!["NONE".to_owned()].into(), ..HealthConfig::default() }));
    }
    for (name, value) in [
        ("interval", health.interval_ns),
        ("timeout", health.timeout_ns),
        ("retries", health.retries),
        ("start-period", health.start_period_ns),
        ("start-interval", health.start_interval_ns),
    ] {
        if value < 0 {
            return Err(format!("--health-{name} cannot be negative"));
        }
    }
    Ok(given.then_some(health))
}

/// One way to check, at most.
fn health_test(m: &Matches) -> Result<List<String>, String> {
    let kinds = [("cmd", "CMD-SHELL"), ("http", "HTTP"), ("tcp", "TCP"), ("grpc", "GRPC")];
    let given = kinds.map(|(flag, kind)| (kind, m.text(&format!("health-{flag}"))));
    let mut given = given.into_iter().filter(|(_, text)| !text.is_empty());
    match (given.next(), given.next()) {
        (None, _) => Ok(List::nil()),
        (Some((kind, text)), None) => Ok(vec![kind.to_owned(), text.to_owned()].into()),
        (Some(_), Some(_)) => {
            Err("--health-cmd, --health-http, --health-tcp and --health-grpc exclude each other".into())
        }
    }
}

/// Our own options travel as annotations: requests have them, images do not.
fn annotations(m: &Matches) -> Map<String> {
    let mut annotations = key_values(&m.list("annotation"));
    if m.changed("health-on-failure") {
        annotations.insert("io.knarr.health.on-failure".to_owned(), m.text("health-on-failure").to_owned());
    }
    for (flag, annotation) in
        [("restart-delay", "io.knarr.restart.delay"), ("restart-max-delay", "io.knarr.restart.max-delay")]
    {
        if m.changed(flag) {
            annotations.insert(annotation.to_owned(), m.text(flag).to_owned());
        }
    }
    let requires = m.list("requires");
    if !requires.is_empty() {
        annotations.insert("io.knarr.requires".to_owned(), requires.join(","));
    }
    annotations
}

fn host_config(m: &Matches) -> Result<HostConfig, String> {
    let text = |name: &str| m.text(name).to_owned();
    check_modes(m)?;
    let driver = text("log-driver");
    if driver == "none" && m.changed("log-opt") {
        return Err("invalid logging opts for driver none".into());
    }
    let security = security::parse(&m.list("security-opt"))?;
    let paths = if security.unconfined_paths { List::empty() } else { List::nil() };
    let tmpfs = m
        .list("tmpfs")
        .iter()
        .map(|t| t.split_once(':').map_or((t.clone(), String::new()), |(p, o)| (p.to_owned(), o.to_owned())))
        .collect::<BTreeMap<_, _>>();
    let mut storage = BTreeMap::new();
    for option in m.list("storage-opt") {
        let (name, value) = option.split_once('=').ok_or("invalid storage option")?;
        storage.insert(name.to_owned(), value.to_owned());
    }
    let extra_hosts = m.list("add-host").iter().filter_map(|h| host::parse(h).ok()).collect::<Vec<_>>();
    let dns =
        m.list("dns").iter().filter_map(|a| dns::address(a).ok()).map(|a| a.to_string()).collect::<Vec<_>>();
    let search: Vec<String> = m.list("dns-search").iter().map(|d| d.trim_matches(' ').to_owned()).collect();
    let mut mounts = List::nil();
    for text in m.list("mount") {
        mounts.push(mount::parse(&text)?);
    }
    Ok(HostConfig {
        container_id_file: text("cidfile"),
        log_config: LogConfig { kind: driver, config: key_values(&m.list("log-opt")) },
        restart_policy: restart::parse(m.text("restart"))?,
        auto_remove: m.flag("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: nil_if_empty(m.list("volumes-from")),
        console_size: crate::term::size_of_stdout().map_or([0, 0], |(r, c)| [u32::from(r), u32::from(c)]),
        annotations: annotations(m),
        cap_add: nil_if_empty(capabilities(&m.list("cap-add"))),
        cap_drop: nil_if_empty(capabilities(&m.list("cap-drop"))),
        cgroupns_mode: text("cgroupns"),
        dns: dns.into(),
        dns_options: m.lists(&["dns-opt", "dns-option"]).into(),
        dns_search: search.into(),
        extra_hosts: nil_if_empty(extra_hosts),
        group_add: nil_if_empty(m.list("group-add")),
        ipc_mode: text("ipc"),
        links: nil_if_empty(m.list("link")),
        oom_score_adj: m.int("oom-score-adj"),
        pid_mode: text("pid"),
        privileged: m.flag("privileged"),
        publish_all_ports: m.flag("publish-all"),
        readonly_rootfs: m.flag("read-only"),
        security_opt: nil_if_empty(security.options),
        storage_opt: storage.into(),
        tmpfs: tmpfs.into(),
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        shm_size: memory(m, "shm-size"),
        sysctls: key_values(&m.list("sysctl")),
        runtime: text("runtime"),
        isolation: text("isolation"),
        resources: resources(m)?,
        mounts,
        masked_paths: paths.clone(),
        readonly_paths: paths,
        init: m.changed("init").then(|| m.flag("init")),
        ..HostConfig::default()
    })
}

/// Names in upper case with their prefix, once each, sorted; `ALL` is not a name.
fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| {
        let upper = name.trim().to_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let all: std::collections::BTreeSet<String> = names.iter().map(full).collect();
    all.into_iter().collect()
}

/// A size; the table has checked it.
pub fn memory(m: &Matches, flag: &str) -> i64 {
    match m.text(flag) {
        "" => 0,
        text => size::memory_swap(text).unwrap_or(0),
    }
}

fn check_modes(m: &Matches) -> Result<(), String> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let pid = m.text("pid");
    if !(matches!(pid, "" | "host") || container(pid)) {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(m.text("uts"), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    let userns = m.text("userns");
    if !matches!(userns, "" | "host" | "auto") && !userns.starts_with("auto:") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(m.text("cgroupns"), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(())
}

fn resources(m: &Matches) -> Result<Resources, String> {
    let text = |name: &str| m.text(name).to_owned();
    let mut devices = List::empty();
    let mut cdi = Vec::new();
    for value in m.list("device") {
        if device::is_cdi_name(&value) {
            cdi.push(value);
        } else {
            devices.push(device::parse(&value)?);
        }
    }
    let mut ulimits: BTreeMap<String, _> = BTreeMap::new();
    for limit in m.list("ulimit").iter().filter_map(|u| ulimit::parse(u).ok()) {
        ulimits.insert(limit.name.clone(), limit);
    }
    let bps = |name: &str| {
        m.list(name).iter().filter_map(|v| blkio::bytes_per_second(v).ok()).collect::<Vec<_>>().into()
    };
    let iops = |name: &str| {
        m.list(name).iter().filter_map(|v| blkio::operations_per_second(v).ok()).collect::<Vec<_>>().into()
    };
    let weights =
        m.list("blkio-weight-device").iter().filter_map(|v| blkio::weight(v).ok()).collect::<Vec<_>>();
    Ok(Resources {
        cpu_shares: m.int("cpu-shares"),
        memory: memory(m, "memory"),
        nano_cpus: match m.text("cpus") {
            "" => 0,
            text => decimal::nano_cpus(text)?,
        },
        cgroup_parent: text("cgroup-parent"),
        blkio_weight: u16::try_from(m.int("blkio-weight")).unwrap_or(0),
        blkio_weight_device: weights.into(),
        blkio_device_read_bps: bps("device-read-bps"),
        blkio_device_write_bps: bps("device-write-bps"),
        blkio_device_read_iops: iops("device-read-iops"),
        blkio_device_write_iops: iops("device-write-iops"),
        cpu_period: m.int("cpu-period"),
        cpu_quota: m.int("cpu-quota"),
        cpu_realtime_period: m.int("cpu-rt-period"),
        cpu_realtime_runtime: m.int("cpu-rt-runtime"),
        cpuset_cpus: text("cpuset-cpus"),
        cpuset_mems: text("cpuset-mems"),
        devices,
        device_cgroup_rules: nil_if_empty(m.list("device-cgroup-rule")),
        device_requests: device_requests(m, cdi)?,
        memory_reservation: memory(m, "memory-reservation"),
        memory_swap: memory(m, "memory-swap"),
        memory_swappiness: Some(m.int("memory-swappiness")),
        oom_kill_disable: Some(m.flag("oom-kill-disable")),
        pids_limit: Some(m.int("pids-limit")),
        ulimits: ulimits.into_values().collect::<Vec<_>>().into(),
        ..Resources::default()
    })
}

fn device_requests(m: &Matches, cdi: Vec<String>) -> Result<List<DeviceRequest>, String> {
    let mut requests = List::nil();
    for text in m.list("gpus") {
        requests.push(gpus(&text)?);
    }
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: cdi.into(),
            ..DeviceRequest::default()
        });
    }
    Ok(requests)
}

/// `--gpus all`, `--gpus 2`, `--gpus device=0,driver=nvidia`.
pub fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest { options: Map::empty(), ..DeviceRequest::default() };
    request.capabilities = vec![List::from(["gpu".to_owned()])].into();
    let mut seen: Vec<&str> = Vec::new();
    let fields = crate::spec::csv::record(text)?;
    let count = |value: &str| match value {
        "all" => Ok(-1),
        value => value.parse::<i64>().map_err(|_| {
            format!("invalid count ({value}): value must be either \"all\" or an integer: invalid syntax")
        }),
    };
    for field in &fields {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(k, v)| (k, Some(v)));
        if seen.contains(&key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key);
        match value.map(|value| (key, value)) {
            None => {
                seen.push("count");
                request.count = count(key)?;
            }
            Some(("driver", value)) => request.driver = value.to_owned(),
            Some(("count", value)) => request.count = count(value)?,
            Some(("device", value)) => {
                request.device_ids = value.split(',').map(str::to_owned).collect::<Vec<_>>().into();
            }
            Some(("capabilities", value)) => {
                let names = value.split(',').chain(["gpu"]).map(str::to_owned);
                request.capabilities = vec![names.collect()].into();
            }
            Some(("options", value)) => {
                let options = crate::spec::csv::record(value);
                let options = options.map_err(|e| format!("failed to read gpu options: {e}"))?;
                request.options = key_values(&options);
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.contains(&"count") && request.device_ids.is_empty() {
        request.count = 1;
    }
    Ok(request)
}

fn networks(m: &Matches) -> Result<Vec<Attachment>, String> {
    m.lists(&["net", "network"]).iter().map(|text| network::parse(text)).collect()
}

/// The flags that describe an endpoint belong to the first network.
fn first_network(m: &Matches, mut n: Attachment) -> Result<Attachment, String> {
    let aliases = m.lists(&["net-alias", "network-alias"]);
    let conflict = |given: bool, own: bool, flag: &str, what: &str| {
        if given && own {
            Err(format!("conflicting options: cannot specify both --{flag} and per-network {what}"))
        } else {
            Ok(())
        }
    };
    conflict(!n.aliases.is_empty(), !aliases.is_empty(), "network-alias", "alias")?;
    conflict(!n.ipv4.is_empty(), m.changed("ip"), "ip", "IPv4 address")?;
    conflict(!n.ipv6.is_empty(), m.changed("ip6"), "ip6", "IPv6 address")?;
    conflict(!n.mac.is_empty(), m.changed("mac-address"), "mac-address", "MAC address")?;
    conflict(
        !n.link_local.is_empty(),
        m.changed("link-local-ip"),
        "link-local-ip",
        "link-local IP addresses",
    )?;
    if !aliases.is_empty() {
        n.aliases = aliases;
    }
    // a link of the default bridge is the container's, elsewhere it is the endpoint's
    if network::is_user_defined(&n.target) {
        n.links = m.list("link");
    }
    for (flag, field) in [("ip", &mut n.ipv4), ("ip6", &mut n.ipv6), ("mac-address", &mut n.mac)] {
        if !m.text(flag).is_empty() {
            *field = m.text(flag).to_owned();
        }
    }
    if m.changed("link-local-ip") {
        n.link_local = m.list("link-local-ip");
    }
    Ok(n)
}

fn endpoints(m: &Matches, mut networks: Vec<Attachment>) -> Result<Map<EndpointSettings>, String> {
    let mut endpoints = Map::empty();
    let none_given = networks.is_empty();
    if none_given {
        networks.push(Attachment { target: "default".into(), ..Attachment::default() });
    }
    let user_defined = networks.iter().filter(|n| network::is_user_defined(&n.target)).count();
    let count = networks.len();
    for (i, network) in networks.into_iter().enumerate() {
        let network = if i == 0 { first_network(m, network)? } else { network };
        let settings = network.settings()?;
        if endpoints.contains_key(&network.target) {
            let name = knarr_gotemplate::quote(&network.target);
            return Err(format!("network {name} is specified multiple times"));
        }
        // one network without options of its own: the mode alone says it
        if !none_given && count == 1 && settings == EndpointSettings::default() {
            continue;
        }
        endpoints.insert(network.target, settings);
    }
    if user_defined > 0 && user_defined < count {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".into(),
        );
    }
    Ok(endpoints)
}
