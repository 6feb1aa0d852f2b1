//! What a group has used, in one form for v1 and v2.
use crate::group::Cgroup;
use crate::{Hierarchies, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ticks of `cpuacct.stat` per second (USER_HZ).
const NANOS_PER_TICK: u64 = 10_000_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub blkio: Vec<BlkioEntry>,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    pub usage: u64,
    pub user: u64,
    pub system: u64,
    /// v1 only.
    pub per_cpu: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

/// Bytes; `u64::MAX` for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    pub usage: u64,
    pub max_usage: u64,
    pub limit: u64,
    /// v1: how often the limit was hit.
    pub failures: u64,
    pub oom_kills: u64,
    /// Lines of `memory.stat`.
    pub detail: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    pub current: u64,
    /// `u64::MAX` for no limit.
    pub limit: u64,
}

/// Bytes and operations of one device and kind (`read`, `write`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub bytes: u64,
    pub operations: u64,
}

impl Cgroup {
    /// Counters of a controller that is missing are zero.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        match &self.hierarchies {
            Hierarchies::V1(_) => {
                self.cpu_v1(&mut stats.cpu)?;
                self.memory_v1(&mut stats.memory)?;
                stats.blkio = self.blkio_v1()?;
            }
            Hierarchies::V2(_) => {
                self.cpu_v2(&mut stats.cpu)?;
                self.memory_v2(&mut stats.memory)?;
                stats.blkio = self.text("io", "io.stat")?.map(|text| blkio_v2(&text)).unwrap_or_default();
            }
        }
        stats.memory.oom_kills = self.oom_kills()?;
        stats.pids.current = self.value("pids", "pids.current")?.unwrap_or(0);
        stats.pids.limit = self.value("pids", "pids.max")?.unwrap_or(u64::MAX);
        Ok(stats)
    }

    fn text(&self, controller: &str, file: &str) -> Result<Option<String>> {
        match self.directory(controller) {
            Some(directory) => files::read_optional(&directory.join(file)),
            None => Ok(None),
        }
    }
    fn value(&self, controller: &str, file: &str) -> Result<Option<u64>> {
        Ok(self.text(controller, file)?.map(|text| files::number(&text)))
    }

    fn cpu_v1(&self, cpu: &mut CpuStats) -> Result<()> {
        cpu.usage = self.value("cpuacct", "cpuacct.usage")?.unwrap_or(0);
        let per_cpu = self.text("cpuacct", "cpuacct.usage_percpu")?.unwrap_or_default();
        cpu.per_cpu = per_cpu.split_whitespace().map(files::number).collect();
        for (key, ticks) in files::pairs(&self.text("cpuacct", "cpuacct.stat")?.unwrap_or_default()) {
            match key {
                "user" => cpu.user = ticks * NANOS_PER_TICK,
                "system" => cpu.system = ticks * NANOS_PER_TICK,
                _ => {}
            }
        }
        for (key, value) in files::pairs(&self.text("cpu", "cpu.stat")?.unwrap_or_default()) {
            match key {
                "nr_periods" => cpu.periods = value,
                "nr_throttled" => cpu.throttled_periods = value,
                "throttled_time" => cpu.throttled_time = value,
                _ => {}
            }
        }
        Ok(())
    }

    fn cpu_v2(&self, cpu: &mut CpuStats) -> Result<()> {
        for (key, value) in files::pairs(&self.text("cpu", "cpu.stat")?.unwrap_or_default()) {
            match key {
                "usage_usec" => cpu.usage = value * 1000,
                "user_usec" => cpu.user = value * 1000,
                "system_usec" => cpu.system = value * 1000,
                "nr_periods" => cpu.periods = value,
                "nr_throttled" => cpu.throttled_periods = value,
                "throttled_usec" => cpu.throttled_time = value * 1000,
                _ => {}
            }
        }
        Ok(())
    }

    fn memory_v1(&self, memory: &mut MemoryStats) -> Result<()> {
        /// The kernel's number for no limit: the largest multiple of a page.
        const NO_LIMIT: u64 = i64::MAX as u64 & !0xffff;
        memory.usage = self.value("memory", "memory.usage_in_bytes")?.unwrap_or(0);
        memory.max_usage = self.value("memory", "memory.max_usage_in_bytes")?.unwrap_or(0);
        memory.failures = self.value("memory", "memory.failcnt")?.unwrap_or(0);
        let limit = self.value("memory", "memory.limit_in_bytes")?.unwrap_or(u64::MAX);
        memory.limit = if limit >= NO_LIMIT { u64::MAX } else { limit };
        memory.detail = self.memory_detail()?;
        Ok(())
    }

    fn memory_v2(&self, memory: &mut MemoryStats) -> Result<()> {
        memory.usage = self.value("memory", "memory.current")?.unwrap_or(0);
        memory.max_usage = self.value("memory", "memory.peak")?.unwrap_or(0);
        memory.limit = self.value("memory", "memory.max")?.unwrap_or(u64::MAX);
        memory.detail = self.memory_detail()?;
        Ok(())
    }

    fn memory_detail(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.text("memory", "memory.stat")?.unwrap_or_default();
        Ok(files::pairs(&text).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn blkio_v1(&self) -> Result<Vec<BlkioEntry>> {
        let read = |file: &str| self.text("blkio", file);
        let bytes = read("blkio.throttle.io_service_bytes_recursive")?;
        let operations = read("blkio.throttle.io_serviced_recursive")?;
        Ok(blkio_v1(&bytes.unwrap_or_default(), &operations.unwrap_or_default()))
    }
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines such as `8:0 Read 4096`.
fn blkio_v1(bytes: &str, operations: &str) -> Vec<BlkioEntry> {
    let mut found: BTreeMap<(u64, u64, String), BlkioEntry> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some((major, minor)) = words.next().and_then(device) else { continue };
            let (Some(op), Some(value)) = (words.next(), words.next()) else { continue };
            let op = op.to_ascii_lowercase();
            if op != "read" && op != "write" {
                continue;
            }
            let entry = found.entry((major, minor, op.clone())).or_default();
            (entry.major, entry.minor, entry.op) = (major, minor, op);
            *(if is_bytes { &mut entry.bytes } else { &mut entry.operations }) = files::number(value);
        }
    }
    found.into_values().collect()
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn blkio_v2(text: &str) -> Vec<BlkioEntry> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let values: BTreeMap<&str, u64> =
            words.filter_map(|w| w.split_once('=')).map(|(k, v)| (k, files::number(v))).collect();
        let get = |key: &str| values.get(key).copied().unwrap_or(0);
        for (op, bytes, operations) in [("read", "rbytes", "rios"), ("write", "wbytes", "wios")] {
            let (bytes, operations) = (get(bytes), get(operations));
            found.push(BlkioEntry { major, minor, op: op.to_owned(), bytes, operations });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_statistics_of_both_versions_agree() {
        let v1 = blkio_v1(
            "8:0 Read 4096\n8:0 Write 0\n8:0 Sync 4096\n8:0 Total 4096\nTotal 4096\n",
            "8:0 Read 1\n8:0 Write 0\nTotal 1\n",
        );
        let v2 = blkio_v2("8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n");
        assert_eq!(v1, v2);
        assert_eq!(v1[0], BlkioEntry { major: 8, minor: 0, op: "read".into(), bytes: 4096, operations: 1 });
    }
}
