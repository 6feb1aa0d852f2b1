//! The caller's side: prepare everything, make the process, talk with it until it waits for the start.
use crate::handshake::{self, FromInit, ToInit};
use crate::init::{self, Handles, NotFound};
use crate::plan::{self, Facts, Plan, Step};
use crate::seccomp::Filter;
use crate::{CgroupOptions, CreateOptions, Error, ExecOptions, Result, Stdio, foreign, hooks};
use knarr_cgroup::{Cgroup, Placement};
use knarr_linux::exec::Strings;
use knarr_linux::process::{self, Child, Clone3, flags};
use knarr_linux::{Errno, caps, namespace, rlimit};
use knarr_oci::runtime::{Hook, Linux, NamespaceType, Process, Spec, State, StateStatus};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process of a container that exists and waits before `execve`.
#[derive(Debug)]
pub struct Created {
    /// As the caller sees it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Master side of the terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What was tolerated, such as an unknown capability.
    pub warnings: Vec<String>,
    /// Until the start.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sync: OwnedFd,
    /// To turn a step's number into text.
    steps: Vec<Step>,
    command: String,
    poststart: Option<(Vec<Hook>, State)>,
}

impl Created {
    /// Let the process execute its program. Returns when `execve` has happened, or its error; then the process is ending
    /// and is still to be waited for.
    pub fn start(&mut self) -> Result<()> {
        let waiting = self.waiting.take().ok_or(Error::Invalid { what: "already started".to_owned() })?;
        ToInit::Start.send(waiting.sync.as_fd()).map_err(step_error("start the process"))?;
        match FromInit::receive(waiting.sync.as_fd()).map_err(step_error("start the process"))? {
            // The socket was closed by execve, or by a sudden death, which whoever waits for the process learns of.
            None => {}
            Some((FromInit::Failed { step, errno, detail }, _)) => {
                return Err(failure(&waiting.steps, &waiting.command, step, errno, detail));
            }
            Some(_) => return Err(Error::Invalid { what: "unexpected message of init".to_owned() }),
        }
        match waiting.poststart {
            Some((hooks, state)) => hooks::run(&hooks, &state),
            None => Ok(()),
        }
    }
}

fn step_error(stage: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Step { stage: stage.to_owned(), path: None, errno: errno.raw_os_error() }
}

/// What init reported, as an error.
fn failure(steps: &[Step], command: &str, step: u32, errno: i32, detail: u32) -> Error {
    let step = steps.get(step as usize);
    let text = std::io::Error::from_raw_os_error(errno).kind_text(errno);
    match (step, NotFound::from_detail(detail)) {
        (Some(Step::FindProgram(_)), Some(how)) => {
            let detail = match how {
                NotFound::InPath => "executable file not found in $PATH".to_owned(),
                NotFound::Stat => format!("stat {command}: {text}"),
                NotFound::Executable => text,
            };
            Error::Exec { command: command.to_owned(), detail, errno }
        }
        (Some(Step::Execute), _) => Error::Exec { command: command.to_owned(), detail: text, errno },
        (Some(step), _) => {
            let (stage, path) = step.describe();
            let path = path.map(|p| String::from_utf8_lossy(p.to_bytes()).into_owned().into());
            Error::Step { stage: stage.to_owned(), path, errno }
        }
        (None, _) => Error::Step { stage: "set up the process".to_owned(), path: None, errno },
    }
}

/// Go's texts of the errors that users see, which Docker's clients and their tests know.
trait KindText {
    fn kind_text(&self, errno: i32) -> String;
}
impl KindText for std::io::Error {
    fn kind_text(&self, errno: i32) -> String {
        match Errno::from_raw_os_error(errno) {
            Errno::NOENT => "no such file or directory".to_owned(),
            Errno::ACCESS => "permission denied".to_owned(),
            Errno::ISDIR => "is a directory".to_owned(),
            Errno::NOTDIR => "not a directory".to_owned(),
            Errno::NOEXEC => "exec format error".to_owned(),
            Errno::TXTBSY => "text file busy".to_owned(),
            Errno::PERM => "operation not permitted".to_owned(),
            Errno::TOOBIG => "argument list too long".to_owned(),
            Errno::LOOP => "too many levels of symbolic links".to_owned(),
            Errno::NAMETOOLONG => "file name too long".to_owned(),
            _ => {
                let text = self.to_string();
                text.split(" (os error").next().unwrap_or_default().to_lowercase()
            }
        }
    }
}

