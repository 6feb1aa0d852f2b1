//! One or two processes made from a plan, and the talk with them until the last one waits for its start.
use crate::created::{Created, SIGKILL, Waiting, failure, receive, step_error};
use crate::handshake::{self, FromInit, ToInit};
use crate::init::{self, Handles};
use crate::plan::Plan;
use crate::seccomp::Filter;
use crate::seccomp::listener::Listener;
use crate::{Error, Result, Stdio, foreign, hooks, net_devices, rdt, user};
use knarr_cgroup::Placement;
use knarr_linux::exec::Strings;
use knarr_linux::process::{self, Child, Clone3};
use knarr_linux::{Errno, rlimit};
use knarr_oci::runtime::{Hook, Hooks, IntelRdt, NetDevice, Process, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Everything that the new process takes along.
pub(crate) struct Launch<'a> {
    pub plan: Plan,
    pub process: &'a Process,
    pub filter: Option<Filter>,
    pub placement: Option<Placement>,
    pub netns: Option<BorrowedFd<'a>>,
    pub userns: Option<OwnedFd>,
    pub container: Option<BorrowedFd<'a>>,
    pub container_root: Option<OwnedFd>,
    pub stdio: Stdio,
    pub hooks: Option<hooks::ForInit>,
    pub fifo: Option<BorrowedFd<'a>>,
    pub runtime_hooks: Option<(&'a Hooks, State)>,
    pub poststart: Option<(Vec<Hook>, State)>,
    pub timeout: Duration,
    pub preserve_fds: u32,
    pub listener: Option<Listener>,
    /// Of the container, for the listener.
    pub state: State,
    pub net_devices: Option<&'a BTreeMap<String, NetDevice>>,
    pub rdt: Option<(&'a IntelRdt, &'a str)>,
}

/// How a process joins its group.
struct Groups {
    /// Files that it writes itself to.
    files: Vec<OwnedFd>,
    /// A directory that it is made in.
    directory: Option<OwnedFd>,
}

fn groups(placement: Option<Placement>, by_file: bool) -> Result<Groups> {
    Ok(match placement {
        None => Groups { files: Vec::new(), directory: None },
        Some(Placement::V1(files)) => Groups { files, directory: None },
        Some(Placement::V2(directory)) if by_file => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, c"cgroup.procs", flags, Mode::empty());
            Groups { files: vec![file.map_err(step_error("open cgroup.procs"))?], directory: None }
        }
        Some(Placement::V2(directory)) => Groups { files: Vec::new(), directory: Some(directory) },
    })
}

