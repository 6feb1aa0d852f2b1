//! Joining and leaving namespaces.
//!
//! Standard: setns(2), unshare(2), namespaces(7).
use crate::{Result, syscall};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Join the namespace that a descriptor of `/proc/<pid>/ns/*` names, or with a pidfd all kinds in `flags` at once. `flags` 0
/// takes whatever kind the descriptor is. A PID namespace holds for children only.
pub fn join(fd: BorrowedFd<'_>, flags: u64) -> Result<()> {
    // SAFETY: no pointers.
    let result = unsafe { libc::setns(fd.as_raw_fd(), flags as libc::c_int) };
    syscall::check(result.into()).map(drop)
}

/// New namespaces of the given kinds (`process::flags::NEW*`) for this thread.
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: no pointers. Only CLONE_NEW* kinds are meaningful here; none of them invalidates memory or descriptors.
    let result = unsafe { libc::unshare((flags & NEW_MASK) as libc::c_int) };
    syscall::check(result.into()).map(drop)
}

/// All `CLONE_NEW*` bits.
const NEW_MASK: u64 = {
    use crate::process::flags::{NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, NEWUTS};
    NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWTIME
};

/// The network namespace that a socket belongs to (netdevice(7), `SIOCGSKNS`).
pub fn of_socket(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    /// `linux/sockios.h`
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    // SAFETY: this request takes no argument, and gives a new descriptor or -1.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) };
    let fd = syscall::check(result.into())?;
    // SAFETY: the kernel has just made it for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as std::os::fd::RawFd) })
}
