//! The caller's side of a process in the foreground: its terminal, its signals, its end.
//!
//! Standard: tty_ioctl(4), signalfd(2); runc's `--console-socket` protocol (docs/terminals.md there): one message with the master's
//! descriptor.
use super::file_error;
use crate::{Error, Result};
use knarr_linux::process::{self, Exit};
use knarr_linux::{Errno, fdpass, signal, tty};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Send the master over the socket at `path`, as runc does.
pub(crate) fn hand_over(master: &OwnedFd, path: &Path) -> Result<()> {
    send(master, b"/dev/ptmx", "send the terminal to", path)
}

/// The same for a descriptor of the process (`--pidfd-socket`).
pub(crate) fn hand_over_process(pidfd: &OwnedFd, path: &Path) -> Result<()> {
    send(pidfd, b"pidfd", "send the process's descriptor to", path)
}

fn send(fd: &OwnedFd, name: &[u8], stage: &'static str, path: &Path) -> Result<()> {
    let socket = UnixStream::connect(path).map_err(file_error("connect to", path))?;
    fdpass::send(&socket, name, &[fd.as_fd()])
        .map_err(|errno| file_error(stage, path)(errno.into()))
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
        // What this process itself says there still begins each line in its first column. The container's terminal leaves that to it.
        raw.output_modes |= OutputModes::OPOST;
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

const SIGWINCH: i32 = 28;
/// Not forwarded: what cannot be caught, what a fault of this process raises, what says something about this process.
const OWN: [i32; 12] = [4, 5, 7, 8, 9, 11, 13, 17, 19, 20, 21, 22];

/// Signals that are the process's from now on.
pub(crate) fn take_signals() -> Result<OwnedFd> {
    let all: Vec<i32> = (1..=64).filter(|number| !OWN.contains(number)).collect();
    signal::block(&all).and_then(|()| signal::descriptor(&all)).map_err(|errno| step("take signals", errno))
}

/// Pass signals on to the process, and copy between the caller's terminal and the process's if it has one, until it has ended.
pub(crate) fn attend(pidfd: BorrowedFd<'_>, master: Option<&OwnedFd>, signals: &OwnedFd) -> Result<Exit> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    if let Some(master) = master {
        take_size(stdin, master);
    }
    let _raw = master.and_then(|_| Raw::new(stdin));
    let mut typing = master.is_some();
    loop {
        let mut polled =
            vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        polled.extend(master.map(|master| PollFd::new(master, PollFlags::IN)));
        if typing {
            polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(step("wait for the process", errno)),
        }
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        let is_ready = |index: usize| ready.get(index) == Some(&true);
        // What the process wrote comes before its end.
        if let Some(master) = master
            && is_ready(2)
            && copy(master.as_fd(), stdout)
        {
            continue;
        }
        if is_ready(0) {
            let exit = process::wait(pidfd, true).map_err(|errno| step("wait for the process", errno))?;
            return exit.ok_or_else(|| step("wait for the process", Errno::CHILD));
        }
        if is_ready(1) {
            forward(signals, pidfd, master, stdin);
        }
        if let Some(master) = master
            && is_ready(3)
        {
            typing = copy(stdin, master.as_fd());
        }
    }
}

/// Before the program writes: lines end as it writes them. Only a terminal of the caller's needs more, and does it itself.
pub(crate) fn leave_line_ends(master: &OwnedFd) {
    if let Ok(mut modes) = tcgetattr(master) {
        modes.output_modes &= !OutputModes::ONLCR;
        // With two line ends it works as well.
        let _ = tcsetattr(master, OptionalActions::Now, &modes);
    }
}

/// What a process that has ended left in its terminal.
pub(crate) fn drain(master: &OwnedFd) {
    while copy(master.as_fd(), rustix::stdio::stdout()) {}
}

fn take_size(from: BorrowedFd<'_>, master: &OwnedFd) {
    if let Ok((rows, cols)) = tty::size(from) {
        // Without a size it works as well.
        let _ = tty::resize(master, rows, cols);
    }
}

fn forward(signals: &OwnedFd, pidfd: BorrowedFd<'_>, master: Option<&OwnedFd>, stdin: BorrowedFd<'_>) {
    while let Ok(Some(received)) = signal::read(signals.as_fd()) {
        match (received.signal, master) {
            (SIGWINCH, Some(master)) => take_size(stdin, master),
            // It may have ended meanwhile.
            (number, _) => drop(process::pidfd_send_signal(pidfd, number)),
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
