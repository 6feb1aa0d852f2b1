//! When a process was started: with its number, the identity of a process.
//!
//! Standard: field 22 of `/proc/<pid>/stat`, proc_pid_stat(5).

/// In clock ticks since boot; `None` when there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    knarr_shim_proto::exit::start_time_of_stat(&stat)
}