/// Make a container's first process; it waits before `execve` for [`Created::start`].
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    create_with(options, None)
}

/// As [`create`]; with a FIFO the start is a byte in it, so that another process can give it.
pub(crate) fn create_with(options: CreateOptions<'_>, fifo: Option<BorrowedFd<'_>>) -> Result<Created> {
    let spec = options.spec;
    let process = spec.process.as_ref().ok_or(Error::Invalid { what: "process is missing".to_owned() })?;
    let linux = spec.linux.clone().unwrap_or_default();
    if options.userns.is_some() {
        return Err(Error::Unsupported { what: "user namespaces".to_owned() });
    }
    if options.preserve_fds > 0 {
        return Err(Error::Unsupported { what: "preserved descriptors".to_owned() });
    }
    let cgroup = cgroup(&options.cgroup, &linux, options.id)?;
    let facts = Facts {
        bundle: options.bundle,
        rootfs: options.rootfs,
        netns_given: options.netns.is_some(),
        terminal: terminal(&options.stdio),
        hierarchies: cgroup.as_ref().map(Cgroup::hierarchies),
        cgroup: cgroup.as_ref().map(Cgroup::path),
        bounding: caps::bounding(),
        hard_limits: hard_limits(),
    };
    let detected;
    let facts = match (&facts.hierarchies, &options.cgroup) {
        (None, CgroupOptions::Inherit) => {
            detected = knarr_cgroup::Hierarchies::detect().ok();
            Facts { hierarchies: detected.as_ref(), ..facts }
        }
        _ => facts,
    };
    let plan = plan::container(spec, &facts)?;
    let filter = filter(&linux, options.seccomp_cache)?;
    let for_init = hooks::ForInit::new(spec, options.id, options.bundle);
    let made = cgroup.as_ref().map(|c| new_group(c, &linux)).transpose()?;
    let undo = made.as_ref().and_then(|new| new.then_some(cgroup.as_ref())).flatten();
    let placement = cgroup.as_ref().map(Cgroup::placement).transpose().map_err(cgroup_error);
    let before = runtime_hooks(&options, spec);
    let result = placement.and_then(|placement| {
        let launch = Launch {
            plan,
            process,
            filter,
            placement,
            netns: options.netns,
            container: None,
            stdio: options.stdio,
            hooks: for_init,
            fifo,
            runtime_hooks: before,
            poststart: spec
                .hooks
                .as_ref()
                .map(|h| h.poststart.clone())
                .filter(|h| !h.is_empty())
                .map(|h| (h, hooks::state(spec, options.id, options.bundle, StateStatus::Running, None))),
        };
        launch.run()
    });
    if result.is_err()
        && let Some(cgroup) = undo
    {
        // The first error is the one to report.
        let _ = cgroup.destroy();
    }
    result
}

fn runtime_hooks(options: &CreateOptions<'_>, spec: &Spec) -> Option<(Vec<Hook>, State)> {
    let all = spec.hooks.as_ref()?;
    let list = all.prestart.iter().chain(&all.create_runtime).cloned().collect();
    Some((list, hooks::state(spec, options.id, options.bundle, StateStatus::Creating, None)))
}

/// Make another process in a running container; it waits before `execve` for [`Created::start`].
pub fn exec(options: ExecOptions<'_>) -> Result<Created> {
    let linux = options.spec.linux.clone().unwrap_or_default();
    let cgroup = cgroup(&options.cgroup, &linux, "")?;
    let facts = Facts {
        bundle: std::path::Path::new("/"),
        rootfs: None,
        netns_given: false,
        terminal: terminal(&options.stdio),
        hierarchies: cgroup.as_ref().map(Cgroup::hierarchies),
        cgroup: cgroup.as_ref().map(Cgroup::path),
        bounding: caps::bounding(),
        hard_limits: hard_limits(),
    };
    let plan = plan::exec(options.process, &linux, &facts)?;
    let filter = filter(&linux, options.seccomp_cache)?;
    let placement = cgroup.as_ref().map(Cgroup::placement).transpose().map_err(cgroup_error)?;
    let launch = Launch {
        plan,
        process: options.process,
        filter,
        placement,
        netns: None,
        container: Some(options.target_pidfd),
        stdio: options.stdio,
        hooks: None,
        fifo: None,
        runtime_hooks: None,
        poststart: None,
    };
    launch.run()
}

