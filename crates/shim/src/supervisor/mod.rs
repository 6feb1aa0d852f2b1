//! The supervisor of one container: a single-threaded event loop around its streams, its log and its end.
//!
//! * [`launch`]: from a spawn request to an init that waits; [`calls`]: what the engine asks; [`pump`]: output and input;
//!   [`exits`]: ended processes, records, and the supervisor's own end.
//! * [`process`], [`streams`], [`connection`], [`log`], [`outbox`], [`poller`]: the objects.
//!
//! Invariants: it blocks nowhere but in the poller (and while the runtime makes a process or gives back an ended container); it reads a process's output
//! only when everybody who wants it has taken what was read before; an exit is on disk before anybody is told.
mod calls;
mod connection;
mod exits;
mod launch;
mod log;
mod oom;
mod outbox;
mod poller;
mod process;
mod pump;
mod streams;

use crate::error::{Error, Result};
use crate::runtime::ContainerRuntime;
use connection::Connection;
use jiff::Timestamp;
use knarr_shim_proto::{Event, ExecState, ExitRecord, FromShim, Phase, ShimConfig};
use log::Log;
use poller::{Poller, Target};
use process::{INIT, Process};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes read from a stream at a time.
const BUFFER: usize = 64 * 1024;
/// Most connections at a time; one more is closed at once.
const MAX_CONNECTIONS: usize = 512;
/// After this time without any event memory is given back.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// How often ended orphans are collected where the container's come to the supervisor.
const ORPHANS_EVERY: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted: it stays in the queue, and would be reported again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the spawner hands to a new supervisor.
#[derive(Debug)]
pub struct Start {
    pub config: ShimConfig,
    pub control: OwnedFd,
    pub netns: Option<OwnedFd>,
    pub userns: Option<OwnedFd>,
    /// For engines to come.
    pub kept: Vec<OwnedFd>,
    /// The OOM score that the container gets unless its configuration says otherwise.
    pub oom_score: Option<i32>,
}

/// Runs a container to its end. Gives the process's exit code.
pub fn main(start: Start) -> i32 {
    match launch::launch(start) {
        Some(supervisor) => supervisor.run(),
        None => 1,
    }
}

struct Supervisor {
    config: ShimConfig,
    /// The container's run directory.
    dir: OwnedFd,
    poller: Poller,
    listener: OwnedFd,
    connections: BTreeMap<u32, Connection>,
    processes: BTreeMap<u32, Process>,
    next_connection: u32,
    next_process: u32,
    /// Commands that ended, newest last.
    ended: VecDeque<ExecState>,
    log: Option<Log>,
    /// Output is not read because the log's target is slow.
    held_by_log: bool,
    /// How long the end waits for the log's target.
    drain_until: Option<Instant>,
    oom: oom::Watch,
    /// Directories of the control group as this run made them: a later run has others under the same names.
    group: Vec<(PathBuf, u64)>,
    /// Nobody is accepted before: descriptors had run out.
    accept_again: Option<Instant>,
    buffer: Vec<u8>,
    /// Memory was used that is free by now.
    untrimmed: bool,
    phase: Phase,
    init_pid: i32,
    init_start_time: u64,
    started_at: Option<Timestamp>,
    exit: Option<ExitRecord>,
    shutdown: bool,
    /// It ended before anybody said `Start`.
    never_started: bool,
    /// The init's end was reported, and the runtime still holds something of the container.
    undeleted: bool,
    /// Clients that went away with their input open, oldest first.
    hangups: Vec<pump::Hangup>,
    /// The score that processes get whose configuration names none.
    oom_score: Option<i32>,
    runtime: Box<dyn ContainerRuntime>,
    /// Descriptors that engines asked to keep; never looked at.
    kept: Vec<OwnedFd>,
    /// The configuration, from the first command on.
    for_commands: Option<Box<knarr_oci::runtime::Spec>>,
}

impl Supervisor {
    fn run(mut self) -> i32 {
        let mut events = Vec::new();
        while !self.is_over() || !self.is_log_sent(Instant::now()) {
            if self.poller.wait(&mut events, self.timeout()).is_err() {
                return 1;
            }
            for (target, flags) in &events {
                self.handle(*target, *flags);
            }
            if events.is_empty() {
                self.shrink();
            }
            self.resume_accepting(Instant::now());
            self.decide_hangups(Instant::now());
            self.flush_log();
            self.let_output_go_on();
            self.tell_lost_logs();
            self.end_lingering(Instant::now());
            self.delete_ended();
            self.reap_orphans();
        }
        if self.never_started {
            self.undo_create();
        }
        let _ = rustix::fs::unlinkat(&self.dir, knarr_shim_proto::file::SOCKET, rustix::fs::AtFlags::empty());
        0
    }

