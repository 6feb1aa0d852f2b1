//! Pseudo-terminals, made in the devpts instance of the container.
//!
//! Standard: pty(7), ioctl_tty(2). Invariant: the terminal's slave is opened by its master (TIOCGPTPEER), never by a path
//! (CVE-2025-52565).
use crate::{Result, syscall};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Slave of a master that was opened from `/dev/pts/ptmx`; neither becomes the controlling terminal.
pub fn slave(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::pty::unlockpt(master)?;
    rustix::pty::ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

pub fn resize(terminal: impl AsFd, rows: u16, cols: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

pub fn size(terminal: impl AsFd) -> Result<(u16, u16)> {
    rustix::termios::tcgetwinsize(terminal).map(|size| (size.ws_row, size.ws_col))
}

/// Make a terminal the controlling one of this session, whose leader the caller is.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the argument is a number.
    syscall::check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}
