//! `docker stats`: samples of a container's control group and network, in Docker's JSON.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::record::Time;
use crate::registry::{Entry, Snapshot};
use crate::stream::STREAM_DEPTH;
use knarr_cgroup::{BlkioEntry, Cgroup, Stats};
use knarr_docker_types::container::StatsResponse;
use knarr_docker_types::container_stats::{
    BlkioStatEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, ThrottlingData,
};
use knarr_docker_types::options::ContainerStats;
use knarr_docker_types::{List, Map};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn stream(
    engine: &Arc<Inner>,
    entry: Entry,
    options: ContainerStats,
) -> Result<mpsc::Receiver<Result<StatsResponse>>> {
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    let engine = Arc::clone(engine);
    let id = entry.snapshot.id().to_string();
    tokio::spawn(async move {
        let mut previous: Option<StatsResponse> = None;
        loop {
            // A container that is gone ends the stream; one that does not run has empty samples.
            let Ok(entry) = engine.containers.resolve(&id) else { return };
            let work = Arc::clone(&engine);
            let sampled = engine.pool.run(move || sample(&work, &entry.snapshot)).await;
            let mut current = match sampled.and_then(|inner| inner) {
                Ok(sample) => sample,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            if let Some(previous) = &previous {
                current.precpu_stats = previous.cpu_stats.clone();
                current.preread.clone_from(&previous.read);
            }
            let wanted = options.stream || options.one_shot || previous.is_some();
            let running = !current.read.starts_with("0001");
            if (wanted || !running) && sender.send(Ok(current.clone())).await.is_err() {
                return;
            }
            if !options.stream && (wanted || !running) {
                return;
            }
            previous = Some(current);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = sender.closed() => return,
            }
        }
    });
    Ok(receiver)
}

fn sample(engine: &Inner, snapshot: &Snapshot) -> Result<StatsResponse> {
    let zero = knarr_docker_types::time::ZERO.to_owned();
    let empty = StatsResponse {
        id: snapshot.id().to_string(),
        name: format!("/{}", snapshot.container.name),
        os_type: "linux".to_owned(),
        read: zero.clone(),
        preread: zero,
        ..StatsResponse::default()
    };
    if !snapshot.is_live() {
        return Ok(empty);
    }
    let group = Cgroup::new(&engine.cgroup_path(&snapshot.container))?;
    let stats = match group.stats() {
        Ok(stats) => stats,
        // It has just ended: its group is gone before everybody knows.
        Err(_) if Process::init(&snapshot.status).is_err() => return Ok(empty),
        Err(error) => return Err(error.into()),
    };
    Ok(StatsResponse {
        read: Time::now().rfc3339(),
        cpu_stats: cpu(&stats),
        memory_stats: memory(&stats, engine.host.cgroup_v2),
        pids_stats: PidsStats { current: stats.pids.current, limit: stats.pids.limit },
        blkio_stats: blkio(&stats.blkio, engine.host.cgroup_v2),
        networks: networks(snapshot),
        ..empty
    })
}

fn cpu(stats: &Stats) -> CpuStats {
    let cpu = &stats.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.usage,
            percpu_usage: cpu.per_cpu.clone().into(),
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: system_usage(),
        online_cpus: u32::try_from(std::thread::available_parallelism().map_or(1, |n| n.get())).unwrap_or(1),
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
    }
}

/// Nanoseconds that all CPUs were there for: the first line of `/proc/stat`.
fn system_usage() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or("");
    // user nice system idle iowait irq softirq; steal and guest are counted there already.
    let ticks: u64 = first.split_whitespace().skip(1).take(7).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks.saturating_mul(1_000_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

fn memory(stats: &Stats, v2: bool) -> MemoryStats {
    let memory = &stats.memory;
    let limit = memory.limit.min(crate::host::memory());
    MemoryStats {
        usage: memory.usage,
        max_usage: if v2 { 0 } else { memory.max_usage },
        stats: memory.detail.iter().map(|(key, value)| (key.clone(), *value)).collect(),
        failcnt: if v2 { 0 } else { memory.failures },
        limit,
        ..MemoryStats::default()
    }
}

fn blkio(entries: &[BlkioEntry], v2: bool) -> BlkioStats {
    let list = |value: fn(&BlkioEntry) -> u64| -> List<BlkioStatEntry> {
        let entry = |e: &BlkioEntry| BlkioStatEntry {
            major: e.major,
            minor: e.minor,
            op: e.op.clone(),
            value: value(e),
        };
        if entries.is_empty() && v2 { List::nil() } else { entries.iter().map(entry).collect() }
    };
    let rest = || if v2 { List::nil() } else { List::empty() };
    BlkioStats {
        io_service_bytes_recursive: list(|e| e.bytes),
        io_serviced_recursive: list(|e| e.operations),
        io_queue_recursive: rest(),
        io_service_time_recursive: rest(),
        io_wait_time_recursive: rest(),
        io_merged_recursive: rest(),
        io_time_recursive: rest(),
        sectors_recursive: rest(),
    }
}

/// Of the container's own interfaces; a container that uses another's network shows none.
fn networks(snapshot: &Snapshot) -> Map<NetworkStats> {
    let mode = snapshot.container.host_config.network_mode.as_str();
    if mode == "host" || mode.starts_with("container:") {
        return Map::nil();
    }
    let read = || -> Result<Vec<knarr_network::InterfaceStats>> {
        let namespace = crate::start::network_namespace(&snapshot.status)?;
        knarr_network::Namespace::statistics(namespace.as_fd()).map_err(Error::from)
    };
    let interfaces = read().unwrap_or_default();
    let shown = interfaces.into_iter().filter(|i| i.name != "lo").map(|i| {
        let stats = NetworkStats {
            rx_bytes: i.rx_bytes,
            rx_packets: i.rx_packets,
            rx_errors: i.rx_errors,
            rx_dropped: i.rx_dropped,
            tx_bytes: i.tx_bytes,
            tx_packets: i.tx_packets,
            tx_errors: i.tx_errors,
            tx_dropped: i.tx_dropped,
            ..NetworkStats::default()
        };
        (i.name, stats)
    });
    shown.collect()
}
