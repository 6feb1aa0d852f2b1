//! What the engine asks, and the answers.
use super::Supervisor;
use super::connection::{Connection, Role, StreamRole};
use super::launch;
use super::poller::Target;
use super::process::{INIT, Process};
use super::streams::{self, Ends};
use crate::error::{Error, Result};
use crate::runtime::ExecRequest;
use jiff::Timestamp;
use knarr_oci::runtime::{Process as ProcessSpec, Spec};
use knarr_runtime::Stdio;
use knarr_shim_proto::{
    Answer, Call, ExecConfig, ExecState, FromShim, Phase, Reply, Request, StateReport, Streams,
};
use rustix::event::epoll::EventFlags;
use rustix::process::Signal;

/// Most commands that run in one container at a time.
const MAX_EXECS: usize = 4096;

/// An answer, and what the connection becomes after it.
type Outcome = (Answer, Option<StreamRole>);

impl Supervisor {
    /// Reads requests of a control connection and answers them.
    pub(super) fn on_requests(&mut self, id: u32) {
        let mut buffer = self.take_buffer();
        let read = self.connections.get_mut(&id).map(|connection| connection.read_requests(&mut buffer));
        let alive = match read {
            Some(Ok(Some(count))) if count > 0 => self.take_requests(id, &buffer[..count]),
            Some(Ok(None)) => true,
            _ => false,
        };
        self.return_buffer(buffer);
        if !alive {
            self.drop_connection(id);
        }
    }

