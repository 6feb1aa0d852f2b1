//! What the event loop waits for, and how a readiness event finds its object.
//!
//! Invariant: numbers of connections and processes are never used twice, so an event that was fetched before its object
//! went away finds nothing, and does nothing.
use crate::error::{Error, Result};
use knarr_shim_proto::stdcopy::Stream;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events fetched at a time.
const BATCH: usize = 32;

/// The object of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Listener,
    Oom,
    Connection(u32),
    Output(u32, Stream),
    Input(u32),
    /// The pidfd of a process.
    Process(u32),
    /// The connection to where the log goes.
    Log,
}

impl Target {
    fn encode(self) -> EventData {
        let (kind, id) = match self {
            Self::Listener => (0, 0),
            Self::Oom => (1, 0),
            Self::Connection(id) => (2, id),
            Self::Output(id, Stream::Stdout) => (3, id),
            Self::Output(id, Stream::Stderr) => (4, id),
            Self::Input(id) => (5, id),
            Self::Process(id) => (6, id),
            Self::Log => (7, 0),
        };
        EventData::new_u64(kind << 32 | u64::from(id))
    }

    fn decode(data: EventData) -> Self {
        let (kind, id) = (data.u64() >> 32, data.u64() as u32);
        match kind {
            0 => Self::Listener,
            1 => Self::Oom,
            2 => Self::Connection(id),
            3 => Self::Output(id, Stream::Stdout),
            4 => Self::Output(id, Stream::Stderr),
            5 => Self::Input(id),
            6 => Self::Process(id),
            _ => Self::Log,
        }
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub fn new() -> Result<Self> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::system("create epoll instance"))?;
        Ok(Self { epoll })
    }

    pub fn add(&self, fd: impl AsFd, target: Target, flags: EventFlags) -> Result<()> {
        epoll::add(&self.epoll, fd, target.encode(), flags).map_err(Error::system("watch descriptor"))
    }

    pub fn modify(&self, fd: impl AsFd, target: Target, flags: EventFlags) -> Result<()> {
        epoll::modify(&self.epoll, fd, target.encode(), flags).map_err(Error::system("watch descriptor"))
    }

    /// Stops watching; not being watched is not an error.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits, at most for `timeout`, and fills `events`.
    pub fn wait(&self, events: &mut Vec<(Target, EventFlags)>, timeout: Option<Duration>) -> Result<()> {
        let timeout = timeout.map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut raw = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; BATCH];
        let count = match epoll::wait(&self.epoll, &mut raw, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(Error::system("wait for events")(errno)),
        };
        events.clear();
        events.extend(raw[..count].iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            (Target::decode(data), flags)
        }));
        Ok(())
    }
}
