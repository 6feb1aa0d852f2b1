//! The socket through which a runtime hands over the master of a container's terminal.
//!
//! Standard: <https://github.com/opencontainers/runc/blob/main/docs/terminals.md>. The runtime connects and sends before its
//! call ends, so what it sent waits here afterwards.
use super::command::short_path;
use crate::error::{Error, Result};
use knarr_linux::{fdpass, tty};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

const NAME: &str = "console.sock";
/// Longest wait for what should be there already.
const LIMIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

#[derive(Debug)]
pub struct ConsoleSocket {
    listener: OwnedFd,
    dir: OwnedFd,
    path: String,
    size: (u16, u16),
}

impl ConsoleSocket {
    pub fn listen(dir: &Path, rows: u16, cols: u16) -> Result<Self> {
        let (dir, path) = short_path(dir)?;
        let path = format!("{path}/{NAME}");
        let _ = rustix::fs::unlinkat(&dir, NAME, rustix::fs::AtFlags::empty());
        let listen = || {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
            rustix::net::listen(&socket, 1)?;
            Ok(socket)
        };
        let listener = listen().map_err(Error::system("listen for the terminal"))?;
        Ok(Self { listener, dir, path, size: (rows, cols) })
    }

    /// As the runtime's command line has it.
    pub fn arguments(&self) -> [OsString; 2] {
        ["--console-socket".into(), self.path.clone().into()]
    }

    /// The terminal's master.
    pub fn receive(self) -> Result<OwnedFd> {
        let failed = Error::system("receive the terminal");
        let received = readable(&self.listener).and_then(|()| {
            let connection = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
            readable(&connection)?;
            let (_, mut fds) = fdpass::receive(&connection, &mut [0; 4096])?;
            fds.pop().ok_or(Errno::BADMSG)
        });
        let _ = rustix::fs::unlinkat(&self.dir, NAME, rustix::fs::AtFlags::empty());
        let master = received.map_err(failed)?;
        if self.size != (0, 0) {
            let _ = tty::resize(&master, self.size.0, self.size.1);
        }
        Ok(master)
    }
}

fn readable(fd: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&LIMIT)))? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}