    /// Whether the connection is still good.
    fn take_requests(&mut self, id: u32, mut bytes: &[u8]) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return true };
            let Role::Control(assembler, _) = &mut connection.role else { return true };
            assembler.push(std::mem::take(&mut bytes));
            match assembler.take::<Request>() {
                Ok(None) => return true,
                Err(_) => return false,
                Ok(Some(request)) => {
                    if !self.answer(id, request) {
                        return false;
                    }
                }
            }
        }
    }

    fn answer(&mut self, id: u32, request: Request) -> bool {
        // Closed at the end, unless they are to be kept.
        let passed = self.connections.get_mut(&id).map(Connection::take_fds).unwrap_or_default();
        let gives = matches!(request.call, Call::Kept);
        if matches!(request.call, Call::Keep) {
            self.kept = passed;
        }
        let (result, stream) = match self.call(request.call) {
            Ok((answer, stream)) => (Ok(answer), stream),
            Err(error) => (Err(error.failure()), None),
        };
        let reply = FromShim::Reply(Reply { number: request.number, result });
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        let fds = if gives { &self.kept[..] } else { &[] };
        if connection.send_with(&reply, fds).is_err() {
            return false;
        }
        let mut early = Vec::new();
        if let Some(stream) = stream
            && let Role::Control(assembler, _) = std::mem::replace(&mut connection.role, Role::Stream(stream))
        {
            early = assembler.rest();
        }
        if connection.watch(&self.poller).is_err() {
            return false;
        }
        if !early.is_empty() {
            self.take_input(id, &early);
        }
        true
    }

    fn call(&mut self, call: Call) -> Result<Outcome> {
        let done = |()| (Answer::Done, None);
        match call {
            Call::Start => self.start().map(done),
            Call::Kill { exec_id, signal } => self.kill(exec_id, signal).map(done),
            Call::Resize { exec_id, rows, cols } => self.process(exec_id)?.resize(rows, cols).map(done),
            Call::Exec(exec) => self.exec(exec),
            Call::State => Ok((Answer::State(self.state()), None)),
            Call::Keep => Ok(done(())),
            Call::Kept => Ok((Answer::Kept { count: self.kept.len() }, None)),
            Call::Attach(streams) => self.attach(streams),
            Call::ReopenLogs => match &mut self.log {
                Some(log) => log.reopen().map(done),
                None => Ok(done(())),
            },
            Call::Shutdown => {
                self.delete_ended();
                self.shutdown = true;
                if self.phase == Phase::Created
                    && let Some(init) = self.init()
                {
                    init.signal(Signal::KILL.as_raw())?;
                }
                Ok(done(()))
            }
        }
    }

    fn process(&self, exec_id: Option<String>) -> Result<&Process> {
        let found = self.processes.values().find(|process| process.exec_id == exec_id);
        match (found.filter(|process| process.ended.is_none()), exec_id) {
            (Some(process), _) => Ok(process),
            (None, Some(exec_id)) => Err(Error::NoSuchExec { exec_id }),
            (None, None) => Err(self.not_running()),
        }
    }

    /// The init's signals are the runtime's affair; a command's process is what the host sees of it.
    fn kill(&mut self, exec_id: Option<String>, signal: i32) -> Result<()> {
        let process = self.process(exec_id)?;
        if process.exec_id.is_some() {
            return process.signal(signal);
        }
        match self.processes.get(&INIT) {
            Some(init) => self.runtime.kill(&init.created, signal),
            None => Err(self.not_running()),
        }
    }

    fn start(&mut self) -> Result<()> {
        if self.phase != Phase::Created {
            return Err(Error::AlreadyStarted { id: self.config.id.clone() });
        }
        if self.init().is_none() {
            return Err(self.not_running());
        }
        match self.runtime.start() {
            Ok(()) => {
                self.phase = Phase::Running;
                self.started_at = Some(Timestamp::now());
                self.write_shim_record()
            }
            Err(error) => {
                self.on_start_failed(&error);
                Err(error)
            }
        }
    }

    fn state(&self) -> StateReport {
        let running = self.processes.values().filter(|process| process.ended.is_none());
        let running = running.filter_map(|process| {
            let exec_id = process.exec_id.clone()?;
            Some(ExecState { exec_id, pid: process.created.pid, exit: None })
        });
        StateReport {
            phase: self.phase,
            shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
            pid: self.exit.is_none().then_some(self.init_pid),
            pid_start_time: self.init_start_time,
            started_at: self.started_at,
            exit: self.exit.clone(),
            execs: self.ended.iter().cloned().chain(running).collect(),
            log_lost: self.log.as_ref().map_or(0, super::log::Log::lost),
        }
    }

    fn attach(&mut self, streams: Streams) -> Result<Outcome> {
        let init = self.init().filter(|init| init.ended.is_none()).ok_or_else(|| self.not_running())?;
        let stream = StreamRole {
            process: INIT,
            streams,
            raw: init.terminal,
            input_open: streams.stdin,
            input_room: true,
            closing: false,
        };
        Ok((Answer::Done, Some(stream)))
    }

    fn exec(&mut self, config: ExecConfig) -> Result<Outcome> {
        if self.phase != Phase::Running {
            return Err(self.not_running());
        }
        if self.processes.len() > MAX_EXECS {
            return Err(Error::TooMany { what: "commands", most: MAX_EXECS });
        }
        let exec_id = Some(config.exec_id.clone());
        if self.processes.values().any(|process| process.exec_id == exec_id) {
            return Err(Error::ExecExists { exec_id: config.exec_id });
        }
        let process = self.execute(&config)?;
        let (pid, raw) = (process.created.pid, process.terminal);
        let id = self.next_process;
        self.next_process += 1;
        self.poller.add(&process.created.pidfd, Target::Process(id), EventFlags::IN)?;
        for output in &process.outputs {
            self.poller.add(&output.fd, Target::Output(id, output.stream), EventFlags::IN)?;
        }
        self.processes.insert(id, process);
        let stream = config.attach.then_some(StreamRole {
            process: id,
            streams: config.streams,
            raw,
            input_open: config.streams.stdin,
            input_room: true,
            closing: false,
        });
        Ok((Answer::Started { pid }, stream))
    }

    /// Makes the command's process, which executes its program.
    fn execute(&mut self, config: &ExecConfig) -> Result<Process> {
        let spec = match self.for_commands.take() {
            Some(kept) => kept,
            None => Box::new(launch::read_spec(&self.config.dir)?),
        };
        let made = self.execute_in(&spec, config);
        // Where a command was made the runtime has its filter.
        self.for_commands = Some(if made.is_ok() { without_start(spec) } else { spec });
        made
    }

    fn execute_in(&mut self, spec: &Spec, config: &ExecConfig) -> Result<Process> {
        let mut process: ProcessSpec = serde_json::from_str(config.process.get()).map_err(Error::Process)?;
        process.oom_score_adj = process
            .oom_score_adj
            .or(spec.process.as_ref().and_then(|init| init.oom_score_adj))
            .or(self.oom_score);
        let wanted = if config.attach { config.streams } else { Streams::default() };
        let (stdio, ends) = if process.terminal {
            let size = process.console_size.unwrap_or_default();
            (Stdio::Terminal { rows: size.height, cols: size.width }, Ends::default())
        } else {
            streams::pipes(wanted)?
        };
        let Some(init) = self.processes.get(&INIT) else { return Err(self.not_running()) };
        let created = self.runtime.exec(ExecRequest {
            config: &self.config,
            spec,
            init: &init.created,
            process: &process,
            stdio,
        })?;
        let ends = launch::ends_of(&created, ends, wanted.stdin)?;
        Ok(Process::new(Some(config.exec_id.clone()), created, process.terminal, true, ends))
    }
}

/// What further commands need of a configuration: nothing of what was there for the start, nor the long list that the runtime has made a
/// filter of, unless an agent is told of it.
fn without_start(mut spec: Box<Spec>) -> Box<Spec> {
    spec.mounts = Vec::new();
    spec.hooks = None;
    let seccomp = spec.linux.as_mut().and_then(|linux| linux.seccomp.as_mut());
    if let Some(profile) = seccomp.filter(|profile| profile.listener_path.is_none()) {
        profile.syscalls = Vec::new();
    }
    spec
}
