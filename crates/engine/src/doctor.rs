//! What an engine needs of its host, checked, with what to do: `knarr system doctor`.
//!
//! Facts are gathered first, by reading only; the checks are pure. Nothing here needs an engine that runs.
use crate::config::EngineConfig;
use knarr_docker_types::upkeep::{DoctorCheck, DoctorReport};
use std::path::{Path, PathBuf};

/// Oldest kernel that is supported.
const KERNEL: (u32, u32) = (6, 1);
/// Free space from which on it is low, in bytes and in percent.
const LOW_BYTES: u64 = 2 << 30;
const LOW_PERCENT: u64 = 5;
/// Free inodes, in percent.
const LOW_INODES_PERCENT: u64 = 5;
/// Open files: fewer are few for an engine with some hundred containers.
const FEW_FILES: u64 = 65_536;
/// Before this, 2024, no clock is right.
const EARLIEST: i64 = 1_704_067_200;

/// What was found; `None`: it could not be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub root: bool,
    pub kernel: String,
    pub architecture: String,
    pub cgroup_v2: bool,
    /// Controllers that are there.
    pub controllers: Vec<String>,
    /// File systems that the kernel knows.
    pub filesystems: Vec<String>,
    pub namespaces: Vec<String>,
    pub seccomp: bool,
    pub nftables: Option<String>,
    pub forwarding: [Option<bool>; 2],
    /// Chains of other firewalls that drop forwarded packets.
    pub drops: Vec<String>,
    /// Subnets of pools, and those that the host's routes leave free.
    pub pools: Option<(usize, usize)>,
    pub data_root: PathBuf,
    pub filesystem: String,
    pub space: Option<Space>,
    pub now: i64,
    pub files: Option<u64>,
    pub processes: Option<u64>,
    pub keys: Option<(u64, u64)>,
    pub inotify: Option<u64>,
    pub resolvers: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Space {
    pub total: u64,
    pub free: u64,
    pub inodes: u64,
    pub free_inodes: u64,
}

/// Checks this machine for an engine with this configuration.
pub fn examine(config: &EngineConfig) -> DoctorReport {
    report(&gather(config))
}

