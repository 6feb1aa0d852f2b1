//! Descriptors as a whole.
//!
//! Standard: close_range(2), dup3(2).
use crate::{Result, syscall};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Descriptors `first..first + count` are kept at execve. `EBADF` if one of them is not open.
pub fn keep_at_exec(first: u32, count: u32) -> Result<()> {
    for number in first..first.saturating_add(count) {
        // SAFETY: a flag of a descriptor changes; nothing is closed and no pointer is passed.
        let result = unsafe { libc::fcntl(number as libc::c_int, libc::F_SETFD, 0) };
        syscall::check(result.into())?;
    }
    Ok(())
}

/// Whether all of `first..first + count` are open.
pub fn are_open(first: u32, count: u32) -> bool {
    (first..first.saturating_add(count)).all(|number| {
        // SAFETY: asks for a flag; no pointer is passed.
        unsafe { libc::fcntl(number as libc::c_int, libc::F_GETFD) != -1 }
    })
}

/// How many descriptors from `first` on, without a gap, this process got from who executed it. What a process opens itself is closed
/// at execve, so that it is never counted.
pub fn inherited_from(first: u32) -> u32 {
    // SAFETY: asks for a flag; no pointer is passed.
    let flags = |number: u32| unsafe { libc::fcntl(number as libc::c_int, libc::F_GETFD) };
    let count = (first..i32::MAX as u32).take_while(|&number| flags(number) == 0).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Make standard stream `number` (0, 1 or 2) the same as `fd`, kept across execve. Whatever it was is closed.
pub fn set_standard(number: i32, fd: BorrowedFd<'_>) -> Result<()> {
    debug_assert!((0..=2).contains(&number));
    if fd.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: the target is a standard stream, which no owned descriptor of ours refers to.
    syscall::check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// Close everything from `first` on but `keep`. Only at the start of a child made by [`crate::process::Clone3::spawn`], which
/// never drops what its parent owns.
pub fn close_all_except<'a>(first: u32, keep: impl Iterator<Item = BorrowedFd<'a>>) -> Result<()> {
    let mut kept: Vec<u32> = keep.map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = first;
    for number in kept {
        if number > first {
            close_between(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_between(first, u32::MAX)
}

/// Close everything but three descriptors. Only in a child of [`crate::process::Clone3::spawn_bare`]: system calls, and no memory.
pub(crate) fn close_all_but(mut keep: [u32; 3]) -> Result<()> {
    keep.sort_unstable();
    let mut first = 0;
    for number in keep {
        if number > first {
            close_between(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_between(first, u32::MAX)
}

fn close_between(first: u32, last: u32) -> Result<()> {
    // SAFETY: by contract no value in this process will use or close the descriptors in the range.
    syscall::check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}