    fn handle(&mut self, target: Target, flags: EventFlags) {
        match target {
            Target::Listener => self.accept(),
            Target::Oom => self.on_oom(),
            Target::Connection(id) => self.on_connection(id, flags),
            Target::Output(id, stream) => self.on_output(id, stream),
            Target::Input(id) => self.on_input(id),
            Target::Process(id) => self.on_process_ended(id),
            Target::Log => self.on_log(flags),
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let idle = self.untrimmed.then_some(IDLE_AFTER);
        let until = |end: Instant| end.saturating_duration_since(Instant::now());
        let linger = self.next_linger_end().map(until);
        let hangup = self.next_hangup().map(until);
        let orphans = self.runtime.adopts_orphans().then_some(ORPHANS_EVERY);
        let accept = self.accept_again.map(until);
        let log = self.log.as_ref().and_then(Log::next_deadline).map(until);
        let drain = self.drain_until.map(until);
        [idle, linger, hangup, orphans, accept, log, drain].into_iter().flatten().min()
    }

    fn accept(&mut self) {
        match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
            Ok(socket) if self.connections.len() < MAX_CONNECTIONS => {
                self.add_connection(socket);
            }
            Ok(_) => {}
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                self.poller.remove(&self.listener);
                self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
            }
            Err(_) => {}
        }
    }

    fn resume_accepting(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| now >= at) {
            let added = self.poller.add(&self.listener, Target::Listener, EventFlags::IN);
            self.accept_again = added.is_err().then(|| now + ACCEPT_PAUSE);
        }
    }

    fn add_connection(&mut self, socket: OwnedFd) -> u32 {
        let id = self.next_connection;
        self.next_connection += 1;
        let mut connection = Connection::new(id, socket);
        if connection.watch(&self.poller).is_ok() {
            self.connections.insert(id, connection);
        }
        id
    }

    /// Tells every control connection.
    fn broadcast(&mut self, event: Event) {
        let message = FromShim::Event(event);
        let mut gone = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.is_control()
                && (connection.send(&message).is_err() || connection.watch(&self.poller).is_err())
            {
                gone.push(*id);
            }
        }
        gone.into_iter().for_each(|id| self.drop_connection(id));
    }

    /// Forgets a connection; output that it held up goes on.
    fn drop_connection(&mut self, id: u32) {
        if let Some(mut connection) = self.connections.remove(&id) {
            connection.ignore(&self.poller);
            if let Some(stream) = connection.stream() {
                self.resume_outputs(stream.process);
            }
        }
        self.end_if_orphaned();
    }

    /// An engine that died before it said `Start` will never say it, and the next one starts anew: nothing may be left.
    fn end_if_orphaned(&mut self) {
        let engine_is_there = self.connections.values().any(Connection::is_control);
        if self.phase != Phase::Created || engine_is_there || self.shutdown {
            return;
        }
        self.shutdown = true;
        if let Some(init) = self.init() {
            let _ = init.signal(rustix::process::Signal::KILL.as_raw());
        }
    }

    /// The last act for a container that never ran: its group and the records of this run go with the supervisor.
    fn undo_create(&self) {
        let path = &self.config.cgroup.path;
        if !path.is_empty()
            && let Ok(group) = knarr_cgroup::Cgroup::new(path)
            && identity(&group) == self.group
        {
            let _ = group.kill_all().and_then(|()| group.destroy());
        }
        for name in [knarr_shim_proto::file::SHIM, knarr_shim_proto::file::EXIT] {
            let _ = rustix::fs::unlinkat(&self.dir, name, rustix::fs::AtFlags::empty());
        }
    }

    fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush(&self.poller);
        }
    }

    fn on_log(&mut self, flags: EventFlags) {
        if let Some(log) = &mut self.log {
            log.on_ready(&self.poller, flags);
        }
    }

    /// Reads what was not read because the log's target was slow.
    fn let_output_go_on(&mut self) {
        if self.held_by_log && !self.log.as_ref().is_some_and(Log::holds_up) {
            self.held_by_log = false;
            let logged = self.processes.iter().filter(|(_, process)| process.logged);
            let ids: Vec<u32> = logged.map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.resume_outputs(id));
        }
    }

    /// An engine that listens hears that messages were lost.
    fn tell_lost_logs(&mut self) {
        if let Some((total, why)) = self.log.as_mut().and_then(|log| log.news(Instant::now())) {
            self.broadcast(Event::LogLost { total, why });
        }
    }

    /// Gives memory back while nothing happens.
    fn shrink(&mut self) {
        if !std::mem::take(&mut self.untrimmed) {
            return;
        }
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        knarr_linux::supervise::trim_memory();
    }

    /// The buffer for one read; [`Supervisor::return_buffer`] keeps its memory for the next.
    fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = vec![0; BUFFER];
        }
        buffer
    }

    fn return_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
        self.untrimmed = true;
    }

    fn init(&self) -> Option<&Process> {
        self.processes.get(&INIT)
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { id: self.config.id.clone() }
    }

    fn write_record<T: serde::Serialize>(&self, name: &str, record: &T, durable: bool) -> Result<()> {
        use std::os::fd::AsFd;
        crate::record_file::write(self.dir.as_fd(), name, record, durable)
    }
}

/// The directories of a group that exist, with their inodes.
fn identity(group: &knarr_cgroup::Cgroup) -> Vec<(PathBuf, u64)> {
    let inode = |path: &Path| Some(std::fs::metadata(path).ok()?.ino());
    group.directories().into_iter().filter_map(|path| inode(&path).map(|inode| (path, inode))).collect()
}
