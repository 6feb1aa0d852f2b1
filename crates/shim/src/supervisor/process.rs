//! A process that the supervisor looks after: the container's init, or a command executed in the container.
use super::streams::{Ends, Input, Output};
use crate::error::{Error, Result};
use crate::runtime::NewProcess;
use jiff::Timestamp;
use knarr_linux::process::{self, Exit};
use knarr_shim_proto::ExitRecord;
use knarr_shim_proto::stdcopy::Stream;
use std::os::fd::AsFd;
use std::time::Instant;

/// The number of the container's init among the processes.
pub const INIT: u32 = 0;

/// Exit code reported for a process whose end nobody could read.
const UNKNOWN_CODE: i32 = 255;

#[derive(Debug)]
pub struct Process {
    /// `None`: the container's init.
    pub exec_id: Option<String>,
    pub created: NewProcess,
    pub terminal: bool,
    /// Standard input ends when the client that brings it ends it.
    pub stdin_once: bool,
    /// Its output goes to the container's log.
    pub logged: bool,
    pub outputs: Vec<Output>,
    pub input: Option<Input>,
    /// When its end was reported, and what; its streams may still be held open by others.
    pub ended: Option<(Instant, ExitRecord)>,
}

impl Process {
    pub fn new(
        exec_id: Option<String>,
        created: NewProcess,
        terminal: bool,
        stdin_once: bool,
        ends: Ends,
    ) -> Self {
        let logged = exec_id.is_none();
        let Ends { outputs, input } = ends;
        Self { exec_id, created, terminal, stdin_once, logged, outputs, input, ended: None }
    }

    pub fn output(&mut self, stream: Stream) -> Option<&mut Output> {
        self.outputs.iter_mut().find(|output| output.stream == stream)
    }

    /// Collects the ended process. Only once, and only after its pidfd said that it ended.
    pub fn collect(&self, oom_killed: bool) -> ExitRecord {
        let exit = process::wait(self.created.pidfd.as_fd(), true).ok().flatten();
        let signal = match exit {
            Some(Exit::Signal(signal)) => Some(signal),
            _ => None,
        };
        let code = exit.map_or(UNKNOWN_CODE, Exit::status);
        let error = exit.is_none().then(|| "the exit status was lost".to_owned());
        ExitRecord {
            pid: self.created.pid,
            code,
            signal,
            oom_killed,
            exited_at: Timestamp::now(),
            error,
            log_lost: 0,
        }
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        self.created.signal(signal)
    }

    pub fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        let Some(console) = &self.created.console else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(console, size).map_err(Error::system("resize terminal"))
    }
}
