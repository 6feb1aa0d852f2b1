//! `events`: what a container uses, and that it ran out of memory.
//!
//! Format: one JSON object per line, as runc's `types/events.go` has it.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, cgroup_error, unknown};
use crate::{Error, Result};
use knarr_cgroup::{BlkioEntry, Cgroup, Stats};
use knarr_linux::Errno;
use knarr_oci::runtime::StateStatus;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn events(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let (mut once, mut interval) = (false, INTERVAL);
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "stats" => once = arguments.flag(&name, value)?,
            "interval" => interval = duration(&arguments.value(&name, value)?)?,
            _ => return Err(unknown(&name)),
        }
    }
    let container = Container::load(global, arguments.id()?)?;
    arguments.end()?;
    let id = &container.record.id;
    if container.status() == StateStatus::Stopped {
        return Err(Error::State { what: format!("container with id {id} is not running") });
    }
    let cgroup = container.cgroup()?;
    if once {
        let stats = cgroup.stats().map_err(cgroup_error)?;
        show("stats", id, &stats_json(&stats))?;
        return Ok(0);
    }
    follow(&container, &cgroup, interval)?;
    Ok(0)
}

/// Until the container has ended or nobody reads any more.
fn follow(container: &Container, cgroup: &Cgroup, interval: Duration) -> Result<()> {
    let Some(pidfd) = container.process() else { return Ok(()) };
    let watch = cgroup.watch_oom().map_err(cgroup_error)?;
    let mut kills = cgroup.oom_kills().unwrap_or(0);
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(watch.as_ref().map(|watch| PollFd::new(watch, PollFlags::IN | PollFlags::PRI)));
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                let stage = "wait for events".to_owned();
                return Err(Error::Step { stage, path: None, errno: errno.raw_os_error() });
            }
        }
        let ended = polled.first().is_some_and(|p| !p.revents().is_empty());
        if polled.get(1).is_some_and(|p| !p.revents().is_empty())
            && let Some(watch) = &watch
        {
            watch.clear();
        }
        // A group that was just removed counts nothing any more.
        let now = cgroup.oom_kills().unwrap_or(kills);
        if now > kills {
            kills = now;
            show("oom", &container.record.id, &Value::Null)?;
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            let stats = cgroup.stats().map_err(cgroup_error)?;
            show("stats", &container.record.id, &stats_json(&stats))?;
        }
    }
}

fn show(kind: &str, id: &str, data: &Value) -> Result<()> {
    let event = match data {
        Value::Null => json!({ "type": kind, "id": id }),
        data => json!({ "type": kind, "id": id, "data": data }),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{event}").and_then(|()| out.flush()).map_err(|error| Error::Step {
        stage: "write the events".to_owned(),
        path: None,
        errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    })
}

/// Go's durations as far as an interval needs them: `5s`, `500ms`, `1m`, `1m30s`.
fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::Invalid { what: format!("duration interval {text:?}") };
    let mut total = Duration::ZERO;
    let mut left = text;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, rest) = left.split_at(digits);
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(bad()),
        };
        let value: f64 = number.parse().map_err(|_| bad())?;
        total += Duration::try_from_secs_f64(value * seconds).map_err(|_| bad())?;
        left = rest;
    }
    if total.is_zero() { Err(bad()) } else { Ok(total) }
}

fn stats_json(stats: &Stats) -> Value {
    let (cpu, memory) = (&stats.cpu, &stats.memory);
    let detail = |name: &str| memory.detail.get(name).copied().unwrap_or(0);
    let cache = memory.detail.get("cache").copied().unwrap_or_else(|| detail("file"));
    let entries = |value: fn(&BlkioEntry) -> u64| -> Vec<Value> {
        let entry =
            |e: &BlkioEntry| json!({ "major": e.major, "minor": e.minor, "op": e.op, "value": value(e) });
        stats.blkio.iter().map(entry).collect()
    };
    // 0 is how runc shows that there is no limit of processes.
    let most_pids = if stats.pids.limit == u64::MAX { 0 } else { stats.pids.limit };
    json!({
        "cpu": {
            "usage": { "total": cpu.usage, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user },
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_time,
            },
        },
        "cpuset": {},
        "memory": {
            "cache": cache,
            "usage": {
                "limit": memory.limit,
                "usage": memory.usage,
                "max": memory.max_usage,
                "failcnt": memory.failures,
            },
            "swap": { "limit": 0, "failcnt": 0 },
            "kernel": { "limit": 0, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": memory.detail,
        },
        "pids": { "current": stats.pids.current, "limit": most_pids },
        "blkio": {
            "ioServiceBytesRecursive": entries(|e| e.bytes),
            "ioServicedRecursive": entries(|e| e.operations),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("100ms").unwrap(), Duration::from_millis(100));
        for bad in ["", "5", "0s", "s", "-1s", "5 s", "1e9h1", "x"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn statistics_have_runcs_names() {
        let stats = Stats::default();
        let shown = stats_json(&stats);
        assert_eq!(shown["memory"]["usage"]["usage"], 0);
        assert_eq!(shown["cpu"]["usage"]["total"], 0);
        assert_eq!(shown["pids"]["limit"], 0);
    }
}
