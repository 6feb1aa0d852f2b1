//! A bounded queue of messages, and the connection that takes them to a target.
//!
//! Messages wait as they are and are put into the target's words when they are sent. In mode `blocking` the container's
//! output is not read while the queue is full and the target takes something at least every [`PATIENCE`]; in mode
//! `non-blocking`, and when the target is dead or takes nothing, what does not fit is lost and counted. A connection that
//! breaks is made again, at longer and longer intervals. Invariant: no system call here waits.
use super::syslog::Syslog;
use super::{journald::Journald, tls::Tls};
use crate::error::Result;
use crate::supervisor::poller::{Poller, Target};
use jiff::Timestamp;
use knarr_shim_proto::line::Message;
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{LogTarget, RemoteLog};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a target that takes nothing holds up the container in mode `blocking`.
const PATIENCE: Duration = Duration::from_secs(1);
/// Waiting bytes from which on the container's output is not read in mode `blocking`.
const HOLD_AT: usize = 256 * 1024;
/// Most memory of the queue: what is read at once fits even when every byte is a message.
const QUEUE_MAX: usize = 4 << 20;
/// Most bytes that wait in mode `blocking` while there is no target, or one that takes nothing.
const WITHOUT_TARGET_MAX: usize = 512 * 1024;
/// Bytes that are put into a stream at once.
const BATCH: usize = 32 * 1024;
/// Messages or batches sent before somebody else has a turn.
const TURN: usize = 512;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a connection may take to come into being.
const CONNECT_AT_MOST: Duration = Duration::from_secs(10);

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a> {
    pub bytes: &'a [u8],
    pub stream: Stream,
    pub ends: bool,
    pub time: Timestamp,
}

/// Where a connection leads.
#[derive(Debug, Clone)]
pub enum Address {
    Unix(PathBuf, SocketType),
    Internet(SocketAddr, SocketType),
}

#[derive(Debug)]
enum Link {
    Down,
    Connecting(OwnedFd, Instant),
    Up(OwnedFd),
}

/// The target's words.
#[derive(Debug)]
enum Words {
    Journald(Journald),
    Syslog(Syslog),
}

#[derive(Debug)]
pub struct Remote {
    words: Words,
    addresses: Vec<Address>,
    /// Which address is tried next.
    turn: usize,
    tls: Option<Tls>,
    link: Link,
    retry_at: Option<Instant>,
    pause: Duration,
    non_blocking: bool,
    limit: usize,
    queue: Queue,
    /// Encoded, partly sent.
    out: Vec<u8>,
    sent: usize,
    /// Messages in `out`.
    in_out: u64,
    /// The target has taken nothing since.
    stuck_since: Option<Instant>,
    /// What the poller waits for.
    watched: Option<EventFlags>,
    pub lost: u64,
    pub failure: Option<String>,
}

impl Remote {
    pub fn new(config: &RemoteLog) -> Result<Self> {
        let mut tls = None;
        let (words, addresses) = match &config.target {
            LogTarget::Journald { socket, fields } => {
                let address = Address::Unix(socket.clone(), SocketType::DGRAM);
                (Words::Journald(Journald::new(fields.clone())), vec![address])
            }
            LogTarget::Syslog { transport, facility, format, tag, hostname } => {
                tls = Tls::of(transport)?;
                let syslog = Syslog::new(*facility, *format, tag, hostname, tls.is_some());
                (Words::Syslog(syslog), super::syslog::addresses(transport))
            }
        };
        Ok(Self {
            words,
            addresses,
            turn: 0,
            tls,
            link: Link::Down,
            retry_at: Some(Instant::now()),
            pause: FIRST_PAUSE,
            non_blocking: config.non_blocking,
            limit: usize::try_from(config.buffer).unwrap_or(QUEUE_MAX).min(QUEUE_MAX),
            queue: Queue::default(),
            out: Vec::new(),
            sent: 0,
            in_out: 0,
            stuck_since: None,
            watched: None,
            lost: 0,
            failure: None,
        })
    }

