//! A connection of the engine: a control connection, or a stream after `Attach`.
//!
//! Invariant: what waits to be sent is bounded. A control connection that does not read is dropped; a stream that does
//! not read holds up the process that writes to it while it runs, and is dropped when it holds up nothing any more.
use super::outbox::Outbox;
use super::poller::{Poller, Target};
use crate::error::Result;
use knarr_linux::fdpass;
use knarr_shim_proto::frame::{self, Assembler};
use knarr_shim_proto::stdcopy::{self, Stream};
use knarr_shim_proto::{FromShim, Streams};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most bytes of replies and events that a control connection may leave unread.
const CONTROL_PENDING_MAX: usize = 8 << 20;
/// Most bytes of output that wait for one client.
const STREAM_PENDING_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Connection {
    id: u32,
    socket: OwnedFd,
    out: Outbox,
    watched: Option<EventFlags>,
    pub role: Role,
}

#[derive(Debug)]
pub enum Role {
    /// With descriptors that came and belong to the next request.
    Control(Assembler, Vec<OwnedFd>),
    Stream(StreamRole),
}

/// Part that a client takes in a process's streams.
#[derive(Debug)]
pub struct StreamRole {
    pub process: u32,
    pub streams: Streams,
    /// Bytes as they are, without headers: the process has a terminal.
    pub raw: bool,
    /// The client may still send input.
    pub input_open: bool,
    /// The process's input has room.
    pub input_room: bool,
    /// Nothing more comes; the connection ends when all is sent.
    pub closing: bool,
}

/// The other side is gone, or is treated as gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

impl Connection {
    pub fn new(id: u32, socket: OwnedFd) -> Self {
        Self {
            id,
            socket,
            out: Outbox::default(),
            watched: None,
            role: Role::Control(Assembler::default(), Vec::new()),
        }
    }

    pub fn stream(&self) -> Option<&StreamRole> {
        match &self.role {
            Role::Stream(stream) => Some(stream),
            Role::Control(..) => None,
        }
    }

    pub fn stream_mut(&mut self) -> Option<&mut StreamRole> {
        match &mut self.role {
            Role::Stream(stream) => Some(stream),
            Role::Control(..) => None,
        }
    }

    pub fn is_control(&self) -> bool {
        matches!(self.role, Role::Control(..))
    }

    pub fn has_pending(&self) -> bool {
        !self.out.is_empty()
    }

    /// Nothing is left to be sent, and nothing more will come.
    pub fn is_finished(&self) -> bool {
        self.out.is_empty() && self.stream().is_some_and(|stream| stream.closing)
    }

    /// Reads what has come; `Some(0)` is end-of-file, `None` nothing now.
    pub fn read(&self, buffer: &mut [u8]) -> std::result::Result<Option<usize>, Gone> {
        loop {
            return match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => Ok(Some(count)),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(_) => Err(Gone),
            };
        }
    }

    /// Reads requests, with the descriptors that come with them.
    pub fn read_requests(&mut self, buffer: &mut [u8]) -> std::result::Result<Option<usize>, Gone> {
        loop {
            return match fdpass::receive_now(&self.socket, buffer) {
                Ok((count, mut passed)) => {
                    if let Role::Control(_, fds) = &mut self.role {
                        fds.append(&mut passed);
                        if fds.len() > fdpass::MAX_FDS {
                            return Err(Gone);
                        }
                    }
                    Ok(Some(count))
                }
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(_) => Err(Gone),
            };
        }
    }

    /// Descriptors that came with the request.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        match &mut self.role {
            Role::Control(_, fds) => std::mem::take(fds),
            Role::Stream(_) => Vec::new(),
        }
    }

    /// Sends a reply with descriptors on its first byte, which has to go at once.
    pub fn send_with(&mut self, message: &FromShim, fds: &[OwnedFd]) -> std::result::Result<(), Gone> {
        if fds.is_empty() {
            return self.send(message);
        }
        let bytes = frame::encode(message).map_err(|_| Gone)?;
        if self.has_pending() {
            return Err(Gone);
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let sent = fdpass::send(&self.socket, &bytes, &fds).map_err(|_| Gone)?;
        self.out.push(&bytes[sent..]);
        self.flush()
    }

    /// Sends a reply or an event; it may wait in memory.
    pub fn send(&mut self, message: &FromShim) -> std::result::Result<(), Gone> {
        let bytes = frame::encode(message).map_err(|_| Gone)?;
        if self.out.len() + bytes.len() > CONTROL_PENDING_MAX {
            return Err(Gone);
        }
        self.out.push(&bytes);
        self.flush()
    }

    /// Sends output of the process, with a header unless the stream is raw; it may wait in memory.
    pub fn send_output(&mut self, stream: Stream, raw: bool, bytes: &[u8]) -> std::result::Result<(), Gone> {
        let header = stdcopy::header(stream, bytes.len() as u32);
        let header = if raw { &header[..0] } else { &header[..] };
        let mut sent = 0;
        if self.out.is_empty() {
            let slices = [IoSlice::new(header), IoSlice::new(bytes)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            sent =
                match rustix::net::sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), flags)
                {
                    Ok(sent) => sent,
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    Err(_) => return Err(Gone),
                };
        }
        if self.out.len() + header.len() + bytes.len() > STREAM_PENDING_MAX {
            return Err(Gone);
        }
        self.out.push(&header[sent.min(header.len())..]);
        self.out.push(&bytes[sent.saturating_sub(header.len())..]);
        Ok(())
    }

    /// Sends what waits, as far as the other side takes it.
    pub fn flush(&mut self) -> std::result::Result<(), Gone> {
        let socket = &self.socket;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        self.out.flush(|bytes| rustix::net::send(socket, bytes, flags)).map_err(|_| Gone)
    }

    /// Watches for what matters in the present state.
    pub fn watch(&mut self, poller: &Poller) -> Result<()> {
        let mut flags = match &self.role {
            Role::Control(..) => EventFlags::IN,
            Role::Stream(stream) if stream.input_open && stream.input_room => EventFlags::IN,
            Role::Stream(_) => EventFlags::empty(),
        };
        if self.has_pending() {
            flags |= EventFlags::OUT;
        }
        let target = Target::Connection(self.id);
        match self.watched {
            Some(before) if before == flags => {}
            Some(_) => poller.modify(&self.socket, target, flags)?,
            None => poller.add(&self.socket, target, flags)?,
        }
        self.watched = Some(flags);
        Ok(())
    }

    /// Stops watching: a hang-up is reported again and again otherwise. [`Connection::watch`] resumes.
    pub fn ignore(&mut self, poller: &Poller) {
        if self.watched.take().is_some() {
            poller.remove(&self.socket);
        }
    }
}
