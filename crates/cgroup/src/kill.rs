//! A signal to every process of a group and of those below it.
use crate::group::Cgroup;
use crate::{Error, Hierarchies, Result, files};
use knarr_linux::{Errno, signal};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_micros(500);

impl Cgroup {
    /// Kill everything, also what is forked meanwhile. Returns when no process is left.
    pub fn kill_all(&self) -> Result<()> {
        if let Hierarchies::V2(_) = self.hierarchies
            && let Some(directory) = self.directory("")
        {
            // Linux 5.14.
            match files::write(&directory.join("cgroup.kill"), "1") {
                Ok(()) | Err(Error::File { errno: Errno::NOENT | Errno::OPNOTSUPP, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let pids = self.all_pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            send(&pids, SIGKILL);
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
        let mut sent = BTreeSet::new();
        // A fork between reading and sending shows up in the second reading.
        for _ in 0..2 {
            let new: Vec<i32> = self.all_pids()?.into_iter().filter(|pid| sent.insert(*pid)).collect();
            send(&new, number);
        }
        Ok(())
    }
}

fn send(pids: &[i32], number: i32) {
    for &pid in pids {
        // Gone already is as good; 0 is a process that this PID namespace does not see.
        if pid > 0 {
            let _ = signal::kill(pid, number);
        }
    }
}
