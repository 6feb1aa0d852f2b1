//! The new process: carries out the steps of a [`crate::plan::Plan`], waits, executes. With [`Step::Spawn`] among the steps it is
//! two processes, one after the other.
//!
//! Invariants: it runs after `clone3` in a copy of a single-threaded process, owns nothing that its parent owns, and ends by
//! `execve` or `_exit`. A failing step is reported by its number; text is made of it by the parent.
mod identity;
mod layers;
mod program;
mod root;
mod streams;
mod tree;

use crate::handshake::{FromInit, ToInit};
use crate::hooks::Why;
use crate::plan::Step;
use knarr_linux::bpf::Instruction;
use knarr_linux::exec::Strings;
use knarr_linux::mount::{self, Propagation};
use knarr_linux::path::Root;
use knarr_linux::process::Clone3;
use knarr_linux::{Errno, fds, namespace, prctl, process, seccomp, signal, user_namespace};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the error number alone does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Detail {
    /// The program is none of several candidates.
    NotInPath = 1,
    /// stat(2) of the only candidate failed.
    NoProgram = 2,
    /// It is there, but may not be executed, or is a directory.
    NotExecutable = 3,
    /// The filesystem has no id-mapped mounts.
    NotMappable = 4,
    /// Before Linux 6.15 nothing can be mounted in a tree that is detached.
    NoDetachedMounts = 5,
    /// The kernel refuses a procfs of the container's own PID namespace.
    NoProcfs = 6,
    /// Something else than a procfs is to be bound in its place.
    NotProcfs = 7,
}

impl Detail {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let all = [
            Self::NotInPath,
            Self::NoProgram,
            Self::NotExecutable,
            Self::NotMappable,
            Self::NoDetachedMounts,
            Self::NoProcfs,
            Self::NotProcfs,
        ];
        all.into_iter().find(|detail| *detail as u32 == number)
    }
}

/// What was opened and put together for the new process by its parent.
#[derive(Debug)]
pub(crate) struct Handles<'a> {
    pub sync: BorrowedFd<'a>,
    /// `tasks` of each v1 tree, or `cgroup.procs`.
    pub cgroups: &'a [OwnedFd],
    pub netns: Option<BorrowedFd<'a>>,
    pub userns: Option<BorrowedFd<'a>>,
    /// User namespaces that only say how a mount is mapped, by number.
    pub id_maps: &'a [OwnedFd],
    /// Detached mounts for the plan's foreign sources.
    pub foreign: &'a [OwnedFd],
    /// The container's first process, for another process in it.
    pub container: Option<BorrowedFd<'a>>,
    /// Its root.
    pub container_root: Option<BorrowedFd<'a>>,
    /// Standard input, output, error; `None` is the container's `/dev/null`. Empty: those of the parent stay.
    pub stdio: &'a [Option<OwnedFd>],
    /// Those of the parent are the program's, and are given to its user.
    pub inherits_stdio: bool,
    pub filter: Option<(&'a [Instruction], u64)>,
    pub arguments: &'a Strings,
    pub environment: &'a Strings,
    pub hooks: Option<&'a crate::hooks::ForInit>,
    /// Read to learn of the start, in place of the socket.
    pub fifo: Option<BorrowedFd<'a>>,
    /// Descriptors behind the standard streams that the program gets.
    pub preserve_fds: u32,
}

pub(crate) const FIRST_PRESERVED: u32 = 3;

/// How a hook failed is told as a detail with the hook's number; then the error number is its exit code.
const HOOK_ENDED: u32 = 0x1_0000;
const HOOK_NOT_RUN: u32 = 0x2_0000;
const HOOK_TIMED_OUT: u32 = 0x3_0000;
/// The error number is a signal.
const HOOK_KILLED: u32 = 0x4_0000;
const HOOK_NUMBER: u32 = 0xffff;

