//! Is the request one that can be carried out? Docker's checks with Docker's words. Pure.
use crate::error::{Error, Result};
use crate::machine::{self, Backoff};
use knarr_docker_types::container_config::{Config, HealthConfig};
use knarr_docker_types::host_config::{HostConfig, RestartPolicy};
use knarr_docker_types::resources::Resources;

/// Least memory limit that Docker accepts.
const MIN_MEMORY: i64 = 6 << 20;
/// Longest hostname (the kernel's limit is 64 bytes).
const MAX_HOSTNAME: usize = 64;

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(text.into()))
}

/// The portable part, before it is merged with the image's.
pub fn config(config: &Config) -> Result<()> {
    if config.hostname.len() > MAX_HOSTNAME || config.hostname.contains(['\0', '\n', '/']) {
        return invalid(format!("invalid hostname: {:?}", config.hostname));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let dir = &config.working_dir;
        return invalid(format!("the working directory '{dir}' is invalid, it needs to be an absolute path"));
    }
    if !config.stop_signal.is_empty() && crate::signal::parse(&config.stop_signal).is_none() {
        return invalid(format!("invalid signal: {}", config.stop_signal));
    }
    for entry in &config.env {
        if entry.is_empty() || entry.starts_with('=') {
            return invalid(format!("invalid environment variable: {entry}"));
        }
    }
    for text in config.env.iter().chain(config.cmd.iter()).chain(config.entrypoint.iter()) {
        if text.contains('\0') {
            return invalid("arguments and environment may not contain NUL bytes");
        }
    }
    config.healthcheck.as_ref().map_or(Ok(()), health)
}

fn health(check: &HealthConfig) -> Result<()> {
    const MIN_NS: i64 = 1_000_000;
    for (name, value) in [
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    ] {
        if value != 0 && value < MIN_NS {
            return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if check.retries < 0 {
        return invalid("Retries in Healthcheck cannot be negative");
    }
    crate::health::check(check).or_else(invalid)
}

/// The part that ties the container to this host.
pub fn host_config(host: &HostConfig) -> Result<()> {
    restart_policy(&host.restart_policy)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    let said = |name: &str| host.annotations.get(name).map(String::as_str);
    let pauses = Backoff::parse(said(machine::DELAY), said(machine::MAX_DELAY), Backoff::default());
    if let Err(why) = pauses {
        return invalid(format!("invalid pause before a restart: {why}"));
    }
    let on_failure = crate::health::OnFailure::of(&host.annotations).or_else(invalid)?;
    if host.auto_remove && on_failure == crate::health::OnFailure::Restart {
        return invalid("can't create 'AutoRemove' container that is restarted when it is unhealthy");
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return invalid(format!("invalid isolation ({}): linux only supports 'default'", host.isolation));
    }
    if !host.storage_opt.is_empty() {
        return Err(Error::NotImplemented("storage options of a container".into()));
    }
    resources(&host.resources)?;
    capabilities("CapAdd", &host.cap_add)?;
    capabilities("CapDrop", &host.cap_drop)?;
    if host.shm_size < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ));
    }
    if host.annotations.contains_key("") {
        return invalid("invalid Annotations: the empty string is not permitted as an annotation key");
    }
    modes(host)?;
    sysctls(host)?;
    log_config(host)?;
    for host_entry in &host.extra_hosts {
        if !host_entry.contains([':', '=']) {
            return invalid(format!("bad format for add-host: \"{host_entry}\""));
        }
        let address =
            host_entry.split_once([':', '=']).map_or("", |(_, address)| address).trim_matches(['[', ']']);
        if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
            return invalid(format!("invalid IP address in add-host: {address:?}"));
        }
    }
    devices(&host.resources)
}

