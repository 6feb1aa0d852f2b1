//! Waiting for more, and being told that nothing more comes.
//!
//! Standard: inotify(7). Invariant: a wait ends on every change in the log's directory, when [`Control`] is used, and after
//! [`POLL_AT_MOST`] in any case, so a lost notification costs a moment only.
use crate::error::{Error, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Longest time between two looks at the files.
const POLL_AT_MOST: Duration = Duration::from_secs(1);
/// The same where the kernel has no inotify instance left.
const POLL_WITHOUT_INOTIFY: Duration = Duration::from_millis(100);

const GOING_ON: u8 = 0;
const FINISHED: u8 = 1;
const STOPPED: u8 = 2;

/// Ends a reader from another thread. Copies are the same.
#[derive(Debug, Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: AtomicU8,
    wake: OwnedFd,
}

impl Control {
    pub fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, flags).map_err(Error::follow("make event descriptor"))?;
        Ok(Self { inner: Arc::new(Inner { state: AtomicU8::new(GOING_ON), wake }) })
    }

    /// The writer has ended: what is in the files is given out, then the reader ends.
    pub fn finish(&self) {
        self.set(FINISHED);
    }

    /// Nobody wants more: the reader ends at once.
    pub fn stop(&self) {
        self.set(STOPPED);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.inner.state.load(Ordering::Acquire) != GOING_ON
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.inner.state.load(Ordering::Acquire) == STOPPED
    }

    fn set(&self, state: u8) {
        self.inner.state.fetch_max(state, Ordering::AcqRel);
        let _ = rustix::io::write(&self.inner.wake, &1u64.to_ne_bytes());
    }
}

/// Watches the directory of a log.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<OwnedFd>,
}

impl Watch {
    /// Without an instance or a watch to be had it polls.
    pub fn new(path: &Path) -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let inotify = inotify::init(flags)
            .ok()
            .filter(|fd| path.parent().is_some_and(|dir| inotify::add_watch(fd, dir, changes).is_ok()));
        Self { inotify }
    }

    /// Waits for a change or for the control.
    pub fn wait(&self, control: &Control) -> Result<()> {
        let limit = if self.inotify.is_some() { POLL_AT_MOST } else { POLL_WITHOUT_INOTIFY };
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut fds = vec![PollFd::new(&control.inner.wake, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::follow("wait for log")(errno)),
        }
        if let Some(inotify) = &self.inotify {
            let mut events = [0; 4096];
            while rustix::io::read(inotify.as_fd(), &mut events).is_ok_and(|count| count > 0) {}
        }
        Ok(())
    }
}
