//! The records that a supervisor leaves in the container's run directory.
//!
//! Invariant: `exit.json` is complete before any control connection hears of the exit, so an engine that was away, or that
//! dies while it is told, finds the same facts there. It is synced when no engine listens; one that listens makes the exit
//! durable itself before it removes the record.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub pid: i32,
    /// The exit code as Docker reports it: the process's own, or 128 + signal.
    pub code: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel killed a process of the container because of its memory limit.
    #[serde(default)]
    pub oom_killed: bool,
    /// RFC 3339 with up to nine fractional digits, in UTC.
    pub exited_at: Timestamp,
    /// Why the container never ran, when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Log messages that were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_lost: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Which processes belong to a container; written when they exist, so that an engine can tell a dead supervisor (the
/// process is gone, or its number now belongs to one with another start time) from a busy one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimRecord {
    pub shim_pid: i32,
    /// Field 22 of `/proc/<pid>/stat`.
    pub shim_start_time: u64,
    pub pid: i32,
    pub pid_start_time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// When a process was started, in clock ticks since boot, from the text of its `/proc/<pid>/stat`. `None` for text that is
/// none, and for a zombie: it runs no more.
pub fn start_time_of_stat(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything, so fields are counted from its end.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(22 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::start_time_of_stat;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(start_time_of_stat(&format!("17 (a) b ) c) S {rest}")), Some(4242));
        assert_eq!(start_time_of_stat(&format!("17 (a) Z {rest}")), None);
        assert_eq!(start_time_of_stat(""), None);
    }
}