fn devices(resources: &Resources) -> Result<()> {
    // There is no driver for any; the words are Docker's, who prints lists as Go does.
    if let Some(request) = resources.device_requests.first() {
        let sets: Vec<_> = request.capabilities.iter().map(|set| format!("[{}]", set.join(" "))).collect();
        return invalid(format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            sets.join(" ")
        ));
    }
    match resources.device_cgroup_rules.iter().find(|rule| crate::spec::device_rule(rule).is_none()) {
        Some(rule) => invalid(format!("invalid device cgroup rule format: '{rule}'")),
        None => Ok(()),
    }
}

/// `no`, `always`, `unless-stopped`, `on-failure`.
pub fn restart_policy(policy: &RestartPolicy) -> Result<()> {
    let retries = policy.maximum_retry_count;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" | "" if retries != 0 => {
            let text = if retries < 0 {
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
            } else {
                "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            };
            invalid(text)
        }
        "on-failure" if retries < 0 => {
            invalid("invalid restart policy: maximum retry count cannot be negative")
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// Limits that contradict each other or the kernel.
pub fn resources(r: &Resources) -> Result<()> {
    if r.memory != 0 && r.memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if r.memory_reservation != 0 && r.memory_reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if r.memory > 0 && r.memory_reservation > 0 && r.memory < r.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if let Some(swappiness) = r.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if r.nano_cpus > 0 && r.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if r.nano_cpus > 0 && r.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if r.cpu_quota != 0 && r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if r.cpu_shares < 0 {
        return invalid(format!("invalid CPU shares ({}): value must be a positive integer", r.cpu_shares));
    }
    if r.blkio_weight != 0 && !(10..=1000).contains(&r.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    cpuset("cpus", &r.cpuset_cpus)?;
    cpuset("mems", &r.cpuset_mems)?;
    for limit in &r.ulimits {
        if !ULIMITS.contains(&limit.name.as_str()) {
            return invalid(format!("invalid ulimit type: {}", limit.name));
        }
        if limit.hard != -1 && limit.soft > limit.hard {
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            ));
        }
    }
    Ok(())
}

/// The names of setrlimit(2).
pub const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn cpuset(what: &str, text: &str) -> Result<()> {
    let number = |t: &str| t.parse::<u32>().ok().filter(|n| *n < 8192);
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
        None => number(part).is_some(),
    };
    if text.is_empty() || text.split(',').all(range) {
        Ok(())
    } else {
        invalid(format!("Invalid value {text} for cpuset {what}: invalid format: {text}"))
    }
}

fn capabilities(field: &str, list: &[String]) -> Result<()> {
    for name in list {
        if crate::capability::normal(name).is_none() {
            let shown = name.to_ascii_uppercase();
            let shown = if shown.starts_with("CAP_") { shown } else { format!("CAP_{shown}") };
            return invalid(format!("invalid {field}: unknown capability: \"{shown}\""));
        }
    }
    Ok(())
}

fn modes(host: &HostConfig) -> Result<()> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    let (pid, ipc, uts) = (host.pid_mode.as_str(), host.ipc_mode.as_str(), host.uts_mode.as_str());
    if !matches!(pid, "" | "host") && !container(pid) {
        return invalid(format!("invalid PID mode: {pid}"));
    }
    if !matches!(ipc, "" | "none" | "private" | "shareable" | "host") && !container(ipc) {
        return invalid(format!("invalid IPC mode: {ipc}"));
    }
    if !matches!(uts, "" | "host") {
        return invalid(format!("invalid UTS mode: {uts}"));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    crate::userns::Mode::parse(&host.userns_mode)?;
    super::security_opt::parse(&host.security_opt)?;
    Ok(())
}

