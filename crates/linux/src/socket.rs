//! Sockets: what the other side has yet to read.
//!
//! Standard: unix(7), tcp(7), `SIOCOUTQ`.
use crate::{Result, syscall};
use std::os::fd::{AsRawFd, BorrowedFd};

/// How much of what was written to a unix socket the other side has not read yet, with what the kernel needs to hold it.
pub fn unread(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut amount: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int to where the pointer says.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) };
    syscall::check(result.into())?;
    // While a unix socket's reader is still giving the last piece back, and has told us so already, the kernel holds one byte of it.
    Ok(usize::try_from(amount - 1).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_read_is_not_unread() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
        ours.write_all(b"head").unwrap();
        assert!(unread(ours.as_fd()).unwrap() > 0);
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
    }
}
