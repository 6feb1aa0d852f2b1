//! A container's log: files here, and perhaps a target elsewhere.
//!
//! * [`file`]: files in one of two formats, with rotation; [`local`]: one of them; [`compress`]: older files, in a process beside.
//! * [`remote`]: a bounded queue of messages and the connection to a target; [`journald`], [`syslog`], [`tls`]: what is said there.
//!
//! Invariants: the container never waits for a target that takes nothing; what is lost is counted, and told.
mod compress;
mod file;
mod journald;
mod local;
mod remote;
mod syslog;
mod tls;

use super::poller::Poller;
use crate::error::{Error, Result};
use file::LogFile;
use jiff::Timestamp;
use knarr_shim_proto::line::Message;
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{LogConfig, LogDriver};
use remote::Remote;
use rustix::event::epoll::EventFlags;
use std::time::{Duration, Instant};

/// Shortest time between two reports of lost messages.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Log {
    file: Option<LogFile>,
    remote: Option<Remote>,
    told: u64,
    told_at: Option<Instant>,
}

impl Log {
    /// `None`: nothing is logged.
    pub fn open(config: &LogConfig) -> Result<Option<Self>> {
        let file = match config.driver {
            LogDriver::None => None,
            LogDriver::JsonFile | LogDriver::Local => {
                Some(LogFile::open(config).map_err(|error| Error::Log(Box::new(error)))?)
            }
        };
        let remote = config.remote.as_ref().map(Remote::new).transpose();
        let remote = remote.map_err(|error| Error::Log(Box::new(error)))?;
        let wanted = file.is_some() || remote.is_some();
        Ok(wanted.then_some(Self { file, remote, told: 0, told_at: None }))
    }

    pub fn append(&mut self, stream: Stream, message: Message<'_, Timestamp>) {
        if let Some(file) = &mut self.file {
            file.append(stream, message);
        }
        if let Some(remote) = &mut self.remote {
            remote.append(stream, message);
        }
    }

    /// Writes what is in memory, and sends what the target takes.
    pub fn flush(&mut self, poller: &Poller) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
        if let Some(remote) = &mut self.remote {
            remote.send(poller, Instant::now());
        }
    }

    /// The target's connection is ready.
    pub fn on_ready(&mut self, poller: &Poller, flags: EventFlags) {
        if let Some(remote) = &mut self.remote {
            remote.on_ready(poller, flags);
        }
    }

    pub fn reopen(&mut self) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), LogFile::reopen)
    }

    /// Gives memory back while nothing happens.
    pub fn shrink(&mut self) {
        if let Some(file) = &mut self.file {
            file.shrink();
        }
        if let Some(remote) = &mut self.remote {
            remote.shrink();
        }
    }

    /// Messages that were lost so far.
    pub fn lost(&self) -> u64 {
        let file = self.file.as_ref().map_or(0, |file| file.lost);
        file + self.remote.as_ref().map_or(0, |remote| remote.lost)
    }

    /// What the engine has not heard yet, at most every few seconds.
    pub fn news(&mut self, now: Instant) -> Option<(u64, String)> {
        let lost = self.lost();
        if lost == self.told || self.told_at.is_some_and(|at| now < at + TELL_EVERY) {
            return None;
        }
        (self.told, self.told_at) = (lost, Some(now));
        Some((lost, self.why()))
    }

    fn why(&self) -> String {
        let file = self.file.as_ref().and_then(|file| file.failure.clone());
        let remote = self.remote.as_ref().and_then(|remote| remote.failure.clone());
        file.or(remote).unwrap_or_else(|| "the target is slow".to_owned())
    }

    /// The container's output is not to be read for the moment.
    pub fn holds_up(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::holds_up)
    }

    /// When there is something to be done although nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let remote = self.remote.as_ref().and_then(Remote::next_deadline);
        let file = self.file.as_ref().and_then(LogFile::next_deadline);
        let tell =
            (self.lost() != self.told).then(|| self.told_at.map_or_else(Instant::now, |at| at + TELL_EVERY));
        [remote, file, tell].into_iter().flatten().min()
    }

    /// Nothing waits to be sent, or nobody takes it.
    pub fn is_drained(&self) -> bool {
        self.remote.as_ref().is_none_or(Remote::is_drained)
    }

    /// What waits will not be sent any more.
    pub fn give_up(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.give_up();
        }
    }
}
