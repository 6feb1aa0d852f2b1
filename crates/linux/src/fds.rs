//! Descriptors as a whole.
//!
//! Standard: close_range(2), dup3(2).
use crate::{Result, syscall};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Mark all descriptors from `first` on as closed at execve. Nothing is closed now, so owned descriptors stay valid.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: no descriptor is closed and no pointer is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    syscall::check(result).map(drop)
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
