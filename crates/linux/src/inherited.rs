//! Descriptors that a service manager passed: socket activation.
//!
//! Protocol: <https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>. Invariant: each is taken once.
use rustix::io::{FdFlags, fcntl_setfd};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first passed descriptor.
const FIRST: RawFd = 3;
/// More than any unit file lists.
const MAX: i32 = 64;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The listening sockets that were passed to this very process; empty at the second call.
pub fn listen_fds() -> Vec<OwnedFd> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<i32>().ok());
    let ours = number("LISTEN_PID") == Some(rustix::process::getpid().as_raw_pid());
    if !ours || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MAX);
    (FIRST..FIRST + count)
        .filter(|fd| std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists())
        .map(|fd| {
            // SAFETY: the service manager opened these descriptors for this process before it started; they exist (checked),
            // nothing else in the process knows their numbers, and TAKEN makes this the only taker.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            let _ = fcntl_setfd(&fd, FdFlags::CLOEXEC);
            fd
        })
        .collect()
}
