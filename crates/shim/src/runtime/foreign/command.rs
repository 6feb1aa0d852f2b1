//! One call of the runtime's program: made in a process of its own, waited for, its error found.
//!
//! Invariants: the program gets standard streams and nothing else that is open here. It is ended when it takes too long, with
//! everything that it made, and it does not outlive this process: whoever finds the supervisor gone may use the container's
//! directories again.
use super::mounts::Mounts;
use super::{message, path_of, unfinished};
use crate::error::{Error, Result};
use knarr_linux::prctl;
use knarr_linux::process::{self, Clone3, Exit, flags};
use knarr_runtime::Stdio;
use knarr_shim_proto::RuntimeProgram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio as CommandStdio};

/// Longest time that one call may take; shorter than what the engine waits for an answer.
pub const LIMIT: Timespec = Timespec { tv_sec: 50, tv_nsec: 0 };
/// Where runtimes and what they execute look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the program gets as its standard streams, and so the container's process.
pub enum Streams {
    None,
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

impl Streams {
    /// With a terminal the streams are the runtime's own affair.
    pub fn of(stdio: Stdio) -> Self {
        match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => Self::Pipes { stdin, stdout, stderr },
            _ => Self::None,
        }
    }

    fn give(self, command: &mut Command) {
        command.stdin(CommandStdio::null()).stdout(CommandStdio::null()).stderr(CommandStdio::null());
        if let Self::Pipes { stdin, stdout, stderr } = self {
            if let Some(stdin) = stdin {
                command.stdin(stdin);
            }
            command.stdout(stdout).stderr(stderr);
        }
    }
}

/// `<program> <its arguments> --root .. --log .. <name> <arguments>`.
pub struct Call<'a> {
    pub program: &'a RuntimeProgram,
    /// The container's directory for the runtime.
    pub dir: &'a Path,
    pub name: &'static str,
    pub arguments: Vec<OsString>,
    pub streams: Streams,
    /// Made before the program runs, in a mount namespace of its own.
    pub mounts: Option<&'a Mounts>,
    /// Longest time that it may take.
    pub limit: Timespec,
    /// Orphans that come to this process meanwhile can only be the program's.
    pub owns_orphans: bool,
}

impl Call<'_> {
    pub fn run(self) -> Result<()> {
        let (name, dir, mounts) = (self.name, self.dir, self.mounts);
        let (limit, owns_orphans) = (self.limit, self.owns_orphans);
        let log = dir.join("log.json");
        let _ = std::fs::remove_file(&log);
        let mut command = self.command(&log);
        // What goes wrong before the program runs is told through a pipe that its execution closes.
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make pipe"))?;
        let namespaces = if mounts.is_some() { flags::NEWNS } else { 0 };
        let child = Clone3 { flags: namespaces, cgroup: None }.spawn(|| {
            let _ = rustix::process::setpgid(None, None);
            let _ = prctl::set_parent_death_signal(Signal::KILL.as_raw());
            let error = match mounts.map_or(Ok(()), Mounts::make) {
                Ok(()) => {
                    let error = command.exec();
                    format!("fork/exec {}: {}", command.get_program().display(), error)
                }
                Err(error) => error.to_string(),
            };
            let _ = File::from(theirs).write_all(error.as_bytes());
            1
        });
        // The streams belong to the container alone.
        drop(command);
        let child = child.map_err(Error::system("make a process for the runtime"))?;
        let exit = wait(&child, &limit, owns_orphans)?;
        if exit == Exit::Code(0) {
            return Ok(());
        }
        let fail = |message| Err(Error::Foreign { command: name, message });
        let mut told = String::new();
        let _ = File::from(ours).take(message::MOST).read_to_string(&mut told);
        if !told.is_empty() {
            return fail(told);
        }
        fail(message::last(&log).unwrap_or_else(|| match exit {
            Exit::Code(code) => format!("the runtime's {name} failed with exit status {code}"),
            Exit::Signal(signal) => format!("the runtime's {name} was ended by signal {signal}"),
        }))
    }

    fn command(self, log: &Path) -> Command {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.args);
        command.arg("--root").arg(self.dir.join("state"));
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        command.arg(self.name).args(&self.arguments);
        command.env_clear().env("PATH", PATH).current_dir(self.dir);
        self.streams.give(&mut command);
        command
    }
}

/// The program's end; a program that takes too long is ended.
fn wait(child: &process::Child, limit: &Timespec, owns_orphans: bool) -> Result<Exit> {
    let failed = |errno| Error::system("wait for the runtime")(errno);
    loop {
        match poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(limit)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
            Ok(0) => {
                unfinished::end(child, owns_orphans);
                return Err(failed(rustix::io::Errno::TIMEDOUT));
            }
            Ok(_) => break,
        }
    }
    process::wait(child.pidfd.as_fd(), true).map_err(failed)?.ok_or_else(|| failed(rustix::io::Errno::CHILD))
}

/// A descriptor of a directory, and the path by which children reach it however long its own is.
pub fn short_path(dir: &Path) -> Result<(OwnedFd, String)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|errno| Error::file("open", dir)(errno.into()))?;
    let path = path_of(&fd);
    Ok((fd, path))
}
