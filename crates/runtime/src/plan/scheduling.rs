//! What the kernel's schedulers are told: processors, policy, priority of disk accesses, memory nodes.
//!
//! Standard: sched_setattr(2), sched_setaffinity(2), ioprio_set(2), set_mempolicy(2).
use super::{Step, invalid};
use crate::Result;
use knarr_linux::process::Scheduling;
use knarr_oci::runtime::{IoPriority, MemoryPolicy, Scheduler};

/// More than the kernel has processors or memory nodes.
const MAX_NUMBER: u32 = 1 << 16;

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn find<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T> {
    match table.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(*value),
        None => invalid(format!("{what} {name:?}")),
    }
}

pub(super) fn scheduler(wanted: &Scheduler) -> Result<Scheduling> {
    let policy = find(&POLICIES, &wanted.policy, "scheduler policy")?;
    let is_real_time = matches!(wanted.policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    if !(-20..=19).contains(&wanted.nice) {
        return invalid(format!("scheduler nice value {}", wanted.nice));
    }
    if wanted.priority != 0 && !is_real_time {
        return invalid(format!("scheduler priority with {}", wanted.policy));
    }
    let times = [wanted.runtime, wanted.deadline, wanted.period];
    if times != [0; 3] && wanted.policy != "SCHED_DEADLINE" {
        return invalid(format!("scheduler runtime, deadline or period with {}", wanted.policy));
    }
    let flags = wanted
        .flags
        .iter()
        .try_fold(0, |all, flag| Ok::<u64, crate::Error>(all | find(&FLAGS, flag, "scheduler flag")?))?;
    let Ok(priority) = u32::try_from(wanted.priority) else {
        return invalid(format!("scheduler priority {}", wanted.priority));
    };
    let [runtime, deadline, period] = times;
    Ok(Scheduling { policy, flags, nice: wanted.nice, priority, runtime, deadline, period })
}

pub(super) fn io_priority(wanted: &IoPriority) -> Result<Step> {
    let classes = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = find(&classes, &wanted.class, "I/O priority class")?;
    if wanted.priority > 7 {
        return invalid(format!("I/O priority {}", wanted.priority));
    }
    Ok(Step::IoPriority { value: class << 13 | i32::from(wanted.priority) })
}

pub(super) fn affinity(list: Option<&str>) -> Result<Option<Step>> {
    match list.filter(|list| !list.is_empty()) {
        Some(list) => Ok(Some(Step::Affinity(numbers(list, "CPU list")?))),
        None => Ok(None),
    }
}

const MPOL_DEFAULT: u32 = 0;
const MPOL_PREFERRED: u32 = 1;
const MPOL_LOCAL: u32 = 4;

pub(super) fn memory_policy(wanted: &MemoryPolicy) -> Result<Step> {
    let modes = [
        ("MPOL_DEFAULT", MPOL_DEFAULT),
        ("MPOL_PREFERRED", MPOL_PREFERRED),
        ("MPOL_BIND", 2),
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_LOCAL", MPOL_LOCAL),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    let flags = [
        ("MPOL_F_NUMA_BALANCING", 1 << 13),
        ("MPOL_F_RELATIVE_NODES", 1 << 14),
        ("MPOL_F_STATIC_NODES", 1 << 15),
    ];
    let mode = find(&modes, &wanted.mode, "invalid memory policy mode")?;
    let base = mode;
    let mode = wanted.flags.iter().try_fold(mode, |all, flag| {
        Ok::<u32, crate::Error>(all | find(&flags, flag, "invalid memory policy flag")?)
    })?;
    let nodes = if wanted.nodes.is_empty() {
        Vec::new()
    } else {
        numbers(&wanted.nodes, "invalid memory policy node list")?
    };
    // Otherwise the kernel would only say that something is invalid.
    match (base, nodes.len()) {
        (MPOL_DEFAULT | MPOL_LOCAL, 1..) => {
            invalid(format!("memory policy mode requires 0 nodes but got {}", nodes.len()))?;
        }
        (MPOL_PREFERRED | MPOL_DEFAULT | MPOL_LOCAL, _) | (_, 1..) => {}
        (_, 0) => invalid("memory policy mode requires at least one node but got 0")?,
    }
    Ok(Step::MemoryPolicy { mode, nodes })
}

/// `0-3,7`
fn numbers(list: &str, what: &str) -> Result<Vec<u32>> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number < MAX_NUMBER)
    };
    let mut found = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => found.extend(first..=last),
            _ => return invalid(format!("{what} {list:?}")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(numbers("0-3,7", "x").unwrap(), [0, 1, 2, 3, 7]);
        assert_eq!(numbers(" 5 ", "x").unwrap(), [5]);
        for bad in ["", "-", "1-", "3-1", "a", "+1", "1,,2", "0-99999999"] {
            assert!(numbers(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn schedulers() {
        let text = |json: &str| scheduler(&serde_json::from_str(json).unwrap()).map_err(|e| e.to_string());
        let batch =
            text(r#"{"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}"#).unwrap();
        assert_eq!(batch, Scheduling { policy: 3, flags: 1, nice: 5, ..Scheduling::default() });
        let deadline = r#"{"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}"#;
        assert_eq!(text(deadline).unwrap().period, 3);
        for bad in [
            r#"{"policy": "SCHED_ODD"}"#,
            r#"{"policy": "SCHED_OTHER", "nice": 20}"#,
            r#"{"policy": "SCHED_OTHER", "priority": 1}"#,
            r#"{"policy": "SCHED_RR", "runtime": 1}"#,
            r#"{"policy": "SCHED_FIFO", "priority": -1}"#,
            r#"{"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_ODD"]}"#,
        ] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_policies() {
        let step = |json: &str| memory_policy(&serde_json::from_str(json).unwrap());
        let bind = r#"{"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]}"#;
        assert_eq!(step(bind).unwrap(), Step::MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![0, 1] });
        for bad in [
            r#"{"mode": "MPOL_ODD"}"#,
            r#"{"mode": "MPOL_DEFAULT", "nodes": "0"}"#,
            r#"{"mode": "MPOL_BIND"}"#,
        ] {
            assert!(step(bad).is_err(), "{bad}");
        }
        assert!(step(r#"{"mode": "MPOL_PREFERRED"}"#).is_ok() && step(r#"{"mode": "MPOL_LOCAL"}"#).is_ok());
    }
}
