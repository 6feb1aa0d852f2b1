//! Keeps the firewall in place: other programs may flush the whole ruleset (`nft flush ruleset`, as at the head of
//! Debian's `/etc/nftables.conf`), which would cut containers off and close published ports.
//!
//! A thread waits for the kernel's notifications, and puts the table back when somebody else changed it. It ends with
//! `Networks`.
use super::state::State;
use super::{Networks, Table, lock};
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::firewall::ruleset;
use knarr_netlink::nft::{Changes, Watch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A program that replaces the ruleset is let to finish.
const SETTLE: Duration = Duration::from_millis(50);

struct Guard {
    watch: Watch,
    table: Arc<Mutex<Table>>,
    state: Arc<Mutex<State>>,
    config: NetworkConfig,
}

impl Networks {
    /// Starts the guard, once.
    pub(super) fn guard(&self) -> Result<()> {
        let mut alive = lock(&self.alive);
        let Some(table) = self.firewall.as_ref().filter(|_| alive.is_none()) else { return Ok(()) };
        let guard = Guard {
            watch: Watch::open()?,
            table: Arc::clone(table),
            state: Arc::clone(&self.state),
            config: self.config.clone(),
        };
        let (end, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::io("create a pipe")(e.into()))?;
        let thread = thread::Builder::new().name("firewall-guard".into());
        thread.spawn(move || guard.run(&end)).map_err(Error::io("start a thread"))?;
        *alive = Some(ours);
        Ok(())
    }
}

impl Guard {
    fn run(mut self, end: &OwnedFd) {
        loop {
            let mut events = [PollFd::new(&self.watch, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            match poll(&mut events, None) {
                Err(Errno::INTR) => continue,
                Err(error) => return tracing::error!(%error, "the firewall is not guarded any more"),
                Ok(_) if !events[1].revents().is_empty() => return,
                Ok(_) => {}
            }
            match self.watch.changes() {
                Ok(changes) if self.is_foreign(&changes) => {
                    thread::sleep(SETTLE);
                    self.put_back(changes == Changes::Lost);
                }
                Ok(_) => {}
                Err(error) => return tracing::error!(%error, "the firewall is not guarded any more"),
            }
        }
    }

    /// Whether somebody else changed our table.
    fn is_foreign(&self, changes: &Changes) -> bool {
        let table = lock(&self.table);
        match changes {
            // While nothing is in place there is nothing to lose.
            _ if !table.in_place => false,
            Changes::Lost => true,
            Changes::Some(list) => {
                let (name, port) = table.firewall.identity();
                list.iter().any(|c| c.table == name && c.port != port)
            }
        }
    }

    /// Unless we took it away ourselves meanwhile. `unseen`: nobody knows whether anything was changed.
    fn put_back(&self, unseen: bool) {
        let mut table = lock(&self.table);
        if !table.in_place {
            return;
        }
        match unseen {
            true => tracing::info!(
                "too many changes of firewalls at once: that of containers is put in place anew"
            ),
            false => tracing::warn!("another program changed the firewall of containers: it is put back"),
        }
        let facts = lock(&self.state).facts(&self.config);
        if let Err(error) = table.firewall.replace(&ruleset(&facts)) {
            tracing::error!(%error, "could not put the firewall back");
        }
    }
}
