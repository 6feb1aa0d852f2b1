//! Standing facts about this host, gathered once at the start of the engine.
use crate::spec::Facts;
use std::fs;
use std::path::Path;

pub(crate) fn facts() -> Facts {
    let uname = rustix::system::uname();
    let exists = |path: &str| Path::new(path).exists();
    Facts {
        bounding: bounding(),
        cgroup_v2: exists("/sys/fs/cgroup/cgroup.controllers"),
        kernel: uname.release().to_string_lossy().into_owned(),
        throttled_cpus: throttled_cpus(),
        port_start_sysctl: exists("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        ping_range_sysctl: exists("/proc/sys/net/ipv4/ping_group_range"),
        mqueue: fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("mqueue")),
        host_mqueue: exists("/dev/mqueue"),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        ..Facts::default()
    }
}

/// Bytes of memory: `MemTotal` of `/proc/meminfo`; 0 where that cannot be read.
pub(crate) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

/// The CPUs or memory nodes that are there: `0-3,8` as numbers.
pub(crate) fn list_of(text: &str) -> std::collections::BTreeSet<u32> {
    let mut numbers = std::collections::BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
            numbers.extend(from..=to.min(from.saturating_add(MAX_CPUS)));
        }
    }
    numbers
}

/// More than any kernel is built for.
const MAX_CPUS: u32 = 8192;

/// The engine's own bounding set: `CapBnd` of `/proc/self/status`.
fn bounding() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or("").trim();
    let bits = u64::from_str_radix(hex, 16).unwrap_or(0);
    let all = crate::capability::ALL.iter().enumerate();
    all.filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| (*name).to_owned()).collect()
}

fn throttled_cpus() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut cpus: Vec<u32> = entries
        .flatten()
        .filter(|entry| entry.path().join("thermal_throttle").is_dir())
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok())
        .collect();
    cpus.sort_unstable();
    cpus
}
