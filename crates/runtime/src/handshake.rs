//! What parent and init say to each other, over a pair of SEQPACKET sockets.
//!
//! ```text
//!   parent                                      init
//!     | clone3 -------------------------------->  |
//!     |  <-- Born(pid) [+ pidfd] ---------------- |  only if a second process goes on
//!     |                                           |  groups, namespaces
//!     |  <-- Hooks ------------------------------ |  only if there are hooks
//!     |  prestart, createRuntime hooks            |
//!     |  --- Proceed ---------------------------> |
//!     |                                           |  tree, devices
//!     |  <-- Console [+ pty master] ------------- |  only with a terminal
//!     |                                           |  new root, identity, filter
//!     |  <-- Listener(number) ------------------- |  only with a filter that notifies; fetched, handed over
//!     |  <-- Ready ------------------------------ |
//!   create returns                                |  waits
//!     |  --- Start -----------------------------> |
//!     |                                           |  execve closes the socket
//!     |  <-- end of file ------------------------ |
//!   start returns
//! ```
//! At any point init may say `Failed(step, errno, detail)` and end. An end of file before `Ready` means that it was killed.
use knarr_linux::{Errno, Result, fdpass};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// From init to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromInit {
    /// The process that goes on, with its descriptor, from the one before it.
    Born {
        pid: i32,
    },
    Hooks,
    Console,
    /// A descriptor of init on which filtered calls arrive.
    Listener {
        number: i32,
    },
    Ready,
    Failed {
        step: u32,
        errno: i32,
        detail: u32,
    },
}

/// From the parent to init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToInit {
    Proceed,
    Start,
}

/// Every message has this size: kind, then three numbers.
const SIZE: usize = 16;

fn pack(kind: u32, a: u32, b: u32, c: u32) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    for (chunk, value) in bytes.chunks_exact_mut(4).zip([kind, a, b, c]) {
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn unpack(bytes: &[u8; SIZE]) -> [u32; 4] {
    let word = |n: usize| u32::from_ne_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
    [word(0), word(4), word(8), word(12)]
}

/// Both ends: parent's, init's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

impl FromInit {
    pub(crate) fn send(self, socket: BorrowedFd<'_>, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        match fd {
            // A system call that every filter allows.
            None => rustix::io::retry_on_intr(|| rustix::io::write(socket, &self.bytes())).map(drop),
            fd => fdpass::send(socket, &self.bytes(), fd.as_slice()).map(drop),
        }
    }

    fn bytes(self) -> [u8; SIZE] {
        match self {
            Self::Born { pid } => pack(5, pid as u32, 0, 0),
            Self::Hooks => pack(1, 0, 0, 0),
            Self::Console => pack(2, 0, 0, 0),
            Self::Ready => pack(3, 0, 0, 0),
            Self::Failed { step, errno, detail } => pack(4, step, errno as u32, detail),
            Self::Listener { number } => pack(6, number as u32, 0, 0),
        }
    }

    /// `None` at the end of file, `TIMEDOUT` when nothing comes in time.
    pub(crate) fn receive(
        socket: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> Result<Option<(Self, Option<OwnedFd>)>> {
        if let Some(timeout) = timeout {
            await_message(socket, Instant::now() + timeout)?;
        }
        let mut bytes = [0; SIZE];
        let (length, mut fds) = match fdpass::receive(socket, &mut bytes) {
            Err(Errno::CONNRESET) => return Ok(None),
            got => got?,
        };
        if length == 0 {
            return Ok(None);
        }
        let message = match unpack(&bytes) {
            _ if length != SIZE => return Err(Errno::BADMSG),
            [5, pid, ..] => Self::Born { pid: pid as i32 },
            [6, number, ..] => Self::Listener { number: number as i32 },
            [1, ..] => Self::Hooks,
            [2, ..] => Self::Console,
            [3, ..] => Self::Ready,
            [4, step, errno, detail] => Self::Failed { step, errno: errno as i32, detail },
            _ => return Err(Errno::BADMSG),
        };
        Ok(Some((message, fds.pop())))
    }
}

fn await_message(socket: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match rustix::event::poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl ToInit {
    pub(crate) fn send(self, socket: BorrowedFd<'_>) -> Result<()> {
        let bytes = match self {
            Self::Proceed => pack(1, 0, 0, 0),
            Self::Start => pack(2, 0, 0, 0),
        };
        fdpass::send(socket.as_fd(), &bytes, &[]).map(drop)
    }

    /// `None` when the parent is gone.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Self>> {
        let mut bytes = [0; SIZE];
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut bytes)) {
            Err(Errno::CONNRESET) => return Ok(None),
            got => got?,
        };
        match unpack(&bytes) {
            _ if length == 0 => Ok(None),
            _ if length != SIZE => Err(Errno::BADMSG),
            [1, ..] => Ok(Some(Self::Proceed)),
            [2, ..] => Ok(Some(Self::Start)),
            _ => Err(Errno::BADMSG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_socket() {
        let (parent, init) = pair().unwrap();
        let failed = FromInit::Failed { step: 7, errno: 13, detail: 2 };
        for message in [FromInit::Hooks, FromInit::Ready, failed] {
            message.send(init.as_fd(), None).unwrap();
            assert_eq!(FromInit::receive(parent.as_fd(), None).unwrap().unwrap().0, message);
        }
        let soon = Some(Duration::from_millis(5));
        assert_eq!(FromInit::receive(parent.as_fd(), soon).unwrap_err(), Errno::TIMEDOUT);
        FromInit::Born { pid: 5 }.send(init.as_fd(), Some(init.as_fd())).unwrap();
        assert_eq!(FromInit::receive(parent.as_fd(), soon).unwrap().unwrap().0, FromInit::Born { pid: 5 });
        FromInit::Console.send(init.as_fd(), Some(init.as_fd())).unwrap();
        assert!(FromInit::receive(parent.as_fd(), None).unwrap().unwrap().1.is_some());
        ToInit::Proceed.send(parent.as_fd()).unwrap();
        assert_eq!(ToInit::receive(init.as_fd()).unwrap(), Some(ToInit::Proceed));
        drop(parent);
        assert_eq!(ToInit::receive(init.as_fd()).unwrap(), None);
    }
}