/// The hook that a detail tells of.
pub(crate) fn failed_hook(errno: i32, detail: u32) -> Option<(usize, Why)> {
    let why = match detail & !HOOK_NUMBER {
        HOOK_ENDED => Why::Ended(errno),
        HOOK_KILLED => Why::Killed(errno),
        HOOK_NOT_RUN => Why::NotRun(errno),
        HOOK_TIMED_OUT => Why::TimedOut,
        _ => return None,
    };
    Some(((detail & HOOK_NUMBER) as usize, why))
}

/// Why a step failed: an error number, and a [`Detail`] or a hook's.
pub(crate) struct Failure {
    errno: i32,
    detail: u32,
}

impl Failure {
    fn new(errno: Errno, detail: Option<Detail>) -> Self {
        Self { errno: errno.raw_os_error(), detail: detail.map_or(0, |detail| detail as u32) }
    }

    fn is_refusal(&self) -> bool {
        [Errno::ACCESS, Errno::PERM].iter().any(|errno| errno.raw_os_error() == self.errno)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::new(errno, None)
    }
}

const ENOENT: i32 = Errno::NOENT.raw_os_error();

type Outcome = Result<(), Failure>;

/// The process while it becomes the container's.
struct Init<'a> {
    handles: &'a Handles<'a>,
    root: Option<Root>,
    /// The same without links.
    strict: Option<Root>,
    /// procfs of the new PID namespace that nothing is mounted over.
    procfs: Option<Root>,
    /// The root before it is attached.
    opened_root: Option<OwnedFd>,
    /// Where it is attached: a directory that is the container's.
    root_place: Option<&'a CStr>,
    /// Sources of binds that were opened before, by number.
    sources: Vec<OwnedFd>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    shared_host: bool,
    /// Mounts are made in a tree that is attached nowhere.
    detached: bool,
    /// The start was the byte of another process: nobody listens to what fails afterwards.
    alone: bool,
    program: Option<&'a CStr>,
    entered: bool,
}

fn new_time_namespace(offsets: &CStr) -> Outcome {
    namespace::unshare(process::flags::NEWTIME)?;
    if offsets.is_empty() {
        return Ok(());
    }
    rustix::io::write(open_own(c"/proc/self/timens_offsets")?, offsets.to_bytes())?;
    Ok(())
}

/// A file of procfs belongs to root when nobody may trace this process, so for a moment somebody may: its own user, who sees
/// it outside of the container only.
fn open_own(path: &CStr) -> knarr_linux::Result<OwnedFd> {
    prctl::set_dumpable(true)?;
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    prctl::set_dumpable(false)?;
    file
}

/// Never returns to the caller's code: its value is the exit code.
pub(crate) fn run(steps: &[Step], handles: &Handles<'_>) -> u8 {
    let mut init = Init {
        handles,
        root: None,
        strict: None,
        procfs: None,
        opened_root: None,
        root_place: None,
        sources: Vec::new(),
        null: None,
        empty: None,
        terminal: None,
        shared_host: false,
        detached: false,
        alone: false,
        program: None,
        entered: false,
    };
    if let Err(failure) = init.prepare() {
        init.report(0, &failure);
        return 1;
    }
    init.carry_out(steps, 0)
}

impl<'a> Init<'a> {
    fn report(&self, step: u32, failure: &Failure) {
        let message = FromInit::Failed { step, errno: failure.errno, detail: failure.detail };
        // Nobody else could be told.
        let _ = message.send(self.handles.sync, None);
    }

    /// On the container's standard error, with the exit code that a shell would give.
    fn say(&self, step: &Step, failure: &Failure) -> u8 {
        let errno = failure.errno;
        let text = crate::created::text_of(errno);
        let (line, code) = match (step, self.handles.arguments.get(0)) {
            (Step::Execute, Some(name)) => (
                format!("exec {}: {text}\n", name.to_string_lossy()),
                if errno == ENOENT { 127 } else { 126 },
            ),
            _ => {
                let error = crate::created::failure(std::slice::from_ref(step), "", 0, errno, failure.detail);
                (format!("{error}\n"), 1)
            }
        };
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        code
    }

