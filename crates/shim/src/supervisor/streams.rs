//! The standard streams of a process: pipes, terminal or `/dev/null`; the child's ends go to the runtime, ours stay.
//!
//! Invariant: our ends never block and are close-on-exec; the child's ends do block, as programs expect.
use super::outbox::Outbox;
use crate::error::{Error, Result};
use jiff::Timestamp;
use knarr_runtime::Stdio;
use knarr_shim_proto::Streams;
use knarr_shim_proto::line::Splitter;
use knarr_shim_proto::stdcopy::Stream;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room of a pipe that is always full; memory is taken for what is in it only.
const PIPE_SIZE: usize = 256 * 1024;

/// Our end of a stream that the process writes.
#[derive(Debug)]
pub struct Output {
    pub fd: OwnedFd,
    pub stream: Stream,
    pub splitter: Splitter<Timestamp>,
    /// Not watched, because an attached client is slow.
    pub paused: bool,
    /// The pipe has got more room.
    roomy: bool,
}

/// Our end of the stream that the process reads.
#[derive(Debug)]
pub struct Input {
    pub fd: OwnedFd,
    pub pending: Outbox,
    /// End-of-file comes after what is pending.
    pub ending: bool,
    pub watched: bool,
}

/// Our ends of all streams.
#[derive(Debug, Default)]
pub struct Ends {
    pub outputs: Vec<Output>,
    pub input: Option<Input>,
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream) -> Self {
        Self { fd, stream, splitter: Splitter::default(), paused: false, roomy: false }
    }
}

impl Output {
    /// Whoever fills a pipe as fast as it is read gets a longer one: both sides wait less for each other.
    pub fn make_roomy(&mut self) {
        if !self.roomy {
            self.roomy = true;
            let _ = rustix::pipe::fcntl_setpipe_size(&self.fd, PIPE_SIZE);
        }
    }
}

impl Input {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, pending: Outbox::default(), ending: false, watched: false }
    }
}

/// Makes the streams of a process that has no terminal. Those that are not in `wanted` are `/dev/null`.
pub fn pipes(wanted: Streams) -> Result<(Stdio, Ends)> {
    let mut ends = Ends::default();
    let stdin = if wanted.stdin {
        let (theirs, ours) = pipe()?;
        set_nonblocking(ours.as_fd())?;
        ends.input = Some(Input::new(ours));
        Some(theirs)
    } else {
        None
    };
    let mut output = |wanted: bool, stream| -> Result<OwnedFd> {
        if !wanted {
            return null();
        }
        let (ours, theirs) = pipe()?;
        set_nonblocking(ours.as_fd())?;
        ends.outputs.push(Output::new(ours, stream));
        Ok(theirs)
    };
    let stdout = output(wanted.stdout, Stream::Stdout)?;
    let stderr = output(wanted.stderr, Stream::Stderr)?;
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ends))
}

/// Our ends of a process's terminal.
pub fn terminal(master: BorrowedFd<'_>, stdin: bool) -> Result<Ends> {
    set_nonblocking(master)?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(master, 3).map_err(Error::system("copy terminal"));
    let input = if stdin { Some(Input::new(copy()?)) } else { None };
    Ok(Ends { outputs: vec![Output::new(copy()?, Stream::Stdout)], input })
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make pipe"))
}

fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open /dev/null"))
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fcntl_getfl(fd)
        .and_then(|flags| rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK))
        .map_err(Error::system("set non-blocking"))
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    /// Nothing now.
    Empty,
    End,
}

/// Reads once. A terminal whose other side is closed says EIO: that is its end-of-file.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Read {
    loop {
        return match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN) => Read::Empty,
            Err(Errno::INTR) => continue,
            Err(_) => Read::End,
        };
    }
}
