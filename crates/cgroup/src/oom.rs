//! Kills for lack of memory.
//!
//! A scope that the last process has left is removed by systemd at once, and its counter with it. Then two things tell: the
//! group's events changed after they were read last, and the slice above has counted a kill since then.
use crate::group::Cgroup;
use crate::{Hierarchies, Result, files};
use rustix::event::EventfdFlags;
use rustix::fs::{CWD, Mode, OFlags, inotify};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

impl Cgroup {
    /// How many processes the kernel has killed in this group because it reached its memory limit.
    pub fn oom_kills(&self) -> Result<u64> {
        Ok(self.oom_count()?.unwrap_or(0))
    }

    /// `None` without memory controller, or without the group.
    fn oom_count(&self) -> Result<Option<u64>> {
        let Some(directory) = self.directory("memory") else { return Ok(None) };
        let file = match &self.hierarchies {
            Hierarchies::V1(_) => "memory.oom_control",
            Hierarchies::V2(_) => "memory.events",
        };
        Ok(files::read_optional(&directory.join(file))?.map(|text| count(&text)))
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
                Ok(Some(OomWatch { fd: event, above: None }))
            }
            Hierarchies::V2(_) => {
                let file = directory.join("memory.events");
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let fd = inotify::init(flags).map_err(files::fail("inotify for", &file))?;
                inotify::add_watch(&fd, &file, inotify::WatchFlags::MODIFY)
                    .map_err(files::fail("watch", &file))?;
                let above = self.unit.as_ref().and_then(|_| Above::new(directory.parent()?));
                Ok(Some(OomWatch { fd, above }))
            }
        }
    }
}

fn count(events: &str) -> u64 {
    files::pairs(events).find(|(key, _)| *key == "oom_kill").map_or(0, |(_, count)| count)
}

/// What the group above has counted, its own groups included.
#[derive(Debug)]
struct Above {
    file: PathBuf,
    seen: Cell<u64>,
}

impl Above {
    fn new(directory: &Path) -> Option<Self> {
        let above = Self { file: directory.join("memory.events"), seen: Cell::new(0) };
        let text = files::read_optional(&above.file).ok()??;
        above.seen.set(count(&text));
        Some(above)
    }

    /// Since the last look.
    fn has_grown(&self) -> bool {
        let Ok(Some(text)) = files::read_optional(&self.file) else { return false };
        let now = count(&text);
        self.seen.replace(now) < now
    }
}

/// Readable when there may be news.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    above: Option<Above>,
}

impl OomWatch {
    /// Take the news off the descriptor; then ask [`Cgroup::oom_kills`].
    pub fn clear(&self) {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n == buffer.len()) {}
    }

    /// Take the news off the descriptor, and give how many kills there were in the watched group, of which `known` are known.
    pub fn kills(&self, group: &Cgroup, known: u64) -> u64 {
        let Some(above) = &self.above else {
            self.clear();
            return group.oom_kills().unwrap_or(known).max(known);
        };
        let changed = self.has_changed();
        let grown = above.has_grown();
        match group.oom_count() {
            Ok(Some(count)) => count.max(known),
            _ if changed && grown => known + 1,
            _ => known,
        }
    }

    /// Whether the group's events have changed; that the file is gone is no change.
    fn has_changed(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed = false;
        while let Ok(event) = reader.next() {
            changed |= event.events().contains(inotify::ReadFlags::MODIFY);
        }
        changed
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