    /// Leave behind what the parent is, before anything of the container can see this process.
    fn prepare(&self) -> Outcome {
        prctl::set_dumpable(false)?;
        let h = self.handles;
        let groups = h.cgroups.iter().chain(h.foreign).chain(h.id_maps).map(|fd| fd.as_fd());
        let namespaces = h.netns.into_iter().chain(h.userns).chain(h.container).chain(h.container_root);
        fds::close_all_except(self.first(), self.kept().chain(groups).chain(namespaces))?;
        signal::reset()?;
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    /// The first descriptor that the program does not get.
    fn first(&self) -> u32 {
        FIRST_PRESERVED + self.handles.preserve_fds
    }

    /// What is needed until the streams are set up.
    fn kept(&self) -> impl Iterator<Item = BorrowedFd<'a>> {
        self.talk().chain(self.handles.stdio.iter().flatten().map(|fd| fd.as_fd()))
    }

    /// What is needed to the end; it closes itself at execve.
    fn talk(&self) -> impl Iterator<Item = BorrowedFd<'a>> {
        let h = self.handles;
        std::iter::once(h.sync).chain(h.fifo)
    }

    /// Descriptors of this process's own.
    fn let_go(&mut self) {
        (self.root, self.strict, self.procfs) = (None, None, None);
        (self.opened_root, self.null, self.empty, self.terminal) = (None, None, None, None);
        self.sources = Vec::new();
    }

    /// The steps from one on. Its value is the exit code.
    fn carry_out(&mut self, steps: &'a [Step], from: usize) -> u8 {
        for (number, step) in steps.iter().enumerate().skip(from) {
            let done = match step {
                Step::Spawn { flags } => match self.spawn(*flags, steps, number + 1) {
                    Ok(()) => return 0,
                    Err(errno) => Err(Failure::from(errno)),
                },
                other => self.apply(other),
            };
            if let Err(failure) = done {
                if self.alone {
                    return self.say(step, &failure);
                }
                self.report(number as u32, &failure);
                return 1;
            }
        }
        1
    }

    /// The process that goes on is a sibling: our parent is its parent too, and is told which it is.
    fn spawn(&mut self, flags: u64, steps: &'a [Step], next: usize) -> knarr_linux::Result<()> {
        let clone = Clone3 { flags: flags | process::flags::PARENT, cgroup: None };
        let sync = self.handles.sync;
        let child = clone.spawn(|| self.carry_out(steps, next))?;
        FromInit::Born { pid: child.pid }.send(sync, Some(child.pidfd.as_fd()))
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
            Step::JoinUser => self.join_user(),
            Step::JoinContainer { flags } => self.join_container(*flags),
            Step::NewTimeNamespace { offsets } => new_time_namespace(offsets),
            Step::Affinity(processors) => Ok(process::set_affinity(processors)?),
            Step::AnyProcessor => {
                // A group without any of them: then those of the caller stay.
                let _ = process::set_any_affinity();
                Ok(())
            }
            Step::MemoryPolicy { mode, nodes } => Ok(process::set_memory_policy(*mode, nodes)?),
            Step::Remount(remount) => self.remount(remount),
            Step::SeparateMounts => Ok(namespace::unshare(process::flags::NEWNS)?),
            Step::GiveStreams { uid } => self.give_streams(*uid),
            Step::NewCgroupNamespace => Ok(namespace::unshare(process::flags::NEWCGROUP)?),
            Step::OomScore(score) => self.write_host(c"/proc/self/oom_score_adj", score),
            Step::Session => rustix::process::setsid().map(drop).map_err(Failure::from),
            Step::HostName(name) => Ok(rustix::system::sethostname(name.to_bytes())?),
            Step::DomainName(name) => Ok(rustix::system::setdomainname(name.to_bytes())?),
            Step::HostPropagation(propagation) => self.host_propagation(*propagation),
            Step::OpenRoot(source) => self.open_root(source),
            Step::AttachRoot => self.attach_root(),
            Step::KeepRootDetached => self.keep_root_detached(),
            Step::ChangeRoot => self.change_root(),
            Step::EnterRoot => self.enter_root(),
            Step::NewKeyring => Ok(knarr_linux::keyring::new_session()?),
            Step::OpenSource { path, recursive, mapping, .. } => {
                let source = self.clone_mapped(path, *recursive, *mapping)?;
                self.sources.push(source);
                Ok(())
            }
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
            Step::Filter => self.filter(),
            Step::PrivilegedFilter(sets) => {
                identity::raise_admin()?;
                self.filter()?;
                Ok(knarr_linux::caps::set(sets)?)
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

    fn join_user(&self) -> Outcome {
        namespace::join(self.handles.userns.ok_or(Errno::BADF)?, process::flags::NEWUSER)?;
        Ok(user_namespace::become_root()?)
    }

    fn join_container(&mut self, flags: u64) -> Outcome {
        let container = self.handles.container.ok_or(Errno::BADF)?;
        namespace::join(container, flags)?;
        // What remains is what the container's process has too.
        fds::close_all_except(self.first(), self.kept().chain(self.handles.container_root))?;
        if flags & process::flags::NEWUSER != 0 {
            user_namespace::become_root()?;
        }
        self.take_current_root()
    }

    fn host_propagation(&mut self, propagation: Propagation) -> Outcome {
        self.shared_host = propagation == Propagation::Shared;
        let wanted = if self.shared_host { Propagation::Private } else { propagation };
        Ok(mount::set_root_propagation(wanted, !self.shared_host)?)
    }

    /// A file of the host, while its root is still ours.
    fn write_host(&self, path: &CStr, value: &CStr) -> Outcome {
        let file = match rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::ACCESS) => open_own(path)?,
            done => done?,
        };
        rustix::io::write(&file, value.to_bytes())?;
        Ok(())
    }

    fn runtime_hooks(&self) -> Outcome {
        FromInit::Hooks.send(self.handles.sync, None)?;
        match ToInit::receive(self.handles.sync)? {
            Some(ToInit::Proceed) => Ok(()),
            _ => process::exit(1),
        }
    }

    fn run_hooks(&self, start: bool) -> Outcome {
        let Some(hooks) = self.handles.hooks else { return Ok(()) };
        let (list, environment) = match start {
            true => (&hooks.start_container, Some(hooks.environment.as_slice())),
            false => (&hooks.create_container, None),
        };
        crate::hooks::run_in_init(list, &hooks.state(), environment).map_err(|(number, why)| {
            let (kind, errno) = match why {
                Why::Ended(code) => (HOOK_ENDED, code),
                Why::Killed(signal) => (HOOK_KILLED, signal),
                Why::NotRun(errno) => (HOOK_NOT_RUN, errno),
                Why::TimedOut => (HOOK_TIMED_OUT, 0),
            };
            Failure { errno, detail: kind | number as u32 & HOOK_NUMBER }
        })
    }

    /// With a listener its descriptor is fetched by the parent: a message with descriptors could be a call that is to be
    /// notified of, and nobody would listen yet.
    fn filter(&self) -> Outcome {
        let (program, flags) = self.handles.filter.ok_or(Errno::INVAL)?;
        let number = seccomp::install(program, flags)?;
        if flags & seccomp::flags::NEW_LISTENER != 0 {
            FromInit::Listener { number }.send(self.handles.sync, None)?;
        }
        Ok(())
    }

    fn gate(&mut self) -> Outcome {
        FromInit::Ready.send(self.handles.sync, None)?;
        if let Some(fifo) = self.handles.fifo {
            let mut byte = [0];
            rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte))?;
            self.alone = true;
            return Ok(());
        }
        match ToInit::receive(self.handles.sync)? {
            Some(ToInit::Start) => Ok(()),
            // Nobody is left who could want it to run.
            _ => process::exit(1),
        }
    }
}
