//! Terminals: handing the master to who asked for it, or copying between it and the caller's own terminal.
use super::file_error;
use crate::{Error, Result};
use knarr_linux::process::{self, Exit};
use knarr_linux::{Errno, fdpass, tty};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Send the master over the socket at `path`, as runc does.
pub(crate) fn hand_over(master: &OwnedFd, path: &Path) -> Result<()> {
    let socket = UnixStream::connect(path).map_err(file_error("connect to", path))?;
    fdpass::send(&socket, b"/dev/ptmx", &[master.as_fd()])
        .map_err(|errno| file_error("send the terminal to", path)(errno.into()))
        .map(drop)
}

/// Puts the terminal back as it was.
struct Raw<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn new(fd: BorrowedFd<'a>) -> Option<Self> {
        let before = tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(fd, OptionalActions::Now, &raw).ok()?;
        Some(Self { fd, before })
    }
}
impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(self.fd, OptionalActions::Now, &self.before);
    }
}

/// Copy between the caller's terminal and the master until the process has ended.
pub(crate) fn relay(master: &OwnedFd, pidfd: BorrowedFd<'_>) -> Result<Exit> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    if let Ok((rows, cols)) = tty::size(stdin) {
        // Without a size it works as well.
        let _ = tty::resize(master, rows, cols);
    }
    let _raw = Raw::new(stdin);
    let mut open = true;
    loop {
        let mut polled =
            vec![PollFd::new(master, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        if open {
            polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(step("wait for the terminal", errno)),
        }
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        if ready.first() == Some(&true) && copy(master.as_fd(), stdout) {
            continue;
        }
        if ready.get(1) == Some(&true) {
            let exit = process::wait(pidfd, true).map_err(|errno| step("wait for the process", errno))?;
            return exit.ok_or_else(|| step("wait for the process", Errno::CHILD));
        }
        if ready.get(2) == Some(&true) {
            open = copy(stdin, master.as_fd());
        }
    }
}

fn step(stage: &str, errno: Errno) -> Error {
    Error::Step { stage: stage.to_owned(), path: None, errno: errno.raw_os_error() }
}

/// Whether there was something to copy and it could be written.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 4096];
    let Ok(length @ 1..) = rustix::io::read(from, &mut buffer) else { return false };
    let mut left = &buffer[..length];
    while !left.is_empty() {
        match rustix::io::write(to, left) {
            Ok(n) => left = &left[n..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}
