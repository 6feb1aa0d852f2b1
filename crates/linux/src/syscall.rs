//! System calls that neither rustix nor libc's wrappers offer, in their raw form.
use crate::{Errno, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel's convention through libc's `syscall`: -1 and errno.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 { Err(last()) } else { Ok(result) }
}

pub(crate) fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// fchmodat2(2), Linux 6.6.
pub(crate) fn fchmodat2(dir: BorrowedFd<'_>, name: &CStr, mode: u32, flags: libc::c_int) -> Result<()> {
    // SAFETY: the name is a C string that outlives the call; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_fchmodat2, dir.as_raw_fd(), name.as_ptr(), mode, flags) })
        .map(drop)
}
