//! The new process: carries out the steps of a [`crate::plan::Plan`], waits, executes.
//!
//! Invariants: it runs after `clone3` in a copy of a single-threaded process, owns nothing that its parent owns, and ends by
//! `execve` or `_exit`. A failing step is reported by its number; text is made of it by the parent.
mod identity;
mod program;
mod root;
mod streams;
mod tree;

use crate::handshake::{FromInit, ToInit};
use crate::plan::Step;
use knarr_linux::bpf::Instruction;
use knarr_linux::exec::Strings;
use knarr_linux::mount::{self, Propagation};
use knarr_linux::path::Root;
use knarr_linux::{Errno, fds, namespace, prctl, process, seccomp, signal};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use program::NotFound;

/// What was opened and put together for the new process by its parent.
#[derive(Debug)]
pub(crate) struct Handles<'a> {
    pub sync: BorrowedFd<'a>,
    /// `cgroup.procs` of each v1 tree.
    pub cgroups: &'a [OwnedFd],
    pub netns: Option<BorrowedFd<'a>>,
    /// Detached mounts for the plan's foreign sources.
    pub foreign: &'a [OwnedFd],
    /// The container's first process, for another process in it.
    pub container: Option<BorrowedFd<'a>>,
    /// Standard input, output, error; `None` is the container's `/dev/null`. Empty: those of the parent stay.
    pub stdio: &'a [Option<OwnedFd>],
    pub filter: Option<(&'a [Instruction], u64)>,
    pub arguments: &'a Strings,
    pub environment: &'a Strings,
    pub hooks: Option<&'a crate::hooks::ForInit>,
    /// Read to learn of the start, in place of the socket.
    pub fifo: Option<BorrowedFd<'a>>,
}

/// Why a step failed: an error number, and for a program that is not found, how.
pub(crate) struct Failure {
    errno: Errno,
    detail: u32,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, detail: 0 }
    }
}

type Outcome = Result<(), Failure>;

/// The process while it becomes the container's.
struct Init<'a> {
    handles: &'a Handles<'a>,
    root: Option<Root>,
    /// The same without links.
    strict: Option<Root>,
    /// procfs of the new PID namespace that nothing is mounted over.
    procfs: Option<Root>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    shared_host: bool,
    host_pid: i32,
    program: Option<&'a CStr>,
}

/// Never returns to the caller's code: its value is the exit code.
pub(crate) fn run(steps: &[Step], handles: &Handles<'_>) -> u8 {
    let mut init = Init {
        handles,
        root: None,
        strict: None,
        procfs: None,
        null: None,
        empty: None,
        terminal: None,
        shared_host: false,
        host_pid: 0,
        program: None,
    };
    if let Err(failure) = init.prepare() {
        init.report(0, &failure);
        return 1;
    }
    for (number, step) in steps.iter().enumerate() {
        if let Err(failure) = init.apply(step) {
            init.report(number as u32, &failure);
            return 1;
        }
    }
    1
}

impl<'a> Init<'a> {
    fn report(&self, step: u32, failure: &Failure) {
        let message = FromInit::Failed { step, errno: failure.errno.raw_os_error(), detail: failure.detail };
        // Nobody else could be told.
        let _ = message.send(self.handles.sync, None);
    }

