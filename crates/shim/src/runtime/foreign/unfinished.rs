//! Ending a runtime's program that took too long, and what it made: a command that `exec` had begun must not run untracked.
//!
//! Standard: proc_pid_stat(5), PR_SET_CHILD_SUBREAPER (prctl(2)). Invariants: a process is stopped before its children are
//! looked for, so that none is made unseen; a process is known by number and start time, and signalled by its pidfd.
use knarr_linux::process::{self, Child};
use rustix::process::{Pid, Signal};
use std::os::fd::{AsFd, OwnedFd};

/// How often new children of processes that were not stopped yet are looked for.
const MAX_ROUNDS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    /// In clock ticks since boot.
    start: u64,
}

/// Ends the program, its process group and its descendants, and collects the program. `owns_orphans`: so are orphans that came
/// to this process since it began.
pub fn end(program: &Child, owns_orphans: bool) {
    let begin = entry(program.pid).map(|entry| entry.start);
    end_trees(&[program.pid]);
    // Until it is collected its number, which is the group's, is nobody else's.
    let _ = process::pidfd_send_signal(program.pidfd.as_fd(), Signal::KILL.as_raw());
    if let Some(group) = Pid::from_raw(program.pid) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let _ = process::wait(program.pidfd.as_fd(), true);
    if let Some(begin) = begin.filter(|_| owns_orphans) {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let orphans = entries().into_iter().filter(|entry| entry.parent == own && entry.start > begin);
        end_trees(&orphans.map(|entry| entry.pid).collect::<Vec<_>>());
    }
}

fn end_trees(roots: &[i32]) {
    let mut stopped: Vec<(i32, OwnedFd)> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let mut tree = descendants(&entries(), roots);
        tree.retain(|entry| stopped.iter().all(|(pid, _)| *pid != entry.pid));
        if tree.is_empty() {
            break;
        }
        for entry in tree {
            if let Some(pidfd) = open(entry) {
                let _ = process::pidfd_send_signal(pidfd.as_fd(), Signal::STOP.as_raw());
                stopped.push((entry.pid, pidfd));
            }
        }
    }
    for (_, pidfd) in stopped {
        let _ = process::pidfd_send_signal(pidfd.as_fd(), Signal::KILL.as_raw());
    }
}

/// The roots that are there, and all below them. Pure.
fn descendants(all: &[Entry], roots: &[i32]) -> Vec<Entry> {
    let mut found: Vec<Entry> = all.iter().copied().filter(|entry| roots.contains(&entry.pid)).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|entry| entry.pid) {
        let below: Vec<Entry> = all
            .iter()
            .copied()
            .filter(|entry| entry.parent == parent && found.iter().all(|known| known.pid != entry.pid))
            .collect();
        found.extend(below);
        next += 1;
    }
    found
}

fn open(wanted: Entry) -> Option<OwnedFd> {
    let pidfd = process::pidfd_open(wanted.pid).ok()?;
    // Only now: the descriptor keeps the number's meaning.
    (entry(wanted.pid)?.start == wanted.start).then_some(pidfd)
}

/// All processes that have not ended.
fn entries() -> Vec<Entry> {
    let Ok(directory) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = directory.flatten().filter_map(|found| found.file_name().to_str()?.parse().ok());
    pids.filter_map(entry).collect()
}

fn entry(pid: i32) -> Option<Entry> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let start = knarr_shim_proto::exit::start_time_of_stat(stat)?;
    // The name in parentheses may hold anything.
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn lines_and_trees() {
        let stat = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        assert_eq!(parse(7, stat), Some(Entry { pid: 7, parent: 3, start: 4711 }));
        assert_eq!(parse(7, &stat.replace("S 3", "Z 3")), None);
        let of = |pid, parent| Entry { pid, parent, start: 1 };
        let all = [of(9, 5), of(2, 1), of(5, 2), of(3, 1), of(6, 2)];
        let pids: Vec<i32> = descendants(&all, &[2, 77]).iter().map(|entry| entry.pid).collect();
        assert_eq!(pids, [2, 5, 6, 9]);
    }

    /// One in a session of its own below the program, one that nobody below the program is the parent of any more.
    #[test]
    fn what_left_the_group_or_the_tree_ends_too() {
        knarr_linux::prctl::set_child_subreaper(true).unwrap();
        let name = format!("7{:06}", std::process::id());
        let script =
            format!("sleep 0.2; setsid sleep {name} & (sleep 0.2; setsid sleep {name} &); sleep {name}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let program = Child { pid, pidfd: process::pidfd_open(pid).unwrap() };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let sleepers = || {
            let line = format!("sleep\0{name}\0");
            let is = |e: &Entry| {
                std::fs::read_to_string(format!("/proc/{}/cmdline", e.pid)).is_ok_and(|l| l == line)
            };
            entries().into_iter().filter(is).collect::<Vec<_>>()
        };
        let until = |what: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !what() {
                assert!(Instant::now() < end, "{:?}", sleepers());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        until(&|| sleepers().len() == 3);
        assert!(sleepers().iter().any(|entry| entry.parent == own), "an orphan came");
        end(&program, true);
        assert!(child.wait().is_err(), "it was collected");
        until(&|| sleepers().is_empty());
    }
}
