//! A process that was made and waits, and its start.
use crate::handshake::{FromInit, ToInit};
use crate::init::{Detail, failed_hook};
use crate::plan::{MountStep, Step, Target};
use crate::{Error, Result, hooks};
use knarr_linux::{Errno, process};
use knarr_oci::runtime::{Hook, State};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

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
    pub(crate) waiting: Option<Waiting>,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub sync: OwnedFd,
    /// To turn a step's number into text.
    pub steps: Vec<Step>,
    pub command: String,
    pub poststart: Option<(Vec<Hook>, State)>,
    pub timeout: Option<Duration>,
}

impl Created {
    /// Let the process execute its program. Returns when `execve` has happened, or its error; then the process is ending
    /// and is still to be waited for.
    pub fn start(&mut self) -> Result<()> {
        let waiting = self.waiting.take().ok_or(Error::Invalid { what: "already started".to_owned() })?;
        ToInit::Start.send(waiting.sync.as_fd()).map_err(step_error("start the process"))?;
        let answer = receive(waiting.sync.as_fd(), waiting.timeout);
        if let Err(Error::Silent { .. }) = answer {
            let _ = process::pidfd_send_signal(self.pidfd.as_fd(), SIGKILL);
        }
        match answer? {
            // The socket was closed by execve, or by a sudden death, which whoever waits for the process learns of.
            None => {}
            Some((FromInit::Failed { step, errno, detail }, _)) => {
                return Err(failure(&waiting.steps, &waiting.command, step, errno, detail));
            }
            Some(_) => return Err(Error::Invalid { what: "unexpected message of init".to_owned() }),
        }
        match waiting.poststart {
            // A container whose hook fails does not run.
            Some((hooks, state)) => hooks::run("poststart", &hooks, &state).inspect_err(|_| {
                let _ = process::pidfd_send_signal(self.pidfd.as_fd(), SIGKILL);
            }),
            None => Ok(()),
        }
    }
}

pub(crate) fn step_error(stage: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Step { stage: stage.to_owned(), path: None, errno: errno.raw_os_error() }
}

/// The next message; `Silent` if there is none in time.
pub(crate) fn receive(
    sync: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> Result<Option<(FromInit, Option<OwnedFd>)>> {
    FromInit::receive(sync, timeout).map_err(|errno| match errno {
        Errno::TIMEDOUT => Error::Silent { seconds: timeout.unwrap_or_default().as_secs() },
        errno => step_error("talk with the new process")(errno),
    })
}

pub(crate) const SIGKILL: i32 = 9;

/// What init reported, as an error.
pub(crate) fn failure(steps: &[Step], command: &str, step: u32, errno: i32, detail: u32) -> Error {
    let step = steps.get(step as usize);
    if let (Some((number, why)), Some(step)) = (failed_hook(errno, detail), step) {
        let kind = if *step == Step::StartContainerHooks { "startContainer" } else { "createContainer" };
        return hooks::failed(kind, number, None, why);
    }
    let text = text_of(errno);
    let exec = |detail| Error::Exec { command: command.to_owned(), detail, errno };
    match (step, Detail::from_number(detail)) {
        (Some(Step::FindProgram(_)), Some(Detail::NotInPath)) => {
            exec("executable file not found in $PATH".to_owned())
        }
        (Some(Step::FindProgram(_)), Some(Detail::NoProgram)) => exec(format!("stat {command}: {text}")),
        (Some(Step::FindProgram(_)), _) => exec(text),
        (Some(Step::Execute), _) => Error::Execve { command: command.to_owned(), detail: text, errno },
        (Some(step), Some(Detail::NotMappable)) => {
            let path = step.describe().1.map(|p| String::from_utf8_lossy(p.to_bytes()).into_owned());
            let path = path.unwrap_or_default();
            Error::Unsupported { what: format!("id-mapped mounts on the filesystem of {path}") }
        }
        (Some(_), Some(Detail::NoDetachedMounts)) => {
            let what = "a container without a mount namespace, before Linux 6.15".to_owned();
            Error::Unsupported { what }
        }
        (Some(_), Some(Detail::NoProcfs)) => {
            let what = "a PID namespace whose procfs the kernel refuses here: parts of this process's own /proc are covered, or \
                        the namespace belongs to another user namespace";
            Error::Unsupported { what: what.to_owned() }
        }
        (Some(_), Some(Detail::NotProcfs)) => {
            Error::Invalid { what: "/proc cannot be mounted because it is not of type proc".to_owned() }
        }
        (Some(Step::Mount(mount)), None) if is_link_in_the_way(mount, errno) => {
            let path = Some(mount.destination.to_string_lossy().into_owned().into());
            Error::Step {
                stage: "must be mounted on ordinary directory, not on a link:".to_owned(),
                path,
                errno,
            }
        }
        (Some(step), _) => {
            let (stage, path) = step.describe();
            let path = path.map(|p| String::from_utf8_lossy(p.to_bytes()).into_owned().into());
            Error::Step { stage: stage.to_owned(), path, errno }
        }
        (None, _) => Error::Step { stage: "set up the process".to_owned(), path: None, errno },
    }
}

/// `/proc`, `/sys` and what is below `/dev` follow no links.
fn is_link_in_the_way(mount: &MountStep, errno: i32) -> bool {
    mount.target == Target::Strict && errno == Errno::LOOP.raw_os_error()
}

/// Go's texts of the errors that users see, which Docker's clients and their tests know.
pub(crate) fn text_of(errno: i32) -> String {
    let text = match Errno::from_raw_os_error(errno) {
        Errno::NOENT => "no such file or directory",
        Errno::ACCESS => "permission denied",
        Errno::ISDIR => "is a directory",
        Errno::NOTDIR => "not a directory",
        Errno::NOEXEC => "exec format error",
        Errno::TXTBSY => "text file busy",
        Errno::PERM => "operation not permitted",
        Errno::TOOBIG => "argument list too long",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::NAMETOOLONG => "file name too long",
        _ => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            return text.split(" (os error").next().unwrap_or_default().to_lowercase();
        }
    };
    text.to_owned()
}
