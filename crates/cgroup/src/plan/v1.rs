//! Limits as files of cgroup v1.
use super::Write;
use crate::{Error, Result};
use knarr_oci::runtime::{BlockIo, Cpu, Memory, Network, Resources};

/// All writes, in order; where the kernel wants another order for a change, the applier turns them around. Device rules are
/// in [`super::devices`]. Limits of kernel memory are ignored: the kernel has none any more.
pub fn writes(resources: &Resources) -> Result<Vec<Write>> {
    if let Some(file) = resources.unified.keys().next() {
        return Err(Error::Invalid { what: format!("unified resource {file:?} on cgroup v1") });
    }
    let mut out = Vec::new();
    if let Some(cpu) = &resources.cpu {
        cpuset(cpu, &mut out);
        cpu_time(cpu, &mut out);
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
        for file in ["limit_in_bytes", "rsvd.limit_in_bytes"] {
            out.push(Write::new("hugetlb", &super::hugetlb_file(&limit.page_size, file)?, limit.limit));
        }
    }
    if let Some(network) = &resources.network {
        self::network(network, &mut out);
    }
    for (device, limit) in &resources.rdma {
        out.push(Write::new("rdma", "rdma.max", super::v2::rdma(device, limit)));
    }
    Ok(out)
}

fn cpuset(cpu: &Cpu, out: &mut Vec<Write>) {
    if let Some(cpus) = cpu.cpus.as_deref().filter(|c| !c.is_empty()) {
        out.push(Write::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems.as_deref().filter(|m| !m.is_empty()) {
        out.push(Write::new("cpuset", "cpuset.mems", mems));
    }
}

fn cpu_time(cpu: &Cpu, out: &mut Vec<Write>) {
    let mut put = |file: &str, value: String| out.push(Write::new("cpu", file, value));
    // An idle group takes no shares: it has to stop being idle before, and becomes idle after.
    if cpu.idle == Some(0) {
        put("cpu.idle", "0".to_owned());
    }
    if let Some(shares) = cpu.shares.filter(|&s| s != 0) {
        put("cpu.shares", shares.to_string());
    }
    if let Some(idle) = cpu.idle.filter(|&i| i != 0) {
        put("cpu.idle", idle.to_string());
    }
    if let Some(period) = cpu.period.filter(|&p| p != 0) {
        put("cpu.cfs_period_us", period.to_string());
    }
    if let Some(quota) = cpu.quota.filter(|&q| q != 0) {
        put("cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(burst) = cpu.burst {
        put("cpu.cfs_burst_us", burst.to_string());
    }
    if let Some(period) = cpu.realtime_period.filter(|&p| p != 0) {
        put("cpu.rt_period_us", period.to_string());
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&r| r != 0) {
        put("cpu.rt_runtime_us", runtime.to_string());
    }
}

fn memory(memory: &Memory, out: &mut Vec<Write>) -> Result<()> {
    let mut put = |file: &str, value: String| out.push(Write::new("memory", file, value));
    let limit = memory.limit.filter(|&l| l != 0);
    // A memory limit that is taken away takes the one of memory and swap along.
    let swap = memory.swap.filter(|&s| s != 0).or(limit.filter(|&l| l == -1));
    if let Some(limit) = limit {
        put("memory.limit_in_bytes", limit.to_string());
    }
    if let Some(swap) = swap {
        put("memory.memsw.limit_in_bytes", swap.to_string());
    }
    if let Some(reservation) = memory.reservation.filter(|&r| r != 0) {
        put("memory.soft_limit_in_bytes", reservation.to_string());
    }
    if let Some(swappiness) = super::swappiness(memory)? {
        put("memory.swappiness", swappiness.to_string());
    }
    if let Some(disabled) = memory.disable_oom_killer {
        put("memory.oom_control", u8::from(disabled).to_string());
    }
    Ok(())
}

fn block_io(io: &BlockIo, out: &mut Vec<Write>) {
    let mut put = |file: &str, value: String| out.push(Write::new("blkio", file, value));
    if let Some(weight) = io.weight.filter(|&w| w != 0) {
        put("blkio.weight", weight.to_string());
    }
    if let Some(weight) = io.leaf_weight.filter(|&w| w != 0) {
        put("blkio.leaf_weight", weight.to_string());
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight.filter(|&w| w != 0) {
            put("blkio.weight_device", format!("{}:{} {weight}", device.major, device.minor));
        }
        if let Some(weight) = device.leaf_weight.filter(|&w| w != 0) {
            put("blkio.leaf_weight_device", format!("{}:{} {weight}", device.major, device.minor));
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ];
    for (file, devices) in throttles {
        for device in devices {
            put(file, format!("{}:{} {}", device.major, device.minor, device.rate));
        }
    }
}

fn network(network: &Network, out: &mut Vec<Write>) {
    if let Some(class) = network.class_id.filter(|&c| c != 0) {
        out.push(Write::new("net_cls", "net_cls.classid", class));
    }
    for interface in &network.priorities {
        out.push(Write::new(
            "net_prio",
            "net_prio.ifpriomap",
            format!("{} {}", interface.name, interface.priority),
        ));
    }
}