impl Launch<'_> {
    pub(crate) fn run(mut self) -> Result<Created> {
        let strings = |texts: &[String], what: &str| {
            Strings::from_texts(texts.iter().map(String::as_str))
                .map_err(|_| Error::Invalid { what: format!("{what} contains a zero byte") })
        };
        let arguments = strings(&self.process.args, "args")?;
        let environment = strings(&self.process.env, "env")?;
        let (sync, sync_init) = handshake::pair().map_err(step_error("make a socket pair"))?;
        let inherits_stdio = matches!(self.stdio, Stdio::Inherit);
        let stdio: Vec<Option<OwnedFd>> = match std::mem::replace(&mut self.stdio, Stdio::Inherit) {
            Stdio::Pipes { stdin, stdout, stderr } => vec![stdin, Some(stdout), Some(stderr)],
            _ => Vec::new(),
        };
        let id_maps = self.plan.id_maps.iter().map(user::of_maps).collect::<Result<Vec<_>>>()?;
        let userns = self.userns.as_ref().map(AsFd::as_fd);
        let foreign = foreign::open(&self.plan, userns, &id_maps)?;
        let groups = groups(self.placement.take(), self.plan.cgroup_by_file)?;
        let handles = Handles {
            sync: sync_init.as_fd(),
            cgroups: &groups.files,
            netns: self.netns,
            userns: self.userns.as_ref().map(AsFd::as_fd),
            id_maps: &id_maps,
            foreign: &foreign,
            container: self.container,
            container_root: self.container_root.as_ref().map(AsFd::as_fd),
            stdio: &stdio,
            inherits_stdio,
            filter: self.filter.as_ref().map(|f| (f.program.as_slice(), f.flags)),
            arguments: &arguments,
            environment: &environment,
            hooks: self.hooks.as_ref(),
            fifo: self.fifo,
            preserve_fds: self.preserve_fds,
        };
        let clone =
            Clone3 { flags: self.plan.clone_flags, cgroup: groups.directory.as_ref().map(AsFd::as_fd) };
        let steps = &self.plan.steps;
        let first = clone.spawn(|| init::run(steps, &handles)).map_err(step_error("make the process"))?;
        drop((sync_init, stdio, foreign, id_maps, groups));
        let mut early = VecDeque::new();
        let child = if self.plan.spawns() { self.born(&sync, first, &mut early)? } else { first };
        let console = match self.talk(&sync, &child, early) {
            Ok(console) => console,
            Err(error) => {
                end(&child);
                return Err(error);
            }
        };
        let timeout = self.with_hooks(self.hooks.as_ref().map(|hooks| &hooks.start_container));
        let Child { pid, pidfd } = child;
        Ok(Created {
            pid,
            pidfd,
            console,
            warnings: self.plan.warnings,
            waiting: Some(Waiting {
                sync,
                steps: self.plan.steps,
                command: self.process.args.first().cloned().unwrap_or_default(),
                poststart: self.poststart.map(|(hooks, state)| (hooks, State { pid: Some(pid), ..state })),
                timeout,
            }),
        })
    }

    /// The process that goes on where the first one ends. It may have said something before it is known: that is kept.
    fn born(&self, sync: &OwnedFd, first: Child, early: &mut VecDeque<Message>) -> Result<Child> {
        let born = loop {
            match receive(sync.as_fd(), Some(self.timeout)) {
                Ok(Some((FromInit::Born { pid }, Some(pidfd)))) => break Ok(Child { pid, pidfd }),
                Ok(Some(other)) if early.len() < MAX_EARLY => early.push_back(other),
                Ok(_) => break Err(None),
                Err(error) => break Err(Some(error)),
            }
        };
        match born {
            Ok(child) => {
                // It has nothing more to do.
                let _ = process::wait(first.pidfd.as_fd(), true);
                Ok(child)
            }
            Err(Some(error)) => {
                end(&first);
                Err(error)
            }
            Err(None) => {
                let failed = early.iter().find_map(|(message, _)| self.failed(*message));
                let error = failed.unwrap_or_else(|| self.died(&first));
                end(&first);
                Err(error)
            }
        }
    }

    /// Until the process waits for its start. Gives the terminal's master.
    fn talk(
        &mut self,
        sync: &OwnedFd,
        child: &Child,
        mut early: VecDeque<Message>,
    ) -> Result<Option<OwnedFd>> {
        let timeout = self.with_hooks(self.hooks.as_ref().map(|hooks| &hooks.create_container));
        let mut console = None;
        loop {
            let message = match early.pop_front() {
                Some(message) => Some(message),
                None => receive(sync.as_fd(), timeout)?,
            };
            match message {
                Some((FromInit::Hooks, _)) => {
                    // Hooks of the runtime find the container as it is going to be.
                    self.net_devices
                        .take()
                        .map_or(Ok(()), |devices| net_devices::give(devices, child.pid))?;
                    if let Some((hooks, state)) = &self.runtime_hooks {
                        let state = State { pid: Some(child.pid), ..state.clone() };
                        hooks::run("prestart", &hooks.prestart, &state)?;
                        hooks::run("createRuntime", &hooks.create_runtime, &state)?;
                    }
                    ToInit::Proceed.send(sync.as_fd()).map_err(step_error("talk with the new process"))?;
                }
                Some((FromInit::Console, fd)) => console = fd,
                Some((FromInit::Listener { number }, _)) => self.hand_over(child, number)?,
                Some((FromInit::Ready, _)) => {
                    self.net_devices
                        .take()
                        .map_or(Ok(()), |devices| net_devices::give(devices, child.pid))?;
                    self.set_limits(child)?;
                    return Ok(console);
                }
                Some((FromInit::Born { .. }, _)) => {
                    return Err(Error::Invalid { what: "unexpected message of init".to_owned() });
                }
                Some((failed @ FromInit::Failed { .. }, _)) => {
                    return Err(self.failed(failed).unwrap_or_else(|| self.died(child)));
                }
                None => return Err(self.died(child)),
            }
        }
    }

    /// Whoever listens decides calls of the process from now on.
    fn hand_over(&self, child: &Child, number: i32) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let fetched = process::pidfd_getfd(child.pidfd.as_fd(), number);
        let fetched = fetched.map_err(step_error("fetch the seccomp descriptor"))?;
        let pid = self.state.pid.or(Some(child.pid));
        listener.hand_over(fetched, child.pid, &State { pid, ..self.state.clone() })
    }

    /// Nothing executed runs before these hold.
    fn set_limits(&self, child: &Child) -> Result<()> {
        if let Some(scheduling) = &self.plan.scheduling {
            process::set_scheduling(child.pid, scheduling).map_err(step_error("set the scheduler"))?;
        }
        if let Some((rdt, id)) = self.rdt {
            rdt::join(rdt, id, child.pid)?;
        }
        self.plan.limits.iter().try_for_each(|limit| {
            rlimit::set_of(child.pid, limit.number, limit.soft, limit.hard)
                .map_err(step_error("set resource limit"))
        })
    }

    fn failed(&self, message: FromInit) -> Option<Error> {
        let FromInit::Failed { step, errno, detail } = message else { return None };
        let command = self.process.args.first().map_or("", String::as_str);
        Some(failure(&self.plan.steps, command, step, errno, detail))
    }

    /// How long to wait for a message that hooks of the process come before; without end if one of them has no timeout.
    fn with_hooks(&self, hooks: Option<&Vec<Hook>>) -> Option<Duration> {
        hooks.into_iter().flatten().try_fold(self.timeout, |all, hook| {
            let seconds = u64::try_from(hook.timeout?).ok()?;
            all.checked_add(Duration::from_secs(seconds))
        })
    }

    fn died(&self, child: &Child) -> Error {
        let how = match process::wait(child.pidfd.as_fd(), true) {
            Ok(Some(exit)) => format!("{exit:?}"),
            _ => "unknown".to_owned(),
        };
        Error::Died { how }
    }
}

type Message = (FromInit, Option<OwnedFd>);

/// Messages that the second process may send before the first has told of it.
const MAX_EARLY: usize = 4;

/// How long a process that was killed is waited for. One of a frozen group (cgroup v1) ends when that is thawed.
const KILL_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

fn end(child: &Child) {
    let _ = process::pidfd_send_signal(child.pidfd.as_fd(), SIGKILL);
    let mut ended = [PollFd::new(&child.pidfd, PollFlags::IN)];
    while let Err(Errno::INTR) = poll(&mut ended, Some(&KILL_TIMEOUT)) {}
    let _ = process::wait(child.pidfd.as_fd(), false);
}
