//! A runtime that is a program with runc's command line: runc, crun, youki, runsc, `knarr-runtime` itself.
//!
//! Standard: <https://github.com/opencontainers/runc/blob/main/man/runc.8.md> and its sub-commands. Invariants: the
//! supervisor is the subreaper, so that what the program leaves behind (init, executed commands) becomes its child; the
//! program's root directory lies in the container's run directory and ends with it; the container's mounts are made in a
//! mount namespace that only the program and its children are in, so that the host's table shows none; a call that
//! does not end is ended after a time, with all that it made.
mod bundle;
mod command;
mod console;
mod message;
mod mounts;
mod unfinished;

pub use message::failure_kind;

use super::{ContainerRuntime, CreateRequest, ExecRequest, NewProcess};
use crate::error::{Error, Result};
use command::{Call, LIMIT, Streams};
use console::ConsoleSocket;
use knarr_linux::{prctl, process};
use knarr_oci::runtime::NamespaceType;
use knarr_runtime::Stdio;
use knarr_shim_proto::{RuntimeProgram, ShimConfig};
use rustix::event::Timespec;
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Below the container's run directory: bundle, state and messages of the runtime.
const DIRECTORY: &str = "oci";
/// Longest time for giving back what an ended container had: shorter than the time after which the engine takes a supervisor
/// that does not answer `Shutdown` for dead.
const DELETE_LIMIT: Timespec = Timespec { tv_sec: 6, tv_nsec: 0 };

#[derive(Debug)]
pub struct Foreign {
    program: RuntimeProgram,
    id: String,
    dir: PathBuf,
    /// The container sees the host's processes, so its orphans come to the subreaper.
    host_pids: bool,
}

impl Foreign {
    pub fn new(config: &ShimConfig, mut program: RuntimeProgram) -> Result<Self> {
        if config.cgroup.systemd {
            program.args.push("--systemd-cgroup".to_owned());
        }
        prctl::set_child_subreaper(true).map_err(Error::system("become subreaper"))?;
        let dir = config.dir.join(DIRECTORY);
        DirBuilder::new().mode(0o700).recursive(true).create(&dir).map_err(Error::file("make", &dir))?;
        Ok(Self { program, id: config.id.clone(), dir, host_pids: false })
    }

    fn call(&self, name: &'static str, arguments: Vec<OsString>) -> Call<'_> {
        Call {
            program: &self.program,
            dir: &self.dir,
            name,
            arguments,
            streams: Streams::None,
            mounts: None,
            limit: LIMIT,
            owns_orphans: !self.host_pids,
        }
    }

    fn command(&self, name: &'static str, arguments: &[&str]) -> Call<'_> {
        self.call(name, arguments.iter().map(OsString::from).collect())
    }

    /// The process whose number the runtime wrote.
    fn made(&self, pid_file: &Path, console: Option<ConsoleSocket>) -> Result<NewProcess> {
        let text = std::fs::read_to_string(pid_file).map_err(Error::file("read", pid_file))?;
        let pid = text.trim().parse().map_err(|_| Error::Foreign {
            command: "create",
            message: format!("the runtime wrote no process id but {text:?}"),
        })?;
        // It is a child of this process and was not waited for: the number cannot be another's.
        let pidfd = process::pidfd_open(pid).map_err(Error::system("open the runtime's process"))?;
        let console = console.map(ConsoleSocket::receive).transpose()?;
        Ok(NewProcess { pid, pidfd, console })
    }

    fn console(&self, stdio: &Stdio) -> Result<Option<ConsoleSocket>> {
        match stdio {
            Stdio::Terminal { rows, cols } => ConsoleSocket::listen(&self.dir, *rows, *cols).map(Some),
            _ => Ok(None),
        }
    }

    fn create_process(&self, request: CreateRequest<'_>) -> Result<NewProcess> {
        let CreateRequest { config, spec, netns, userns, stdio } = request;
        if userns.is_some() {
            return Err(Error::Foreign {
                command: "create",
                message: "layers cannot be shared with a user namespace by a runtime of another's".to_owned(),
            });
        }
        let mounts = bundle::write(&self.dir, spec, config.rootfs.as_ref(), netns)?;
        let console = self.console(&stdio)?;
        let pid_file = self.dir.join("init.pid");
        let mut arguments = vec!["--bundle".into(), self.dir.clone().into()];
        arguments.extend(["--pid-file".into(), pid_file.clone().into()]);
        arguments.extend(console.iter().flat_map(ConsoleSocket::arguments));
        arguments.push(self.id.clone().into());
        let (streams, mounts) = (Streams::of(stdio), Some(&mounts));
        // No process of the container is there before.
        Call { streams, mounts, owns_orphans: true, ..self.call("create", arguments) }.run()?;
        self.made(&pid_file, console)
    }
}

impl ContainerRuntime for Foreign {
    fn create(&mut self, request: CreateRequest<'_>) -> Result<NewProcess> {
        let linux = request.spec.linux.as_ref();
        self.host_pids = linux.is_none_or(|linux| linux.namespace(NamespaceType::Pid).is_none());
        let made = self.create_process(request);
        if made.is_err() {
            self.delete();
        }
        made
    }

    fn start(&mut self) -> Result<()> {
        self.command("start", &[&self.id]).run()
    }

    fn exec(&mut self, request: ExecRequest<'_>) -> Result<NewProcess> {
        let ExecRequest { process, stdio, .. } = request;
        let (file, pid_file) = (self.dir.join("process.json"), self.dir.join("exec.pid"));
        let json =
            serde_json::to_vec(process).map_err(|source| Error::Json { path: file.clone(), source })?;
        std::fs::write(&file, json).map_err(Error::file("write", &file))?;
        let console = self.console(&stdio)?;
        let mut arguments: Vec<OsString> = vec!["--detach".into(), "--process".into(), file.into()];
        arguments.extend(["--pid-file".into(), pid_file.clone().into()]);
        arguments.extend(console.iter().flat_map(ConsoleSocket::arguments));
        arguments.push(self.id.clone().into());
        Call { streams: Streams::of(stdio), ..self.call("exec", arguments) }.run()?;
        self.made(&pid_file, console)
    }

    /// The runtime knows what the signal is for: the init may be the stand-in of something that no signal reaches. Nothing
    /// withstands a kill.
    fn kill(&mut self, init: &NewProcess, signal: i32) -> Result<()> {
        match self.command("kill", &[&self.id, &signal.to_string()]).run() {
            Err(_) if signal == Signal::KILL.as_raw() => init.signal(signal),
            done => done,
        }
    }

    fn delete(&mut self) {
        // What is left then goes with the control group and the run directory.
        let call = self.command("delete", &["--force", &self.id]);
        let _ = Call { limit: DELETE_LIMIT, ..call }.run();
    }

    fn is_subreaper(&self) -> bool {
        true
    }

    fn adopts_orphans(&self) -> bool {
        self.host_pids
    }
}

/// A path that names one of this process's descriptors to its children.
fn path_of(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    let pid = rustix::process::getpid().as_raw_nonzero();
    format!("/proc/{pid}/fd/{}", fd.as_fd().as_raw_fd())
}
