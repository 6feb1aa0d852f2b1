//! Signal masks, dispositions and signal descriptors.
//!
//! Standard: sigprocmask(2), signalfd(2), signal(7).
use crate::{Result, syscall};
use std::os::fd::{FromRawFd, OwnedFd};

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a signal set is a plain bit array; sigemptyset makes it valid, sigaddset refuses bad numbers.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Block these signals for this thread, in addition to those blocked already.
pub fn block(signals: &[i32]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: the set lives through the call; no old set is asked for.
    syscall::check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) }.into())
        .map(drop)
}

/// A descriptor that delivers these signals (block them first). Non-blocking, close-on-exec.
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: the set lives through the call; the result is a new descriptor.
    unsafe {
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        syscall::check(fd.into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// What a signal descriptor delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub signal: i32,
    /// Sender, or the child for SIGCHLD.
    pub pid: i32,
}

/// Next signal; `None` if none is pending.
pub fn read(descriptor: std::os::fd::BorrowedFd<'_>) -> Result<Option<Received>> {
    let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut buffer) {
        Ok(n) if n == buffer.len() => {
            // SAFETY: the kernel filled the whole structure, which has no invalid bit patterns; the read is unaligned.
            let info: libc::signalfd_siginfo = unsafe { std::ptr::read_unaligned(buffer.as_ptr().cast()) };
            Ok(Some(Received { signal: info.ssi_signo as i32, pid: info.ssi_pid as i32 }))
        }
        Ok(_) => Ok(None),
        Err(crate::Errno::AGAIN | crate::Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// As a new program expects it: nothing blocked, every disposition the default.
pub fn reset() -> Result<()> {
    for signal in 1..=64 {
        // SAFETY: setting the default disposition runs no code of ours; numbers that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = set_of(&[]);
    // SAFETY: the set lives through the call.
    syscall::check(
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }.into(),
    )
    .map(drop)
}

/// Ignore a signal in this process.
pub fn ignore(signal: i32) -> Result<()> {
    // SAFETY: SIG_IGN runs no code of ours.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        Err(syscall::last())
    } else {
        Ok(())
    }
}

/// Send a signal to a process by number: only where no descriptor of it can be had. Negative: a process group.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    syscall::check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}
