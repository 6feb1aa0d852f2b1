//! Keeps the firewall in place: other programs may flush the whole ruleset (`nft flush ruleset`, as at the head of
//! Debian's `/etc/nftables.conf`), which would cut containers off and close published ports.
//!
//! A thread waits for the kernel's notifications, and puts the table back when somebody else changed it. It ends with
//! `Networks`.
use super::{Networks, lock};
use crate::error::{Error, Result};
use crate::firewall::{FAMILY, ruleset};
use knarr_netlink::nft::{Changes, Watch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// A program that replaces the ruleset is let to finish.
const SETTLE: Duration = Duration::from_millis(50);

impl Networks {
    /// Starts the guard. Call it once, after `restore`.
    pub fn guard(self: &Arc<Self>) -> Result<()> {
        if self.firewall.is_none() {
            return Ok(());
        }
        let watch = Watch::open()?;
        let (end, alive) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::io("create a pipe")(e.into()))?;
        *lock(&self.alive) = Some(alive);
        let networks = Arc::downgrade(self);
        let thread = thread::Builder::new().name("firewall-guard".into());
        thread.spawn(move || guard(watch, &end, &networks)).map_err(Error::io("start a thread"))?;
        Ok(())
    }
}

fn guard(mut watch: Watch, end: &OwnedFd, networks: &Weak<Networks>) {
    loop {
        let mut events = [PollFd::new(&watch, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut events, None) {
            Err(Errno::INTR) => continue,
            Err(error) => return tracing::error!(%error, "the firewall is not guarded any more"),
            Ok(_) if !events[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        let changes = match watch.changes() {
            Ok(changes) => changes,
            Err(error) => return tracing::error!(%error, "the firewall is not guarded any more"),
        };
        let Some(networks) = networks.upgrade() else { return };
        if networks.is_foreign(&changes) {
            thread::sleep(SETTLE);
            tracing::warn!("another program changed the firewall of containers: it is put back");
            if let Err(error) = networks.put_table_back() {
                tracing::error!(%error, "could not put the firewall back");
            }
        }
    }
}

impl Networks {
    /// Unless we took it away ourselves meanwhile.
    fn put_table_back(&self) -> Result<()> {
        let Some(table) = &self.firewall else { return Ok(()) };
        let mut table = lock(table);
        if table.in_place {
            let facts = self.facts();
            table.firewall.replace(&ruleset(&facts))?;
        }
        Ok(())
    }

    /// Whether somebody else changed our table.
    fn is_foreign(&self, changes: &Changes) -> bool {
        let Some(table) = &self.firewall else { return false };
        let table = lock(table);
        match changes {
            // While nothing is in place there is nothing to lose.
            _ if !table.in_place => false,
            Changes::Lost => true,
            Changes::Some(list) => {
                let (name, port) = table.firewall.identity();
                list.iter().any(|c| c.family == FAMILY && c.table == name && c.port != port)
            }
        }
    }
}
