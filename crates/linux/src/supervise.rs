//! What a parent of other processes needs: fork, how ended children are collected, signals by number, waiting for signals.
//!
//! Standard: fork(2), sigaction(2), pidfd_send_signal(2), sigwaitinfo(2), close_range(2), malloc_trim(3).
//! Invariant: everything here is for single-threaded processes.
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Which side of [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    Parent { child: i32 },
    Child,
}

/// Copies this process. Refused when it has more than one thread: a lock held by a thread that does not exist in the
/// copy would never be released.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.take(2).count();
    if threads != 1 {
        return Err(Errno::BUSY.into());
    }
    // SAFETY: there is one thread only, so the child may go on as an ordinary process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent { child }),
    }
}

/// What becomes of children that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// They wait to be waited for.
    Wait,
    /// The kernel forgets them at once.
    Forget,
}

/// Sets what becomes of children that end; inherited by fork.
pub fn set_children(children: Children) -> io::Result<()> {
    let action = match children {
        Children::Wait => libc::SIG_DFL,
        Children::Forget => libc::SIG_IGN,
    };
    // SAFETY: both are dispositions without a handler function.
    if unsafe { libc::signal(libc::SIGCHLD, action) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends any signal number, real-time ones included, to the process of a pidfd.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is valid during the call; the information pointer may be null.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends any signal number to a process that this process knows to exist (its own child, not yet waited for).
pub fn send_signal_to_child(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory of this process.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from `first` on. Only at the start of a process, before anything owns one of them.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: by the contract nothing in this process owns a descriptor in the range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives memory that is free in the allocator back to the kernel.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Blocks every signal that can be, so that [`next_signal`] gets them.
pub fn block_signals() -> io::Result<()> {
    set_mask(true)
}

/// Blocks no signal.
pub fn unblock_signals() -> io::Result<()> {
    set_mask(false)
}

fn set_mask(full: bool) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid value to initialise, and both calls get a pointer to it.
    let result = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if full {
            libc::sigfillset(&mut set)
        } else {
            libc::sigemptyset(&mut set)
        };
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for the next blocked signal and says its number.
pub fn next_signal() -> io::Result<i32> {
    loop {
        // SAFETY: the set is initialised by sigfillset; the information pointer may be null.
        let signal = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut set);
            libc::sigwaitinfo(&set, std::ptr::null_mut())
        };
        if signal >= 0 {
            return Ok(signal);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
