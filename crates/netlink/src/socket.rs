//! A netlink socket: sends whole batches, reads answers and acknowledgements
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html)).
//!
//! A socket belongs to the network namespace in which it was opened, whichever thread uses it.
use crate::attribute::{attributes, text};
use crate::request::{HEADER_LEN, Request, flag};
use crate::{Error, Result};
use netlink_sys::Socket as Inner;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const TYPE_NOOP: u16 = 1;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Set in an answer when a dump was disturbed by a change.
const DUMP_INTERRUPTED: u16 = 0x10;
/// The acknowledgement does not repeat the request.
const CAPPED: u16 = 0x100;
const HAS_TLVS: u16 = 0x200;
const EXT_ACK_MESSAGE: u16 = 1;
const EXT_ACK_MISSING_TYPE: u16 = 5;
/// The kernel never sends more than this in one datagram of a dump.
const RECEIVE_BYTES: usize = 32 << 10;
const MAX_DUMP_ATTEMPTS: u32 = 10;
/// A batch of nftables may be this big.
const SEND_BUFFER_BYTES: usize = 8 << 20;

pub(crate) struct Socket {
    inner: Inner,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The part of a message's header that matters in answers.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// In notifications: the socket that the change came through.
    pub port: u32,
}

/// One message of an answer: its type and what follows the header.
pub(crate) struct Answer {
    pub kind: u16,
    pub payload: Vec<u8>,
}

impl Socket {
    pub fn open(protocol: isize) -> Result<Self> {
        let failed = |source| Error::Socket { operation: "open netlink socket".into(), source };
        let mut inner = Inner::new(protocol).map_err(failed)?;
        let port = inner.bind_auto().map_err(failed)?.port_number();
        inner.set_ext_ack(true).map_err(failed)?;
        inner.set_cap_ack(true).map_err(failed)?;
        Ok(Self { inner, port, sequence: 1, buffer: vec![0; RECEIVE_BYTES] })
    }

    pub fn into_fd(self) -> Result<OwnedFd> {
        let failed = |source| Error::Socket { operation: "keep netlink socket".into(), source };
        self.inner.as_fd().try_clone_to_owned().map_err(failed)
    }

    /// Makes room for a batch of `bytes`.
    pub fn reserve_send(&self, bytes: usize) {
        if bytes > 128 << 10 {
            let wanted = bytes.saturating_mul(2).min(SEND_BUFFER_BYTES);
            // Without the privilege the plain limit stands, and the kernel says EMSGSIZE.
            if sockopt::set_socket_send_buffer_size_force(&self.inner, wanted).is_err() {
                let _ = sockopt::set_socket_send_buffer_size(&self.inner, wanted);
            }
        }
    }

