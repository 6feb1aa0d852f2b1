//! Older files of a log are compressed by a process of its own, so that the container's output is read meanwhile.
//!
//! The process makes `<path>.N.gz` of `<path>.N` for every file that has none, under another name until it is complete. It is
//! begun when the log has been quiet about rotation for a moment: files that come faster than they could be compressed stay
//! as they are. Invariant: a file and its compressed form are the same; where both exist, either may be read or removed.
use super::file::{compressed, numbered};
use flate2::{Compression as Level, GzBuilder};
use knarr_linux::process::{self, Child, Clone3};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause after a rotation.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is looked whether the process has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Compression {
    path: PathBuf,
    max_file: u32,
    child: Option<Child>,
    next: Option<Instant>,
}

impl Compression {
    /// What an earlier supervisor left is done, too.
    pub fn new(path: &Path, max_file: u32) -> Self {
        let left = (1..max_file).any(|number| numbered(path, number).exists());
        let next = left.then(|| Instant::now() + QUIET);
        Self { path: path.to_owned(), max_file, child: None, next }
    }

    pub fn rotated(&mut self, now: Instant) {
        self.next = Some(now + QUIET);
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Names are about to change: a process that works with them ends.
    pub fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
            let _ = process::wait(child.pidfd.as_fd(), false);
            for number in 1..self.max_file {
                let _ = std::fs::remove_file(unfinished(&numbered(&self.path, number)));
            }
        }
    }

    /// Begins when it is time, and collects the process when it has ended.
    pub fn go_on(&mut self, now: Instant) {
        if self.next.is_none_or(|at| now < at) {
            return;
        }
        if let Some(child) = &self.child {
            // An error: somebody else has collected it.
            let running = matches!(process::wait(child.pidfd.as_fd(), true), Ok(None));
            self.next = running.then(|| now + LOOK_EVERY);
            if !running {
                self.child = None;
            }
            return;
        }
        self.child = Clone3::default().spawn(|| run(&self.path, self.max_file)).ok();
        self.next = self.child.is_some().then(|| now + LOOK_EVERY);
    }
}

impl Drop for Compression {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The process.
fn run(path: &Path, max_file: u32) -> u8 {
    // The container's pipes are none of its business: they would seem open for as long as it lives.
    let _ = knarr_linux::supervise::close_from(0);
    let _ = rustix::process::nice(19);
    let failed = (1..max_file).any(|number| compress(&numbered(path, number)).is_err());
    u8::from(failed)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = compressed(path).into_os_string();
    name.push(".tmp");
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut from = match OpenOptions::new().read(true).custom_flags(nofollow).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let temporary = unfinished(path);
    let result = write(&mut from, &temporary).and_then(|()| std::fs::rename(&temporary, compressed(path)));
    if let Err(error) = result {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    std::fs::remove_file(path)
}

fn write(from: &mut File, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o640).open(to)?;
    // Readers that were in the middle of it know it by that.
    let metadata = from.metadata()?;
    let comment = format!("{}:{}", metadata.dev(), metadata.ino());
    let mut encoder = GzBuilder::new().comment(comment).write(file, Level::fast());
    io::copy(from, &mut encoder)?;
    encoder.finish().map(drop)
}