fn gather(config: &EngineConfig) -> Facts {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let flag = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim() != "0");
    let host = crate::host::facts();
    let controllers = if host.cgroup_v2 {
        text("/sys/fs/cgroup/cgroup.controllers").split_whitespace().map(str::to_owned).collect()
    } else {
        let mounted = text("/proc/mounts");
        let groups = mounted.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup"));
        groups
            .flat_map(|line| line.split(' ').nth(3).unwrap_or_default().split(','))
            .map(str::to_owned)
            .collect()
    };
    let existing = config.data_root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(existing).ok().map(|s| Space {
        total: s.f_blocks * s.f_frsize,
        free: s.f_bavail * s.f_frsize,
        inodes: s.f_files,
        free_inodes: s.f_favail,
    });
    let (drops, pools) = knarr_network::examine(&config.network);
    let limits = text("/proc/self/limits");
    let limit = |name: &str| {
        let hard = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().nth(1)?;
        Some(hard.parse().unwrap_or(u64::MAX))
    };
    let spent = text("/proc/key-users");
    let of_root = spent
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("0:")?.split_whitespace().nth(2)?.split_once('/'));
    Facts {
        root: rustix::process::geteuid().is_root(),
        kernel: host.kernel,
        architecture: std::env::consts::ARCH.to_owned(),
        cgroup_v2: host.cgroup_v2,
        controllers,
        filesystems: text("/proc/filesystems")
            .lines()
            .filter_map(|line| line.split('\t').next_back())
            .map(str::to_owned)
            .collect(),
        namespaces: std::fs::read_dir("/proc/self/ns")
            .map(|dir| dir.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
            .unwrap_or_default(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        nftables: drops.as_ref().err().cloned(),
        forwarding: [flag("/proc/sys/net/ipv4/ip_forward"), flag("/proc/sys/net/ipv6/conf/all/forwarding")],
        drops: drops.unwrap_or_default(),
        pools,
        data_root: config.data_root.clone(),
        filesystem: crate::system::backing(existing),
        space,
        now: jiff::Timestamp::now().as_second(),
        files: limit("Max open files"),
        processes: limit("Max processes"),
        keys: of_root.and_then(|(used, most)| Some((used.parse().ok()?, most.parse().ok()?))),
        inotify: number("/proc/sys/fs/inotify/max_user_instances"),
        resolvers: text("/etc/resolv.conf").lines().filter(|line| line.starts_with("nameserver")).count(),
    }
}

const OK: &str = "ok";
const WARN: &str = "warning";
const FAIL: &str = "failed";

fn check(name: &str, status: &str, found: impl Into<String>, advice: &str) -> DoctorCheck {
    DoctorCheck {
        name: name.to_owned(),
        status: status.to_owned(),
        found: found.into(),
        advice: advice.to_owned(),
    }
}

pub(crate) fn report(facts: &Facts) -> DoctorReport {
    let checks = vec![
        privileges(facts),
        kernel(facts),
        kernel_features(facts),
        cgroups(facts),
        storage(facts),
        space(facts),
        firewall(facts),
        forwarding(facts),
        pools(facts),
        names(facts),
        clock(facts),
        limits(facts),
    ];
    let count = |status: &str| checks.iter().filter(|check| check.status == status).count() as u64;
    DoctorReport { failed: count(FAIL), warnings: count(WARN), checks: checks.into() }
}

fn privileges(facts: &Facts) -> DoctorCheck {
    if facts.root {
        return check("privileges", OK, "runs as root", "");
    }
    check("privileges", FAIL, "does not run as root", "the engine needs root for now: use sudo")
}

fn kernel(facts: &Facts) -> DoctorCheck {
    let found = format!("Linux {} on {}", facts.kernel, facts.architecture);
    let mut numbers = facts.kernel.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL {
        let advice = format!(
            "boot Linux {}.{} or newer: older ones lack calls that containers are made with",
            KERNEL.0, KERNEL.1
        );
        return check("kernel", FAIL, found, &advice);
    }
    check("kernel", OK, found, "")
}

fn kernel_features(facts: &Facts) -> DoctorCheck {
    let missing: Vec<&str> = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .into_iter()
        .filter(|n| !facts.namespaces.iter().any(|f| f == n))
        .collect();
    if !missing.is_empty() {
        let found = format!("namespaces are missing: {}", missing.join(", "));
        return check(
            "namespaces",
            FAIL,
            found,
            "boot a kernel with them (CONFIG_NAMESPACES and CONFIG_*_NS)",
        );
    }
    if !facts.seccomp {
        let advice = "boot a kernel with CONFIG_SECCOMP_FILTER, or run containers with --security-opt seccomp=unconfined";
        return check("namespaces", FAIL, "all namespaces, but no seccomp filters", advice);
    }
    check("namespaces", OK, "all namespaces, and seccomp filters", "")
}

fn cgroups(facts: &Facts) -> DoctorCheck {
    let version = if facts.cgroup_v2 { "version 2" } else { "version 1" };
    let has = |name: &str| facts.controllers.iter().any(|controller| controller == name);
    let missing: Vec<&str> = ["memory", "cpu", "pids"].into_iter().filter(|name| !has(name)).collect();
    if facts.controllers.is_empty() {
        let advice = "mount them: mount -t cgroup2 none /sys/fs/cgroup";
        return check("cgroups", FAIL, "no control groups are mounted", advice);
    }
    if !missing.is_empty() {
        let found = format!("{version}, without {}", missing.join(", "));
        let advice = "limits of these kinds are refused; take cgroup_disable=... off the kernel's command line, or add \
                      cgroup_enable=memory";
        return check("cgroups", WARN, found, advice);
    }
    check("cgroups", OK, format!("{version}, with cpu, memory and pids"), "")
}

fn storage(facts: &Facts) -> DoctorCheck {
    let found = format!("{} at {}", facts.filesystem, facts.data_root.display());
    let overlay = facts.filesystems.iter().any(|name| name == "overlay");
    match facts.filesystem.as_str() {
        "nfs" | "fuse" | "overlayfs" => {
            let advice =
                "containers are full copies there: put the data root on ext4, XFS or btrfs (--data-root)";
            check("storage", WARN, found, advice)
        }
        "tmpfs" => check(
            "storage",
            WARN,
            found,
            "images and containers are in memory, and gone after a restart of the machine",
        ),
        "btrfs" => check("storage", OK, found, ""),
        _ if !overlay => {
            let advice = "load the module (modprobe overlay); without it containers are full copies";
            check("storage", WARN, format!("{found}; overlay is not among the kernel's file systems"), advice)
        }
        _ => check("storage", OK, found, ""),
    }
}

fn space(facts: &Facts) -> DoctorCheck {
    let Some(space) = facts.space else {
        return check("disk space", WARN, "cannot be read", "look at df yourself");
    };
    let percent = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(100);
    let found = format!("{} MiB free ({} %)", space.free >> 20, percent(space.free, space.total));
    let advice =
        "remove what is not used (knarr system prune), or let the engine do it (clean-up in daemon.json)";
    if space.inodes > 0 && percent(space.free_inodes, space.inodes) < LOW_INODES_PERCENT {
        return check("disk space", WARN, format!("{found}; few inodes are left"), advice);
    }
    let low = space.free < LOW_BYTES || percent(space.free, space.total) < LOW_PERCENT;
    check("disk space", if low { WARN } else { OK }, found, if low { advice } else { "" })
}

fn firewall(facts: &Facts) -> DoctorCheck {
    if let Some(why) = &facts.nftables {
        let advice =
            "load the module (modprobe nf_tables); without it there are no published ports and no way out";
        return check("firewall", FAIL, format!("nftables cannot be used: {why}"), advice);
    }
    if !facts.drops.is_empty() {
        let found = format!("{} of another firewall drops forwarded packets", facts.drops.join(", "));
        let advice = "let it accept what is forwarded from and to the containers' bridges (knarr0, br-*)";
        return check("firewall", WARN, found, advice);
    }
    check("firewall", OK, "nftables; no other firewall drops what is forwarded", "")
}

fn forwarding(facts: &Facts) -> DoctorCheck {
    let word = |on: Option<bool>| match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let found = format!("IPv4 {}, IPv6 {}", word(facts.forwarding[0]), word(facts.forwarding[1]));
    match facts.forwarding[0] {
        Some(true) => check("forwarding", OK, found, ""),
        // The engine turns it on, unless it is told not to.
        Some(false) => check("forwarding", OK, found + "; the engine turns it on (ip-forward)", ""),
        None => {
            check("forwarding", WARN, found, "see that /proc/sys/net/ipv4/ip_forward can be read and is 1")
        }
    }
}

fn pools(facts: &Facts) -> DoctorCheck {
    match facts.pools {
        None => check("address pools", WARN, "the host's routes cannot be read", ""),
        Some((all, 0)) => {
            let found = format!("none of {all} subnets is free of the host's routes");
            check("address pools", FAIL, found, "name others: default-address-pools in daemon.json")
        }
        Some((all, free)) if free < 3 => {
            let found = format!("{free} of {all} subnets are free of the host's routes");
            check("address pools", WARN, found, "name more: default-address-pools in daemon.json")
        }
        Some((all, free)) => check("address pools", OK, format!("{free} of {all} subnets are free"), ""),
    }
}

fn names(facts: &Facts) -> DoctorCheck {
    match facts.resolvers {
        0 => check(
            "name servers",
            WARN,
            "/etc/resolv.conf names none",
            "containers find no names but their own: add one, or set dns in daemon.json",
        ),
        1 => check("name servers", OK, "1 in /etc/resolv.conf", ""),
        n => check("name servers", OK, format!("{n} in /etc/resolv.conf"), ""),
    }
}

fn clock(facts: &Facts) -> DoctorCheck {
    let found =
        jiff::Timestamp::from_second(facts.now).map_or_else(|_| facts.now.to_string(), |t| t.to_string());
    if facts.now < EARLIEST {
        return check("clock", FAIL, found, "set the clock: certificates of registries are not valid yet");
    }
    check("clock", OK, found, "")
}

fn limits(facts: &Facts) -> DoctorCheck {
    let mut problems = Vec::new();
    if let Some(files) = facts.files.filter(|files| *files < FEW_FILES) {
        problems.push(format!("{files} open files (LimitNOFILE=infinity, ulimit -Hn)"));
    }
    if let Some(processes) = facts.processes.filter(|processes| *processes < 4096) {
        problems.push(format!("{processes} processes (LimitNPROC=infinity, ulimit -Hu)"));
    }
    if let Some((used, most)) = facts.keys.filter(|(used, most)| used * 10 > most * 9) {
        problems.push(format!("{used} of {most} kernel keys used (sysctl kernel.keys.root_maxkeys)"));
    }
    if let Some(instances) = facts.inotify.filter(|instances| *instances < 128) {
        problems.push(format!("{instances} inotify instances (sysctl fs.inotify.max_user_instances=1024)"));
    }
    if problems.is_empty() {
        return check("limits", OK, "open files, processes, keys and inotify instances suffice", "");
    }
    check("limits", WARN, problems.join("; "), "raise what is in parentheses")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        Facts {
            root: true,
            kernel: "6.12.1-amd64".into(),
            architecture: "x86_64".into(),
            cgroup_v2: true,
            controllers: words("cpuset cpu io memory pids"),
            filesystems: words("ext4 overlay"),
            namespaces: words("cgroup ipc mnt net pid user uts time"),
            seccomp: true,
            forwarding: [Some(true), Some(false)],
            pools: Some((31, 30)),
            data_root: "/var/lib/knarr".into(),
            filesystem: "extfs".into(),
            space: Some(Space { total: 100 << 30, free: 50 << 30, inodes: 100, free_inodes: 50 }),
            now: EARLIEST + 1,
            files: Some(1 << 20),
            processes: Some(u64::MAX),
            keys: Some((1, 1_000_000)),
            inotify: Some(128),
            resolvers: 1,
            ..Facts::default()
        }
    }

    #[test]
    fn a_good_machine_passes() {
        let report = report(&good());
        assert_eq!((report.failed, report.warnings), (0, 0), "{report:?}");
    }

    /// The check that finds it, what it says, and how it comes about.
    type Fault = (&'static str, &'static str, fn(&mut Facts));

    #[test]
    fn each_fault_is_found_and_has_advice() {
        let faults: [Fault; 17] = [
            ("privileges", FAIL, |f| f.root = false),
            ("kernel", FAIL, |f| f.kernel = "5.10.0-28-amd64".into()),
            ("namespaces", FAIL, |f| f.namespaces.retain(|name| name != "user")),
            ("namespaces", FAIL, |f| f.seccomp = false),
            ("cgroups", FAIL, |f| f.controllers.clear()),
            ("cgroups", WARN, |f| f.controllers.retain(|name| name != "memory")),
            ("storage", WARN, |f| f.filesystems.clear()),
            ("storage", WARN, |f| f.filesystem = "nfs".into()),
            ("disk space", WARN, |f| f.space.as_mut().unwrap().free = 1 << 30),
            ("disk space", WARN, |f| f.space.as_mut().unwrap().free_inodes = 1),
            ("firewall", FAIL, |f| f.nftables = Some("not there".into())),
            ("firewall", WARN, |f| f.drops.push("ip filter FORWARD".into())),
            ("address pools", FAIL, |f| f.pools = Some((31, 0))),
            ("name servers", WARN, |f| f.resolvers = 0),
            ("clock", FAIL, |f| f.now = 1000),
            ("limits", WARN, |f| f.files = Some(1024)),
            ("limits", WARN, |f| f.keys = Some((199, 200))),
        ];
        for (name, status, spoil) in faults {
            let mut facts = good();
            spoil(&mut facts);
            let report = report(&facts);
            let bad: Vec<&DoctorCheck> = report.checks.iter().filter(|check| check.status != OK).collect();
            assert_eq!(bad.len(), 1, "{name}: {bad:?}");
            assert_eq!((bad[0].name.as_str(), bad[0].status.as_str()), (name, status));
            assert!(!bad[0].advice.is_empty(), "{name}");
            assert_eq!(report.failed + report.warnings, 1);
        }
    }
}
