//! From a spawn request to an init that waits for `Start`.
//!
//! Invariant: whatever fails, the engine hears of it on the control connection and `exit.json` says it too; nothing of the
//! container is left.
use super::connection::Connection;
use super::log::Log;
use super::poller::{Poller, Target};
use super::process::{INIT, Process};
use super::streams::{self, Ends};
use super::{Start, Supervisor, identity, oom};
use crate::error::{Error, Result};
use crate::runtime::{self, ContainerRuntime, CreateRequest, NewProcess};
use crate::{process_time, record_file};
use jiff::Timestamp;
use knarr_oci::runtime::Spec;
use knarr_runtime::Stdio;
use knarr_shim_proto::{Event, ExitRecord, FromShim, Phase, ShimConfig, ShimRecord, Streams, file};
use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// `None`: it failed, and the engine was told.
pub fn launch(start: Start) -> Option<Supervisor> {
    let Start { config, control, netns, userns, kept, oom_score } = start;
    let mut control = Connection::new(0, control);
    match prepare(config.clone(), (netns, userns), oom_score) {
        Ok(mut supervisor) => {
            supervisor.kept = kept;
            let (pid, start_time) = (supervisor.init_pid, supervisor.init_start_time);
            let created = FromShim::Event(Event::Created { pid, start_time });
            if control.send(&created).is_ok() && control.watch(&supervisor.poller).is_ok() {
                supervisor.connections.insert(0, control);
            }
            supervisor.end_if_orphaned();
            knarr_linux::supervise::trim_memory();
            Some(supervisor)
        }
        Err(error) => {
            let failure = error.failure();
            let record = ExitRecord {
                pid: 0,
                code: failure.kind.exit_code(),
                signal: None,
                oom_killed: false,
                exited_at: Timestamp::now(),
                error: Some(failure.message.clone()),
                log_lost: 0,
            };
            let _ = open_dir(&config.dir)
                .and_then(|dir| record_file::write(dir.as_fd(), file::EXIT, &record, true));
            let _ = std::fs::remove_file(config.dir.join(file::SOCKET));
            let _ = control.send(&FromShim::Event(Event::CreateFailed(failure)));
            None
        }
    }
}

/// Network and user namespace that the container joins.
type Namespaces = (Option<OwnedFd>, Option<OwnedFd>);

fn prepare(config: ShimConfig, namespaces: Namespaces, oom_score: Option<i32>) -> Result<Supervisor> {
    let dir = open_dir(&config.dir)?;
    let poller = Poller::new()?;
    let listener = listen(&dir)?;
    poller.add(&listener, Target::Listener, EventFlags::IN)?;
    let log = Log::open(&config.log)?;
    let mut runtime = runtime::of(&config)?;
    let init = create(runtime.as_mut(), &config, namespaces, oom_score)?;
    let init_pid = init.created.pid;
    poller.add(&init.created.pidfd, Target::Process(INIT), EventFlags::IN)?;
    for output in &init.outputs {
        poller.add(&output.fd, Target::Output(INIT, output.stream), EventFlags::IN)?;
    }
    let oom = oom::Watch::new(&config);
    if let Some(fd) = oom.fd() {
        poller.add(fd, Target::Oom, EventFlags::IN)?;
    }
    let group = match config.cgroup.path.as_str() {
        "" => Vec::new(),
        path => knarr_cgroup::Cgroup::new(path).map(|group| identity(&group)).unwrap_or_default(),
    };
    let supervisor = Supervisor {
        config,
        dir,
        poller,
        listener,
        connections: BTreeMap::new(),
        processes: BTreeMap::from([(INIT, init)]),
        next_connection: 1,
        next_process: INIT + 1,
        ended: VecDeque::new(),
        log,
        held_by_log: false,
        drain_until: None,
        oom,
        group,
        accept_again: None,
        buffer: Vec::new(),
        untrimmed: false,
        phase: Phase::Created,
        init_pid,
        init_start_time: process_time::start_time(init_pid).unwrap_or_default(),
        started_at: None,
        exit: None,
        shutdown: false,
        never_started: false,
        undeleted: false,
        hangups: Vec::new(),
        oom_score,
        runtime,
        kept: Vec::new(),
        for_commands: None,
    };
    supervisor.write_shim_record()?;
    Ok(supervisor)
}

impl Supervisor {
    pub(super) fn write_shim_record(&self) -> Result<()> {
        let shim_pid = rustix::process::getpid().as_raw_nonzero().get();
        let record = ShimRecord {
            shim_pid,
            shim_start_time: process_time::start_time(shim_pid).unwrap_or_default(),
            pid: self.init_pid,
            pid_start_time: self.init_start_time,
            started_at: self.started_at,
        };
        self.write_record(file::SHIM, &record, false)
    }
}

fn create(
    runtime: &mut dyn ContainerRuntime,
    config: &ShimConfig,
    namespaces: Namespaces,
    oom_score: Option<i32>,
) -> Result<Process> {
    let mut spec = read_spec(&config.dir)?;
    let process = spec.process.get_or_insert_default();
    process.oom_score_adj = process.oom_score_adj.or(oom_score);
    let terminal = process.terminal;
    let (stdio, ends) = if terminal {
        (Stdio::Terminal { rows: config.rows, cols: config.cols }, Ends::default())
    } else {
        streams::pipes(Streams { stdin: config.open_stdin, ..Streams::OUTPUT })?
    };
    let (netns, userns) = (namespaces.0.as_ref().map(AsFd::as_fd), namespaces.1.as_ref().map(AsFd::as_fd));
    let created = runtime.create(CreateRequest { config, spec: &spec, netns, userns, stdio })?;
    let ends = ends_of(&created, ends, config.open_stdin)?;
    Ok(Process::new(None, created, terminal, config.stdin_once, ends))
}

/// Our ends, once it is known where the terminal is.
pub fn ends_of(created: &NewProcess, pipes: Ends, stdin: bool) -> Result<Ends> {
    match &created.console {
        Some(console) => streams::terminal(console.as_fd(), stdin),
        None => Ok(pipes),
    }
}

pub fn read_spec(dir: &Path) -> Result<Spec> {
    let path = dir.join(file::CONFIG);
    let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::file("open", path)(errno.into()))
}

/// Listens in the directory by its descriptor: a socket's path may have 107 bytes only.
fn listen(dir: &OwnedFd) -> Result<OwnedFd> {
    let _ = rustix::fs::unlinkat(dir, file::SOCKET, rustix::fs::AtFlags::empty());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), file::SOCKET);
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).and_then(|s| {
            rustix::net::bind(&s, &SocketAddrUnix::new(path)?)?;
            rustix::net::listen(&s, BACKLOG)?;
            Ok(s)
        });
    rustix::process::umask(before);
    bound.map_err(Error::system("listen on shim.sock"))
}
