//! Limits as files of cgroup v2, converted where v2 counts otherwise.
use super::Write;
use crate::{Error, Result};
use knarr_oci::runtime::{BlockIo, Cpu, Memory, Rdma, Resources};
use std::collections::BTreeMap;

/// All writes, in order. Device rules are a program, see [`crate::Cgroup`]. Kernel memory, swappiness, the switch of the
/// out-of-memory killer and leaf weights do not exist in v2; they are ignored, as all runtimes do.
pub fn writes(resources: &Resources) -> Result<Vec<Write>> {
    let mut out = Vec::new();
    if let Some(cpu) = &resources.cpu {
        self::cpu(cpu, &mut out)?;
    }
    if let Some(memory) = &resources.memory {
        self::memory(memory, &mut out)?;
    }
    if let Some(pids) = &resources.pids {
        let limit = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        out.push(Write::new("pids", "pids.max", limit));
    }
    if let Some(io) = &resources.block_io {
        block_io(io, &mut out);
    }
    for limit in &resources.hugepage_limits {
        for file in ["max", "rsvd.max"] {
            out.push(Write::new("hugetlb", &super::hugetlb_file(&limit.page_size, file)?, limit.limit));
        }
    }
    for (device, limit) in &resources.rdma {
        out.push(Write::new("rdma", "rdma.max", rdma(device, limit)));
    }
    if resources.network.as_ref().is_some_and(|n| n.class_id.is_some() || !n.priorities.is_empty()) {
        let what = "network class and priorities on cgroup v2".to_owned();
        return Err(Error::Unsupported { what });
    }
    for (file, value) in &resources.unified {
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains('/') || file.starts_with('.') || !file.contains('.') {
            return Err(Error::Invalid { what: format!("unified resource {file:?}") });
        }
        out.push(Write::new(controller, file, value));
    }
    Ok(out)
}

/// `cpu.shares` (2..262144, default 1024) as `cpu.weight` (1..10000, default 100): a curve through all three pairs, as
/// other runtimes use it.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// Quota (-1 for none) and period of the text of `cpu.max`.
pub(crate) fn cpu_max(text: &str) -> Option<(i64, u64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota = if quota == "max" { -1 } else { quota.parse().ok()? };
    Some((quota, period.parse().ok()?))
}

/// `blkio.weight` (10..1000) as `io.weight` (1..10000).
pub fn io_weight(weight: u16) -> u64 {
    match weight {
        0 => 0,
        w => 1 + (u64::from(w.max(10)) - 10) * 9999 / 990,
    }
}

fn cpu(cpu: &Cpu, out: &mut Vec<Write>) -> Result<()> {
    if cpu.realtime_runtime.is_some_and(|r| r != 0) || cpu.realtime_period.is_some_and(|p| p != 0) {
        return Err(Error::Unsupported { what: "realtime CPU limits on cgroup v2".to_owned() });
    }
    if let Some(cpus) = cpu.cpus.as_deref().filter(|c| !c.is_empty()) {
        out.push(Write::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems.as_deref().filter(|m| !m.is_empty()) {
        out.push(Write::new("cpuset", "cpuset.mems", mems));
    }
    // An idle group takes no weight: it has to stop being idle before, and becomes idle after.
    if cpu.idle == Some(0) {
        out.push(Write::new("cpu", "cpu.idle", 0));
    }
    if let Some(shares) = cpu.shares.filter(|&s| s != 0) {
        out.push(Write::new("cpu", "cpu.weight", cpu_weight(shares)));
    }
    if let Some(idle) = cpu.idle.filter(|&i| i != 0) {
        out.push(Write::new("cpu", "cpu.idle", idle));
    }
    if let Some(burst) = cpu.burst {
        out.push(Write::new("cpu", "cpu.max.burst", burst));
    }
    let quota = cpu.quota.filter(|&q| q != 0);
    let period = cpu.period.filter(|&p| p != 0);
    if quota.is_some() || period.is_some() {
        let quota = match quota {
            Some(q) if q > 0 => q.to_string(),
            _ => "max".to_owned(),
        };
        out.push(Write::new("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
    }
    Ok(())
}

fn size(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

/// `memory.swap.max` for a limit of memory and swap together, as v1 and the specification count; `None`: not to be set.
pub fn swap_max(memory: &Memory) -> Result<Option<i64>> {
    let limit = memory.limit.filter(|&l| l != 0);
    match (limit, memory.swap.filter(|&s| s != 0)) {
        // No limit of memory means none of both, as it does on v1.
        (Some(-1), None) | (_, Some(-1)) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (Some(limit), Some(both)) if limit > 0 && both >= limit => Ok(Some(both - limit)),
        (Some(limit), Some(both)) if limit > 0 => {
            let what = format!("the limit of memory and swap ({both}) is below the one of memory ({limit})");
            Err(Error::Invalid { what })
        }
        (_, Some(both)) => {
            Err(Error::Invalid { what: format!("a swap limit ({both}) without a memory limit") })
        }
    }
}

fn memory(memory: &Memory, out: &mut Vec<Write>) -> Result<()> {
    if let Some(swap) = swap_max(memory)? {
        out.push(Write::new("memory", "memory.swap.max", size(swap)));
    }
    if let Some(limit) = memory.limit.filter(|&l| l != 0) {
        out.push(Write::new("memory", "memory.max", size(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|&r| r != 0) {
        out.push(Write::new("memory", "memory.low", size(reservation)));
    }
    Ok(())
}

fn block_io(io: &BlockIo, out: &mut Vec<Write>) {
    if let Some(weight) = io.weight.filter(|&w| w != 0) {
        out.push(Write::new("io", "io.weight", io_weight(weight)));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight.filter(|&w| w != 0) {
            let value = format!("{}:{} {}", device.major, device.minor, io_weight(weight));
            out.push(Write::new("io", "io.weight", value));
        }
    }
    let throttles = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    let mut lines: BTreeMap<(i64, i64), Vec<String>> = BTreeMap::new();
    for (key, devices) in throttles {
        for device in devices {
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            lines.entry((device.major, device.minor)).or_default().push(format!("{key}={rate}"));
        }
    }
    for ((major, minor), limits) in lines {
        out.push(Write::new("io", "io.max", format!("{major}:{minor} {}", limits.join(" "))));
    }
}

pub(super) fn rdma(device: &str, limit: &Rdma) -> String {
    let mut text = device.to_owned();
    if let Some(handles) = limit.hca_handles {
        text.push_str(&format!(" hca_handle={handles}"));
    }
    if let Some(objects) = limit.hca_objects {
        text.push_str(&format!(" hca_object={objects}"));
    }
    text
}

/// `io.bfq.weight` (1..1000) for a value of `io.weight`, both with or without a device before the number.
pub(crate) fn bfq_weight(value: &str) -> String {
    let (device, number) = value.rsplit_once(' ').map_or((None, value), |(device, n)| (Some(device), n));
    let weight = number.parse::<u64>().map_or(0, |w| 10 + w.saturating_sub(1) * 990 / 9999);
    device.map_or_else(|| weight.to_string(), |device| format!("{device} {weight}"))
}
