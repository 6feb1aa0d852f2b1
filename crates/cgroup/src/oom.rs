//! Kills for lack of memory.
use crate::group::Cgroup;
use crate::{Hierarchies, Result, files};
use rustix::event::EventfdFlags;
use rustix::fs::{CWD, Mode, OFlags, inotify};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

impl Cgroup {
    /// How many processes the kernel has killed in this group because it reached its memory limit.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(directory) = self.directory("memory") else { return Ok(0) };
        let file = match &self.hierarchies {
            Hierarchies::V1(_) => "memory.oom_control",
            Hierarchies::V2(_) => "memory.events",
        };
        let text = files::read_optional(&directory.join(file))?.unwrap_or_default();
        Ok(files::pairs(&text).find(|(key, _)| *key == "oom_kill").map_or(0, |(_, count)| count))
    }

    /// A descriptor that becomes readable when [`Cgroup::oom_kills`] may have grown. `None` without memory controller.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let Some(directory) = self.directory("memory") else { return Ok(None) };
        match &self.hierarchies {
            Hierarchies::V1(_) => {
                let control = directory.join("memory.oom_control");
                let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                let event = rustix::event::eventfd(0, flags).map_err(files::fail("eventfd for", &control))?;
                let open = rustix::fs::openat(CWD, &control, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                let open = open.map_err(files::fail("open", &control))?;
                let registration = format!("{} {}", event.as_raw_fd(), open.as_raw_fd());
                files::write(&directory.join("cgroup.event_control"), &registration)?;
                Ok(Some(OomWatch { fd: event }))
            }
            Hierarchies::V2(_) => {
                let file = directory.join("memory.events");
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let fd = inotify::init(flags).map_err(files::fail("inotify for", &file))?;
                inotify::add_watch(&fd, &file, inotify::WatchFlags::MODIFY)
                    .map_err(files::fail("watch", &file))?;
                Ok(Some(OomWatch { fd }))
            }
        }
    }
}

/// Readable when there may be news.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// Take the news off the descriptor; then ask [`Cgroup::oom_kills`].
    pub fn clear(&self) {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n == buffer.len()) {}
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