    /// Leave behind what the parent is, before anything of the container can see this process.
    fn prepare(&self) -> Outcome {
        prctl::set_dumpable(false)?;
        let mut keep: [BorrowedFd<'_>; 48] = [self.handles.sync; 48];
        let h = self.handles;
        let all = h.cgroups.iter().map(|fd| fd.as_fd()).chain(h.netns).chain(h.container).chain(h.fifo);
        let all = all.chain(h.foreign.iter().map(|fd| fd.as_fd()));
        let all = all.chain(h.stdio.iter().flatten().map(|fd| fd.as_fd()));
        for (place, fd) in keep.iter_mut().skip(1).zip(all) {
            *place = fd;
        }
        fds::close_all_except(&keep)?;
        signal::reset()?;
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    fn apply(&mut self, step: &'a Step) -> Outcome {
        match step {
            Step::JoinCgroup => self.join_cgroup(),
            Step::JoinNamespace { flag, path } => {
                let fd = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                Ok(namespace::join(fd.as_fd(), *flag)?)
            }
            Step::JoinGivenNetwork => {
                Ok(namespace::join(self.handles.netns.ok_or(Errno::BADF)?, process::flags::NEWNET)?)
            }
            Step::JoinContainer => self.join_container(),
            Step::NewCgroupNamespace => Ok(namespace::unshare(process::flags::NEWCGROUP)?),
            Step::OomScore(score) => self.write_host(c"/proc/self/oom_score_adj", score),
            Step::Session => rustix::process::setsid().map(drop).map_err(Failure::from),
            Step::HostName(name) => Ok(rustix::system::sethostname(name.to_bytes())?),
            Step::DomainName(name) => Ok(rustix::system::setdomainname(name.to_bytes())?),
            Step::HostPropagation(propagation) => self.host_propagation(*propagation),
            Step::RootOverlay { lower, upper, work } => {
                let mounted = mount::overlay(lower, upper, work, &[])?;
                self.set_root(mounted)
            }
            Step::RootDirectory(path) => self.set_root(mount::clone_path(path, true)?),
            Step::Mount(step) => self.mount(step),
            Step::SetAttributes { path, attributes } => self.set_attributes(path, attributes),
            Step::Device(device) => self.device(device),
            Step::Link { path, target } => self.link(path, target),
            Step::Terminal { rows, cols, uid, console } => self.terminal(*rows, *cols, *uid, *console),
            Step::Stdio { uid } => self.stdio(*uid),
            Step::Sysctl { path, value } => self.sysctl(path, value),
            Step::Mask(path) => self.mask(path),
            Step::ReadOnlyPath(path) => self.read_only_path(path),
            Step::MakeWorkingDirectory(path) => self.make_working_directory(path),
            Step::RuntimeHooks => self.runtime_hooks(),
            Step::CreateContainerHooks => self.run_hooks(false),
            Step::ReadOnlyRoot => self.read_only_root(),
            Step::Pivot => self.pivot(),
            Step::RootPropagation(propagation) => Ok(mount::set_root_propagation(*propagation, true)?),
            Step::Gate => self.gate(),
            Step::StartContainerHooks => self.run_hooks(true),
            Step::Filter => {
                let (program, flags) = self.handles.filter.ok_or(Errno::INVAL)?;
                Ok(seccomp::install(program, flags)?)
            }
            Step::FindProgram(candidates) => self.find_program(candidates),
            Step::Execute => self.execute(),
            other => identity::apply(self, other),
        }
    }

    fn join_cgroup(&self) -> Outcome {
        for file in self.handles.cgroups {
            rustix::io::write(file, b"0")?;
        }
        Ok(())
    }

    fn join_container(&mut self) -> Outcome {
        use process::flags::{NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWUTS};
        let container = self.handles.container.ok_or(Errno::BADF)?;
        namespace::join(container, NEWIPC | NEWUTS | NEWNET | NEWCGROUP | NEWNS)?;
        self.take_current_root()
    }

    fn host_propagation(&mut self, propagation: Propagation) -> Outcome {
        self.shared_host = propagation == Propagation::Shared;
        let wanted = if self.shared_host { Propagation::Private } else { propagation };
        Ok(mount::set_root_propagation(wanted, !self.shared_host)?)
    }

    /// A file of the host, while its root is still ours.
    fn write_host(&self, path: &CStr, value: &CStr) -> Outcome {
        let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, value.to_bytes())?;
        Ok(())
    }

    fn runtime_hooks(&mut self) -> Outcome {
        FromInit::Hooks.send(self.handles.sync, None)?;
        match ToInit::receive(self.handles.sync)? {
            Some(ToInit::Proceed { pid }) => self.host_pid = pid,
            _ => process::exit(1),
        }
        Ok(())
    }

    fn run_hooks(&self, start: bool) -> Outcome {
        let Some(hooks) = self.handles.hooks else { return Ok(()) };
        let list = if start { &hooks.start_container } else { &hooks.create_container };
        crate::hooks::run(list, &hooks.state(self.host_pid)).map_err(|_| Failure::from(Errno::CANCELED))
    }

    fn gate(&self) -> Outcome {
        FromInit::Ready.send(self.handles.sync, None)?;
        if let Some(fifo) = self.handles.fifo {
            let mut byte = [0];
            rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte))?;
            return Ok(());
        }
        match ToInit::receive(self.handles.sync)? {
            Some(ToInit::Start) => Ok(()),
            // Nobody is left who could want it to run.
            _ => process::exit(1),
        }
    }
}