fn terminal(stdio: &Stdio) -> Option<(u16, u16)> {
    match stdio {
        Stdio::Terminal { rows, cols } => Some((*rows, *cols)),
        _ => None,
    }
}

fn cgroup(options: &CgroupOptions<'_>, linux: &Linux, id: &str) -> Result<Option<Cgroup>> {
    let path = match options {
        CgroupOptions::Inherit => return Ok(None),
        CgroupOptions::Path(path) => (*path).to_owned(),
        CgroupOptions::FromSpec => match linux.cgroups_path.as_deref().filter(|p| !p.is_empty()) {
            Some(path) if path.contains(':') => {
                return Err(Error::Unsupported { what: format!("systemd cgroup path {path:?}") });
            }
            Some(path) => path.to_owned(),
            None => format!("/{id}"),
        },
    };
    Cgroup::new(&path).map(Some).map_err(cgroup_error)
}

fn cgroup_error(error: knarr_cgroup::Error) -> Error {
    Error::Cgroup(error.to_string())
}

/// Make the group and set its limits. Says whether it is new, so that a failure may remove it.
fn new_group(cgroup: &Cgroup, linux: &Linux) -> Result<bool> {
    let new = !cgroup.exists();
    let limits = linux.resources.as_ref();
    let made = cgroup.create().and_then(|()| limits.map_or(Ok(()), |limits| cgroup.apply(limits)));
    if made.is_err() && new {
        // The first error is the one to report.
        let _ = cgroup.destroy();
    }
    made.map_err(cgroup_error).map(|()| new)
}

fn filter(linux: &Linux, cache: Option<&std::path::Path>) -> Result<Option<Filter>> {
    linux.seccomp.as_ref().map(|profile| crate::seccomp::filter(profile, cache)).transpose()
}

/// `None` for who may raise limits.
fn hard_limits() -> Option<[u64; 16]> {
    const CAP_SYS_RESOURCE: u32 = 24;
    if caps::get().is_ok_and(|sets| sets.effective.contains(CAP_SYS_RESOURCE)) {
        return None;
    }
    let mut limits = [rlimit::UNLIMITED; 16];
    for (number, limit) in limits.iter_mut().enumerate() {
        if let Ok((_, hard)) = rlimit::get(number as u32) {
            *limit = hard;
        }
    }
    Some(limits)
}

/// Everything that the new process takes along.
struct Launch<'a> {
    plan: Plan,
    process: &'a Process,
    filter: Option<Filter>,
    placement: Option<Placement>,
    netns: Option<BorrowedFd<'a>>,
    container: Option<BorrowedFd<'a>>,
    stdio: Stdio,
    hooks: Option<hooks::ForInit>,
    fifo: Option<BorrowedFd<'a>>,
    runtime_hooks: Option<(Vec<Hook>, State)>,
    poststart: Option<(Vec<Hook>, State)>,
}

