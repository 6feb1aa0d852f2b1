//! Installing a system call filter.
//!
//! Standard: seccomp(2). The program is made elsewhere; see [`crate::bpf::Instruction`].
use crate::bpf::Instruction;
use crate::{Errno, Result, syscall};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `SECCOMP_FILTER_FLAG_*`.
pub mod flags {
    pub const TSYNC: u64 = 1;
    pub const LOG: u64 = 2;
    pub const SPEC_ALLOW: u64 = 4;
    pub const NEW_LISTENER: u64 = 8;
    pub const WAIT_KILLABLE_RECV: u64 = 32;
}

/// Longest program that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Filter all further system calls of this thread and of what it executes. Needs no-new-privs or CAP_SYS_ADMIN. Gives what the
/// kernel does: with `NEW_LISTENER` the number of a new descriptor, on which the calls with that verdict arrive.
pub fn install(program: &[Instruction], flags: u64) -> Result<i32> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: Instruction has the layout of sock_filter, `len` is the number of elements, and the kernel only reads them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    syscall::check(result).map(|number| number as i32)
}

/// `struct seccomp_notif` as words: its first is the call's id.
pub type Notification = [u64; 10];

/// Wait for the next call that a filter notifies of. The buffer has to be zero.
pub fn notification(listener: BorrowedFd<'_>, call: &mut Notification) -> Result<()> {
    const SECCOMP_IOCTL_NOTIF_RECV: u64 = 0xc050_2100;
    // SAFETY: the request writes one `struct seccomp_notif`, which has the size of the buffer.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV as _, call.as_mut_ptr()) };
    syscall::check(result.into()).map(drop)
}

/// Let a call that was notified of fail.
pub fn fail(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<()> {
    const SECCOMP_IOCTL_NOTIF_SEND: u64 = 0xc018_2101;
    // `struct seccomp_notif_resp`: id, value, error and flags.
    let response = [id, 0, u64::from((-errno).cast_unsigned())];
    // SAFETY: the request reads one such structure, which has the size of the array.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_SEND as _, response.as_ptr()) };
    syscall::check(result.into()).map(drop)
}