    pub fn append(&mut self, stream: Stream, message: Message<'_, Timestamp>) {
        if matches!(self.words, Words::Syslog(_)) && message.bytes.is_empty() {
            // Docker's clients of syslog send no empty line.
            return;
        }
        let waiting = self.queue.payload + message.bytes.len();
        let most = match self.link {
            _ if self.non_blocking => self.limit,
            Link::Up(_) if !self.is_given_up() => QUEUE_MAX,
            _ => WITHOUT_TARGET_MAX,
        };
        // One message always fits.
        let full = waiting > most || self.queue.memory() > 2 * most.max(QUEUE_MAX / 2);
        if full && self.queue.count > 0 {
            self.lost += 1;
        } else {
            self.queue.push(Queued { bytes: message.bytes, stream, ends: message.ends, time: message.time });
        }
    }

    /// It has taken nothing for longer than the container waits.
    fn is_given_up(&self) -> bool {
        self.stuck_since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    pub fn holds_up(&self) -> bool {
        !self.non_blocking
            && self.queue.memory() >= HOLD_AT
            && matches!(self.link, Link::Up(_))
            && !self.is_given_up()
    }

    pub fn is_drained(&self) -> bool {
        (self.queue.count == 0 && self.out.is_empty() && self.tls.as_ref().is_none_or(Tls::is_flushed))
            || matches!(self.link, Link::Down) && self.pause > FIRST_PAUSE
    }

    pub fn give_up(&mut self) {
        self.lost += self.queue.count as u64 + self.in_out;
        self.queue = Queue::default();
        self.out.clear();
        (self.sent, self.in_out) = (0, 0);
        self.link = Link::Down;
        self.pause = LONGEST_PAUSE;
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        if self.addresses.is_empty() {
            return None;
        }
        match &self.link {
            Link::Down => self.retry_at.filter(|_| self.queue.count > 0 || self.tls.is_some()),
            Link::Connecting(_, until) => Some(*until),
            Link::Up(_) => self.stuck_since.filter(|_| self.holds_up()).map(|since| since + PATIENCE),
        }
    }

    pub fn shrink(&mut self) {
        if self.queue.count == 0 {
            self.queue = Queue::default();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Sends what the target takes, and makes the connection when there is none.
    pub fn send(&mut self, poller: &Poller, now: Instant) {
        if matches!(self.link, Link::Down) {
            self.connect(poller, now);
        }
        if let Link::Connecting(fd, until) = &self.link {
            match connected(fd) {
                Ok(true) => {
                    if let Link::Connecting(fd, _) = std::mem::replace(&mut self.link, Link::Down) {
                        self.up(fd, poller);
                    }
                }
                Ok(false) if now < *until => {}
                Ok(false) => self.down(poller, now, &"the connection took too long"),
                Err(errno) => self.down(poller, now, &errno),
            }
        }
        for _ in 0..TURN {
            if !matches!(self.link, Link::Up(_)) {
                return;
            }
            match self.step() {
                Ok(true) => self.stuck_since = None,
                Ok(false) => {
                    self.watch(poller, EventFlags::empty());
                    return;
                }
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    self.stuck_since.get_or_insert(now);
                    let speaks = self.tls.as_ref().is_some_and(Tls::waits_for_server);
                    self.watch(poller, if speaks { EventFlags::IN } else { EventFlags::OUT });
                    return;
                }
                // The target's machine said that nobody heard an earlier one.
                Err(Errno::CONNREFUSED) if self.is_internet_datagram() => {
                    self.lost += 1;
                    self.failure = Some(format!("{}: nobody listens", self.name()));
                }
                Err(Errno::MSGSIZE) => {
                    self.lost += self.in_out;
                    self.failure = Some(format!("{}: a message is too long", self.name()));
                    self.out.clear();
                    (self.sent, self.in_out) = (0, 0);
                }
                Err(errno) => {
                    self.down(poller, now, &errno);
                    return;
                }
            }
        }
        // Somebody else's turn; the loop comes back at once.
        self.watch(poller, EventFlags::OUT);
    }

    /// One message or batch; false when there is nothing to send.
    fn step(&mut self) -> std::result::Result<bool, Errno> {
        let Link::Up(fd) = &self.link else { return Ok(false) };
        let fd = fd.as_fd();
        if self.out.is_empty() {
            let most = if self.is_datagram() { 1 } else { BATCH };
            while self.out.len() < most
                && let Some(message) = self.queue.front()
            {
                match &mut self.words {
                    Words::Journald(words) => words.encode(&mut self.out, message),
                    Words::Syslog(words) => words.encode(&mut self.out, message),
                }
                self.queue.pop();
                self.in_out += 1;
            }
        }
        if let Some(tls) = &mut self.tls {
            let taken = tls.write(fd, &self.out[self.sent..])?;
            self.sent += taken;
            if taken == 0 && self.sent == self.out.len() {
                self.finish_out();
                return Ok(false);
            }
        } else if self.out.is_empty() {
            return Ok(false);
        } else {
            self.sent +=
                rustix::net::send(fd, &self.out[self.sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        }
        if self.sent == self.out.len() {
            self.finish_out();
        }
        Ok(true)
    }

    fn finish_out(&mut self) {
        self.out.clear();
        (self.sent, self.in_out) = (0, 0);
    }

    fn connect(&mut self, poller: &Poller, now: Instant) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let Some(address) = self.addresses.get(self.turn % self.addresses.len().max(1)).cloned() else {
            return;
        };
        match open(&address) {
            Ok((fd, true)) => self.up(fd, poller),
            Ok((fd, false)) => {
                let added = poller.add(&fd, Target::Log, EventFlags::OUT);
                self.watched = added.is_ok().then_some(EventFlags::OUT);
                self.link = Link::Connecting(fd, now + CONNECT_AT_MOST);
            }
            Err(errno) => self.down(poller, now, &errno),
        }
    }

    /// A connection is there.
    fn up(&mut self, fd: OwnedFd, poller: &Poller) {
        self.link = Link::Up(fd);
        if let Some(tls) = &mut self.tls {
            tls.begin();
        }
        self.stuck_since = None;
        self.pause = FIRST_PAUSE;
        self.watch(poller, EventFlags::empty());
    }

    fn down(&mut self, poller: &Poller, now: Instant, why: &dyn std::fmt::Display) {
        let why = self.tls.as_mut().and_then(|tls| tls.failure.take()).unwrap_or_else(|| why.to_string());
        self.failure = Some(format!("{}: {why}", self.name()));
        if let Link::Up(fd) | Link::Connecting(fd, _) = std::mem::replace(&mut self.link, Link::Down)
            && self.watched.is_some()
        {
            poller.remove(&fd);
        }
        self.watched = None;
        // What was begun is sent again as a whole: half a message would spoil the next one.
        self.sent = 0;
        self.turn += 1;
        // Each address once, then a pause.
        if self.turn.is_multiple_of(self.addresses.len().max(1)) {
            self.retry_at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.retry_at = Some(now);
        }
        self.stuck_since = None;
    }

    /// Waits for what is wanted; on a stream always for its end, too.
    fn watch(&mut self, poller: &Poller, wanted: EventFlags) {
        let end = if self.is_datagram() { EventFlags::empty() } else { EventFlags::RDHUP };
        let Link::Up(fd) = &self.link else { return };
        let wanted = wanted | end;
        match self.watched {
            Some(watched) if watched == wanted => {}
            Some(_) if wanted.is_empty() => {
                poller.remove(fd);
                self.watched = None;
            }
            Some(_) => {
                let modified = poller.modify(fd, Target::Log, wanted);
                self.watched = modified.is_ok().then_some(wanted);
            }
            None if wanted.is_empty() => {}
            None => self.watched = poller.add(fd, Target::Log, wanted).is_ok().then_some(wanted),
        }
    }

    /// The connection is ready, or has ended.
    pub fn on_ready(&mut self, poller: &Poller, flags: EventFlags) {
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if ended && matches!(self.link, Link::Up(_)) && !self.is_datagram() {
            self.down(poller, Instant::now(), &"the connection was closed");
        }
        self.send(poller, Instant::now());
    }

    fn is_datagram(&self) -> bool {
        matches!(self.link, Link::Up(ref fd) if rustix::net::sockopt::socket_type(fd) == Ok(SocketType::DGRAM))
    }

    fn is_internet_datagram(&self) -> bool {
        self.addresses.iter().any(|address| matches!(address, Address::Internet(_, SocketType::DGRAM)))
    }

    fn name(&self) -> String {
        match self.addresses.get(self.turn % self.addresses.len().max(1)) {
            Some(Address::Unix(path, _)) => path.display().to_string(),
            Some(Address::Internet(address, _)) => address.to_string(),
            None => "no address".to_owned(),
        }
    }
}

/// Makes a socket and connects it; true: it is connected already.
fn open(address: &Address) -> std::result::Result<(OwnedFd, bool), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = |family, kind| rustix::net::socket_with(family, kind, flags, None);
    let (fd, result) = match address {
        Address::Unix(path, kind) => {
            let fd = socket(AddressFamily::UNIX, *kind)?;
            let address = SocketAddrUnix::new(path.as_path())?;
            let result = rustix::net::connect(&fd, &address);
            (fd, result)
        }
        Address::Internet(address, kind) => {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let fd = socket(family, *kind)?;
            let result = rustix::net::connect(&fd, address);
            (fd, result)
        }
    };
    match result {
        Ok(()) => Ok((fd, true)),
        Err(Errno::INPROGRESS) => Ok((fd, false)),
        Err(errno) => Err(errno),
    }
}

fn connected(fd: &OwnedFd) -> std::result::Result<bool, Errno> {
    rustix::net::sockopt::socket_error(fd)??;
    match rustix::net::getpeername(fd) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Messages one after another in one piece of memory.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
    count: usize,
    /// Bytes of messages alone.
    payload: usize,
}

impl Queue {
    const HEADER: usize = 13;

    fn push(&mut self, message: Queued<'_>) {
        let time = knarr_shim_proto::local_log::nanoseconds(message.time);
        let flags = u8::from(message.stream == Stream::Stderr) | u8::from(message.ends) << 1;
        self.bytes.extend_from_slice(&(message.bytes.len() as u32).to_le_bytes());
        self.bytes.push(flags);
        self.bytes.extend_from_slice(&time.to_le_bytes());
        self.bytes.extend_from_slice(message.bytes);
        self.count += 1;
        self.payload += message.bytes.len();
    }

    fn front(&self) -> Option<Queued<'_>> {
        let bytes = self.bytes.get(self.start..).filter(|bytes| bytes.len() >= Self::HEADER)?;
        let length = u32::from_le_bytes(bytes[..4].try_into().ok()?) as usize;
        let time = i64::from_le_bytes(bytes[5..13].try_into().ok()?);
        Some(Queued {
            bytes: bytes.get(Self::HEADER..Self::HEADER + length)?,
            stream: if bytes[4] & 1 == 1 { Stream::Stderr } else { Stream::Stdout },
            ends: bytes[4] & 2 == 2,
            time: Timestamp::from_nanosecond(time.into()).unwrap_or_default(),
        })
    }

    fn pop(&mut self) {
        let Some(length) = self.front().map(|message| message.bytes.len()) else { return };
        self.start += Self::HEADER + length;
        self.count -= 1;
        self.payload -= length;
        if self.count == 0 {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    fn memory(&self) -> usize {
        self.bytes.len() - self.start
    }
}