impl Launch<'_> {
    fn run(mut self) -> Result<Created> {
        let strings = |texts: &[String], what: &str| {
            Strings::from_texts(texts.iter().map(String::as_str))
                .map_err(|_| Error::Invalid { what: format!("{what} contains a zero byte") })
        };
        let arguments = strings(&self.process.args, "args")?;
        let environment = strings(&self.process.env, "env")?;
        let (sync, sync_init) = handshake::pair().map_err(step_error("make a socket pair"))?;
        let stdio: Vec<Option<OwnedFd>> = match std::mem::replace(&mut self.stdio, Stdio::Inherit) {
            Stdio::Pipes { stdin, stdout, stderr } => vec![stdin, Some(stdout), Some(stderr)],
            _ => Vec::new(),
        };
        let foreign = foreign::open(&self.plan)?;
        let (cgroups, cgroup_dir) = match self.placement.take() {
            Some(Placement::V1(files)) => (files, None),
            Some(Placement::V2(directory)) => (Vec::new(), Some(directory)),
            None => (Vec::new(), None),
        };
        let handles = Handles {
            sync: sync_init.as_fd(),
            cgroups: &cgroups,
            netns: self.netns,
            foreign: &foreign,
            container: self.container,
            stdio: &stdio,
            filter: self.filter.as_ref().map(|f| (f.program.as_slice(), f.flags)),
            arguments: &arguments,
            environment: &environment,
            hooks: self.hooks.as_ref(),
            fifo: self.fifo,
        };
        let clone = Clone3 { flags: self.plan.clone_flags, cgroup: cgroup_dir.as_ref().map(AsFd::as_fd) };
        let steps = &self.plan.steps;
        let child = self.in_pid_namespace(|| {
            clone.spawn(|| init::run(steps, &handles)).map_err(step_error("make the process"))
        })?;
        drop((sync_init, stdio, foreign, cgroups, cgroup_dir));
        let console = match self.talk(&sync, &child) {
            Ok(console) => console,
            Err(error) => {
                let _ = process::pidfd_send_signal(child.pidfd.as_fd(), 9);
                let _ = process::wait(child.pidfd.as_fd(), true);
                return Err(error);
            }
        };
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
            }),
        })
    }

    /// A process is born in the PID namespace that its parent has chosen for children; the choice is taken back.
    fn in_pid_namespace<T>(&self, spawn: impl FnOnce() -> Result<T>) -> Result<T> {
        let open = |path: &CString| {
            rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        let opened;
        let wanted = match (&self.plan.pid_namespace, self.container) {
            (Some(path), _) => {
                opened = open(path).map_err(|errno| Error::Step {
                    stage: "open PID namespace".to_owned(),
                    path: Some(String::from_utf8_lossy(path.to_bytes()).into_owned().into()),
                    errno: errno.raw_os_error(),
                })?;
                Some(opened.as_fd())
            }
            (None, container) => container,
        };
        let Some(wanted) = wanted else { return spawn() };
        let own = open(&c"/proc/self/ns/pid".to_owned()).map_err(step_error("open the own PID namespace"))?;
        namespace::join(wanted, flags::NEWPID).map_err(step_error("join the PID namespace"))?;
        let result = spawn();
        namespace::join(own.as_fd(), flags::NEWPID).map_err(step_error("return to the own PID namespace"))?;
        result
    }

    /// Until the process waits for its start. Gives the terminal's master.
    fn talk(&self, sync: &OwnedFd, child: &Child) -> Result<Option<OwnedFd>> {
        let mut console = None;
        loop {
            match FromInit::receive(sync.as_fd()).map_err(step_error("talk with the new process"))? {
                Some((FromInit::Hooks, _)) => {
                    if let Some((list, state)) = &self.runtime_hooks {
                        hooks::run(list, &State { pid: Some(child.pid), ..state.clone() })?;
                    }
                    let proceed = ToInit::Proceed { pid: child.pid };
                    proceed.send(sync.as_fd()).map_err(step_error("talk with the new process"))?;
                }
                Some((FromInit::Console, fd)) => console = fd,
                Some((FromInit::Ready, _)) => return Ok(console),
                Some((FromInit::Failed { step, errno, detail }, _)) => {
                    let command = self.process.args.first().map_or("", String::as_str);
                    return Err(failure(&self.plan.steps, command, step, errno, detail));
                }
                None => return Err(self.died(child)),
            }
        }
    }

    fn died(&self, child: &Child) -> Error {
        let how = match process::wait(child.pidfd.as_fd(), true) {
            Ok(Some(exit)) => format!("{exit:?}"),
            _ => "unknown".to_owned(),
        };
        Error::Died { how }
    }
}

/// Whether the container has its own PID namespace, so that the end of its first process ends all.
pub fn has_pid_namespace(spec: &Spec) -> bool {
    spec.linux.as_ref().and_then(|l| l.namespace(NamespaceType::Pid)).is_some_and(|n| n.path.is_none())
}
