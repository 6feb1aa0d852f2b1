//! A signal to every process of a group and of those below it.
//!
//! Invariant: a signal goes to a descriptor of a process that was in the group after the descriptor was opened, so that a
//! number that is used again never stands for a stranger.
use crate::group::Cgroup;
use crate::{Error, Hierarchies, Result, files};
use knarr_linux::{Errno, process};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_micros(500);
/// Descriptors of processes that are open at a time.
const MAX_OPEN: usize = 128;

impl Cgroup {
    /// Kill everything, also what is forked meanwhile. Returns when no process is left.
    pub fn kill_all(&self) -> Result<()> {
        self.kill_by_kernel()?;
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let pids = self.all_pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            self.send(&pids, SIGKILL)?;
            // A frozen process of v1 dies when it is thawed.
            if self.is_frozen().unwrap_or(false) {
                self.thaw()?;
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy { path: self.path().to_owned() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Send a signal once to all processes of the group.
    pub fn signal_all(&self, number: i32) -> Result<()> {
        if number == SIGKILL && self.kill_by_kernel()? {
            return Ok(());
        }
        let mut sent = BTreeSet::new();
        // A fork between reading and sending shows up in the second reading.
        for _ in 0..2 {
            let new: Vec<i32> = self.all_pids()?.into_iter().filter(|pid| sent.insert(*pid)).collect();
            self.send(&new, number)?;
        }
        Ok(())
    }

    /// `cgroup.kill` (Linux 5.14) misses nothing that is forked meanwhile. Says whether it is there.
    fn kill_by_kernel(&self) -> Result<bool> {
        let (Hierarchies::V2(_), Some(directory)) = (&self.hierarchies, self.directory("")) else {
            return Ok(false);
        };
        match files::write(&directory.join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gone already is as good.
    fn send(&self, pids: &[i32], number: i32) -> Result<()> {
        for some in pids.chunks(MAX_OPEN) {
            // 0 is a process that this PID namespace does not see.
            let open = |&pid: &i32| Some((pid, process::pidfd_open(pid).ok().filter(|_| pid > 0)?));
            let opened: Vec<_> = some.iter().filter_map(open).collect();
            let still: BTreeSet<i32> = self.all_pids()?.into_iter().collect();
            for (_, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
                let _ = process::pidfd_send_signal(process.as_fd(), number);
            }
        }
        Ok(())
    }
}