/// Only what belongs to a namespace of the container's own.
fn sysctls(host: &HostConfig) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for name in host.sysctls.keys() {
        if name.contains("..") || name.contains('\0') || name.is_empty() {
            return invalid(format!("invalid sysctl: {name:?}"));
        }
        let dotted = name.replace('/', ".");
        if dotted.starts_with("net.") && host.network_mode == "host" {
            return invalid(format!("sysctl '{name}' not allowed in host network namespace"));
        }
        let ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
        if ipc && host.ipc_mode == "host" {
            return invalid(format!("sysctl '{name}' not allowed in host ipc namespace"));
        }
        if !(dotted.starts_with("net.") || ipc || dotted == "kernel.domainname" || host.privileged) {
            return invalid(format!("invalid sysctl: sysctl {name:?} is not in a separate kernel namespace"));
        }
    }
    Ok(())
}

fn log_config(host: &HostConfig) -> Result<()> {
    let driver = host.log_config.kind.as_str();
    // Empty: the engine's default, which was put in before for a request.
    if driver.is_empty() {
        return Ok(());
    }
    let options = host.log_config.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    crate::log_driver::validate(driver, &options).map_err(Error::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::List;
    use knarr_docker_types::resources::DeviceRequest;

    fn policy(name: &str, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy { name: name.into(), maximum_retry_count }
    }

    #[test]
    fn restart_policies() {
        for (name, n) in
            [("", 0), ("no", 0), ("always", 0), ("unless-stopped", 0), ("on-failure", 0), ("on-failure", 3)]
        {
            restart_policy(&policy(name, n)).unwrap();
        }
        let text = |name, n| restart_policy(&policy(name, n)).unwrap_err().to_string();
        insta::assert_snapshot!(
            [text("sometimes", 0), text("always", 3), text("on-failure", -1), text("no", -1)].join("\n")
        );
    }

    #[test]
    fn contradictions() {
        let mut texts = Vec::new();
        let mut check = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            texts.push(host_config(&host).unwrap_err().to_string());
        };
        check(|h| h.resources.memory = 1000);
        check(|h| (h.resources.memory, h.resources.memory_swap) = (100 << 20, 50 << 20));
        check(|h| h.resources.memory_swap = 50 << 20);
        check(|h| (h.resources.nano_cpus, h.resources.cpu_quota) = (1, 1));
        check(|h| h.resources.cpuset_cpus = "0-x".into());
        check(|h| h.cap_add = ["NONSENSE".to_owned()].into());
        check(|h| h.oom_score_adj = 2000);
        check(|h| h.pid_mode = "container:".into());
        check(|h| h.ipc_mode = "other".into());
        check(|h| drop(h.sysctls.insert("vm.swappiness".into(), "1".into())));
        check(|h| h.log_config.kind = "splunk".into());
        check(|h| h.extra_hosts = ["nohost".to_owned()].into());
        check(|h| h.resources.device_cgroup_rules = ["c 1:3 xyz".to_owned()].into());
        check(|h| {
            let sets: [List<String>; 2] =
                [["gpu".to_owned(), "x".to_owned()].into(), ["y".to_owned()].into()];
            let request =
                DeviceRequest { driver: "cdi".into(), capabilities: sets.into(), ..Default::default() };
            h.resources.device_requests = [request].into();
        });
        check(|h| {
            h.auto_remove = true;
            h.restart_policy.name = "always".into();
        });
        insta::assert_snapshot!(texts.join("\n"));
        host_config(&HostConfig::default()).unwrap();
    }

    #[test]
    fn configs() {
        let text = |change: fn(&mut Config)| {
            let mut c = Config::default();
            change(&mut c);
            config(&c).unwrap_err().to_string()
        };
        let texts = [
            text(|c| c.working_dir = "rel".into()),
            text(|c| c.stop_signal = "SIGNOPE".into()),
            text(|c| c.env = ["=x".to_owned()].into()),
            text(|c| c.cmd.push("a\0b".into())),
            text(|c| c.healthcheck = Some(HealthConfig { interval_ns: 5, ..Default::default() })),
            text(|c| {
                c.healthcheck = Some(HealthConfig { test: ["WAT".to_owned()].into(), ..Default::default() })
            }),
        ];
        insta::assert_snapshot!(texts.join("\n"));
        config(&Config::default()).unwrap();
    }
}