    /// Number of this socket in notifications.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Room for as many `bytes` of notifications, if it may be had.
    pub fn reserve_receive(&self, bytes: usize) {
        if sockopt::set_socket_recv_buffer_size_force(&self.inner, bytes).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&self.inner, bytes);
        }
    }

    /// Receives notifications of a multicast group.
    pub fn subscribe(&self, group: u32) -> Result<()> {
        let failed = |source| Error::Socket { operation: "subscribe to notifications".into(), source };
        self.inner.add_membership(group).map_err(failed)
    }

    /// Numbers the requests one after the other; gives the first number.
    pub fn number(&mut self, requests: &mut [Request]) -> u32 {
        let first = self.sequence;
        for request in requests {
            request.set_sequence(self.sequence);
            self.sequence = self.sequence.wrapping_add(1).max(1);
        }
        first
    }

    pub fn send(&self, operation: &str, bytes: &[u8]) -> Result<()> {
        loop {
            match send(&self.inner, bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::Socket { operation: operation.into(), source: e.into() }),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Reads one datagram and gives its messages to `each`.
    pub fn receive(&mut self, operation: &str, mut each: impl FnMut(Header, &[u8])) -> Result<()> {
        let len = loop {
            match recv(&self.inner, &mut self.buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::Socket { operation: operation.into(), source: e.into() }),
                Ok((_, len)) => break len,
            }
        };
        let malformed = |reason| Error::Malformed { operation: operation.into(), reason };
        let mut rest = self.buffer.get(..len).ok_or_else(|| malformed("truncated"))?;
        while let Some((head, _)) = rest.split_first_chunk::<HEADER_LEN>() {
            let len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let payload = rest.get(HEADER_LEN..len).ok_or_else(|| malformed("wrong message length"))?;
            let header = Header {
                kind: u16::from_ne_bytes([head[4], head[5]]),
                flags: u16::from_ne_bytes([head[6], head[7]]),
                sequence: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
                port: u32::from_ne_bytes([head[12], head[13], head[14], head[15]]),
            };
            each(header, payload);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends the requests in one datagram and waits for all acknowledgements. Later requests are tried even when an
    /// earlier one fails; the first failure is the result. Data in answers goes to `answers`.
    pub fn transact(&mut self, mut requests: Vec<Request>, answers: &mut Vec<Answer>) -> Result<()> {
        let Some(last) = requests.len().checked_sub(1) else { return Ok(()) };
        let first = self.number(&mut requests);
        let bytes: Vec<u8> = requests.iter().flat_map(|r| r.bytes.iter().copied()).collect();
        self.send(requests[0].operation(), &bytes)?;
        let mut outcome = Ok(());
        let mut acknowledged = vec![false; requests.len()];
        while !acknowledged[last] {
            self.receive(requests[0].operation(), |header, payload| {
                let Header { kind, flags, sequence, .. } = header;
                let index = sequence.wrapping_sub(first) as usize;
                let Some(request) = requests.get(index) else { return };
                match kind {
                    TYPE_ERROR => {
                        acknowledged[index] = true;
                        let result = acknowledgement(request.operation(), flags, payload);
                        if outcome.is_ok() {
                            outcome = result;
                        }
                    }
                    TYPE_NOOP | TYPE_DONE => {}
                    _ => answers.push(Answer { kind, payload: payload.to_vec() }),
                }
            })?;
        }
        outcome
    }

    /// All objects that the request selects. A dump that a change disturbed is begun anew.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Answer>> {
        for _ in 0..MAX_DUMP_ATTEMPTS {
            if let Some(answers) = self.dump_once(request.clone())? {
                return Ok(answers);
            }
        }
        let source = io::Error::from(Errno::INTR);
        Err(Error::Socket { operation: request.operation().into(), source })
    }

    fn dump_once(&mut self, request: Request) -> Result<Option<Vec<Answer>>> {
        let mut requests = [request];
        let wanted = self.number(&mut requests);
        let [request] = requests;
        self.send(request.operation(), &request.bytes)?;
        let (mut answers, mut done, mut disturbed) = (Vec::new(), None, false);
        while done.is_none() {
            self.receive(request.operation(), |header, payload| {
                let Header { kind, flags, sequence, .. } = header;
                if sequence != wanted {
                    return;
                }
                disturbed |= flags & DUMP_INTERRUPTED != 0;
                match kind {
                    TYPE_ERROR | TYPE_DONE => {
                        done = Some(acknowledgement(request.operation(), flags, payload))
                    }
                    TYPE_NOOP => {}
                    _ => answers.push(Answer { kind, payload: payload.to_vec() }),
                }
            })?;
        }
        match done {
            Some(Err(e)) if e.is(Errno::INTR) => Ok(None),
            Some(Err(e)) => Err(e),
            _ if disturbed => Ok(None),
            _ => Ok(Some(answers)),
        }
    }
}

/// Decodes `nlmsgerr` with its extended attributes.
pub(crate) fn acknowledgement(operation: &str, flags: u16, payload: &[u8]) -> Result<()> {
    let code = payload.first_chunk().map_or(0, |c| i32::from_ne_bytes(*c));
    if code == 0 {
        return Ok(());
    }
    let mut message = None;
    if flags & HAS_TLVS != 0 {
        let repeated =
            payload.get(4..8).and_then(|l| l.first_chunk()).map_or(0, |l| u32::from_ne_bytes(*l) as usize);
        let body = if flags & CAPPED != 0 { HEADER_LEN } else { repeated.next_multiple_of(4) };
        for (kind, value) in attributes(payload.get(4 + body..).unwrap_or_default()) {
            match kind {
                EXT_ACK_MESSAGE => message = Some(text(value)),
                EXT_ACK_MISSING_TYPE if message.is_none() => message = Some("an attribute is missing".into()),
                _ => {}
            }
        }
    }
    Err(Error::Refused { operation: operation.into(), errno: code.saturating_neg(), message })
}

/// Flags of a request that changes something.
pub(crate) const CHANGE: u16 = flag::ACK;

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}
