//! What a parent of other processes needs beside [`crate::process`]: fork, waiting for signals, memory given back.
//!
//! Standard: fork(2), sigwaitinfo(2), close_range(2), malloc_trim(3). Invariant: everything here is for single-threaded
//! processes.
use crate::{Errno, Result, process, syscall};
use std::os::fd::RawFd;

/// Which side of [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    Parent { child: i32 },
    Child,
}

/// Copies this process; both go on. `EBUSY` when it has other threads: a lock held by one of them would be held in the
/// copy for ever.
pub fn fork() -> Result<Fork> {
    if !process::is_single_threaded() {
        return Err(Errno::BUSY);
    }
    // SAFETY: there is one thread only, so the child may go on as an ordinary process.
    let result = unsafe { libc::fork() };
    match syscall::check(result.into())? {
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent { child: child as i32 }),
    }
}

/// Closes every descriptor from `first` on. Only at the start of a process, before anything owns one of them.
pub fn close_from(first: RawFd) -> Result<()> {
    // SAFETY: by the contract nothing in this process owns a descriptor in the range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    syscall::check(result).map(drop)
}

/// Gives memory that is free in the allocator back to the kernel.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Blocks every signal that can be, so that [`next_signal`] gets them. [`crate::signal::reset`] takes it back.
pub fn block_signals() -> Result<()> {
    let all = all_signals();
    // SAFETY: the set lives through the call; no old set is asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) };
    syscall::check(result.into()).map(drop)
}

/// Waits for the next blocked signal and says its number.
pub fn next_signal() -> Result<i32> {
    let all = all_signals();
    loop {
        // SAFETY: the set lives through the call; the information pointer may be null.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        match syscall::check(signal.into()) {
            Ok(_) => return Ok(signal),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: a signal set is a plain bit array; sigfillset makes it valid.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}
