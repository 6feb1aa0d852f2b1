//! A container's process that is looked into by its number.
//!
//! Numbers are used again (pid_namespaces(7), proc(5)); invariant: what was opened below `/proc/<pid>` is handed out only
//! after a descriptor of the process, opened before, has shown that it still had the number, and its start time that it is
//! the container's and not one that came later.
use crate::error::{Error, Result};
use crate::record::Status;
use knarr_linux::process::{pidfd_open, pidfd_send_signal};
use knarr_shim_proto::exit::start_time_of_stat;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// A process that keeps its number as long as [`Process::is_there`].
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// The init of a container that runs.
    pub fn init(status: &Status) -> Result<Self> {
        Self::open(status.pid, status.pid_start_time)
    }

    /// The process of that number, if it started then; 0 is a time that nobody knows.
    fn open(pid: i32, start_time: u64) -> Result<Self> {
        let gone = || Error::Conflict("the container is not running".to_owned());
        let process = Self { pid, pidfd: pidfd_open(pid).map_err(|_| gone())? };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| gone())?;
        let started = start_time_of_stat(&stat).ok_or_else(gone)?;
        if start_time != 0 && started != start_time || !process.is_there() {
            return Err(gone());
        }
        Ok(process)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// It was not waited for, so nobody else can have its number, nor had since this was opened.
    pub fn is_there(&self) -> bool {
        pidfd_send_signal(self.pidfd.as_fd(), 0).is_ok()
    }

    /// Opens `/proc/<pid>/<name>`, following the last link: a root directory or a namespace.
    pub fn open_below(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let path = format!("/proc/{}/{name}", self.pid);
        let fd = rustix::fs::openat(CWD, path.as_str(), flags | OFlags::CLOEXEC, Mode::empty());
        let gone = || Error::Conflict("the container is not running any more".to_owned());
        match fd {
            _ if !self.is_there() => Err(gone()),
            Ok(fd) => Ok(fd),
            // It ended, and its parent has not heard of it yet.
            Err(Errno::NOENT | Errno::SRCH) => Err(gone()),
            Err(errno) => Err(Error::path("open", &path)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_the_process_that_was_meant_is_opened() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        let time =
            start_time_of_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()).unwrap();
        assert!(time > 0);
        let process = Process::open(pid, time).unwrap();
        process.open_below("root", OFlags::PATH | OFlags::DIRECTORY).unwrap();
        process.open_below("ns/net", OFlags::RDONLY).unwrap();
        // The same number, another process.
        assert!(Process::open(pid, time + 1).is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_there());
        assert!(process.open_below("root", OFlags::PATH).is_err());
        assert!(Process::open(pid, time).is_err());
    }
}
