//! Making processes and watching them by descriptor.
//!
//! Standard: clone3(2), pidfd_open(2), waitid(2). Invariant: a child made here never returns into the caller's code: it
//! executes a program or ends with `_exit`.
use crate::{Errno, Result, syscall};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `CLONE_NEW*` and `CLONE_PARENT` for [`Clone3::flags`].
pub mod flags {
    pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
    pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
    pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
    pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
    pub const NEWTIME: u64 = libc::CLONE_NEWTIME as u64;
    /// The child becomes a sibling.
    pub const PARENT: u64 = libc::CLONE_PARENT as u64;
    pub(super) const PIDFD: u64 = libc::CLONE_PIDFD as u64;
    pub(super) const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// How a child is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone3<'a> {
    pub flags: u64,
    /// Directory of a cgroup v2 that the child starts in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Whether no other thread exists in this process.
pub fn is_single_threaded() -> bool {
    // `/proc/<pid>/task` has a link for each thread beside the two of an empty directory. A container's filter may refuse
    // unshare(2), or kill for it, so that is for where there is no procfs.
    let one = |task: rustix::fs::Stat| task.st_nlink == 2 + 1;
    rustix::fs::stat(c"/proc/self/task").is_ok_and(one) || is_thread_group_empty()
}

fn is_thread_group_empty() -> bool {
    // SAFETY: for a single-threaded caller the flag has no effect; for any other the call is refused.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

impl Clone3<'_> {
    /// Run `child` in a new process with a copy of this one's memory; its result is the exit code. `EBUSY` when this
    /// process has other threads: a lock held by one of them would be held in the child for ever.
    pub fn spawn(self, child: impl FnOnce() -> u8) -> Result<Child> {
        // What calls itself a sibling is such a child already, and may be where procfs is a container's.
        let alone =
            if self.flags & flags::PARENT == 0 { is_single_threaded() } else { is_thread_group_empty() };
        if !alone {
            return Err(Errno::BUSY);
        }
        self.spawn_bare(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(255))
    }

    /// As [`Clone3::spawn`] for a child that makes system calls only: whatever other threads hold, it does not need.
    pub(crate) fn spawn_bare(self, child: impl FnOnce() -> u8) -> Result<Child> {
        let mut pidfd: libc::c_int = -1;
        // SAFETY: all fields of this plain structure may be zero.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = self.flags | flags::PIDFD;
        arguments.pidfd = (&raw mut pidfd) as u64;
        // A sibling's end is signalled as its parent was told by the caller's own creation.
        arguments.exit_signal = if self.flags & flags::PARENT == 0 { libc::SIGCHLD as u64 } else { 0 };
        if let Some(cgroup) = self.cgroup {
            arguments.flags |= flags::INTO_CGROUP;
            arguments.cgroup = cgroup.as_raw_fd() as u64;
        }
        // SAFETY: without CLONE_VM the child has its own copy of all memory, like after fork; this process has no other
        // thread whose locks or half-done writes could be copied (checked by `spawn`), or the child touches none of that
        // (`spawn_bare`). The structure matches its size.
        let result =
            unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
        match syscall::check(result)? {
            0 => exit(child()),
            // SAFETY: the kernel stored a new descriptor, owned by nobody else.
            pid => Ok(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        }
    }
}

/// `_exit`: no destructors, no buffers flushed.
pub fn exit(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(libc::c_int::from(code)) }
}

/// Descriptor of a process, close-on-exec.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

/// Any signal number, real-time ones and 0 (is it alive?) included.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: no pointers but a null one, which is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    syscall::check(result).map(drop)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// As a shell reports it: 128 + n for a signal.
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Reap a child. `None` if it runs and `block` is false.
pub fn wait(pidfd: BorrowedFd<'_>, block: bool) -> Result<Option<Exit>> {
    let options = if block { WaitIdOptions::EXITED } else { WaitIdOptions::EXITED | WaitIdOptions::NOHANG };
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => return Err(Errno::INVAL),
                };
                return Ok(Some(exit));
            }
        }
    }
}

/// Reap any child that has ended, for a subreaper or PID 1. `None` if none has.
pub fn reap_any() -> Result<Option<(i32, Exit)>> {
    let mut status = 0;
    // SAFETY: the status is a valid place for an int.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        -1 => match syscall::last() {
            Errno::CHILD => Ok(None),
            errno => Err(errno),
        },
        pid if libc::WIFSIGNALED(status) => Ok(Some((pid, Exit::Signal(libc::WTERMSIG(status))))),
        pid => Ok(Some((pid, Exit::Code(libc::WEXITSTATUS(status))))),
    }
}

/// Reap children that have ended and that `is_known` does not claim; stops at the first that it claims.
pub fn reap_unknown(is_known: impl Fn(i32) -> bool) -> Result<()> {
    loop {
        // SAFETY: all fields of this plain structure may be zero.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the structure is a valid place for what the kernel stores.
        match syscall::check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, look) }.into()) {
            Ok(_) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        // SAFETY: waitid filled the structure for a child, or left it zero.
        let pid = unsafe { info.si_pid() };
        if pid == 0 || is_known(pid) {
            return Ok(());
        }
        let _ = rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::NOHANG);
    }
}

/// Priority of this process's disk accesses: class and level as ioprio_set(2) takes them.
pub fn set_io_priority(value: i32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: no pointers.
    syscall::check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }).map(drop)
}

/// A copy of a descriptor of another process, which the caller has to be allowed to trace.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, number, rustix::process::PidfdGetfdFlags::empty())
}

/// What sched_setattr(2) takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// Scheduling policy of a process.
pub fn set_scheduling(pid: i32, wanted: &Scheduling) -> Result<()> {
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the structure says its size, lives through the call and is only read.
    syscall::check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0) }).map(drop)
}

/// Processors that this process may run on, by number.
pub fn set_affinity(processors: &[u32]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &processor in processors {
        if processor as usize >= rustix::thread::CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        set.set(processor as usize);
    }
    rustix::thread::sched_setaffinity(None, &set)
}

/// Every processor that the control group of this process has, now and later.
pub fn set_any_affinity() -> Result<()> {
    /// More processors than any kernel is built for; it looks at as many bits as it has.
    const MOST: usize = 8192;
    let mask = [u64::MAX; MOST / 64];
    // SAFETY: the mask is as long as the call is told, and only read; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) };
    syscall::check(result).map(drop)
}

/// Where memory of this process and of its children is taken from: set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> Result<()> {
    /// The kernel knows no more nodes (MAX_NUMNODES).
    const MOST: usize = 1024;
    let mut mask = [0u64; MOST / 64];
    for &node in nodes {
        let word = mask.get_mut(node as usize / 64).ok_or(Errno::INVAL)?;
        *word |= 1 << (node % 64);
    }
    let (pointer, bits) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), MOST as u64 + 1) };
    // SAFETY: the mask has as many bits as the call is told (the kernel counts one more), and is only read.
    syscall::check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_is_seen() {
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().is_err());
        assert!(!is_single_threaded());
        assert!(matches!(Clone3::default().spawn(|| 0), Err(Errno::BUSY)));
        drop(ready);
        assert!(thread.join().unwrap());
    }
}
