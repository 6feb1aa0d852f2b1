//! The spawner: a single-threaded process beside the engine that forks one supervisor per request.
//!
//! Invariants: it holds nothing but its socket; a supervisor is a fork without exec, so it shares the spawner's pages;
//! supervisors leave no zombie behind, whoever dies first; the spawner ends when the engine's end of the socket closes.
use crate::error::{Error, Result};
use crate::passed_fds;
use crate::supervisor::{self, Start};
use knarr_linux::supervise::{Fork, close_from, fork};
use knarr_linux::{fds, signal};
use knarr_shim_proto::{FdRole, SpawnReply, SpawnRequest, frame};
use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// The kernel should sooner end anything else than a supervisor.
const OOM_SCORE_ADJUSTMENT: i32 = -999;

/// Serves spawn requests on an inherited descriptor until the engine closes its end. Gives the process's exit code.
pub fn main(socket_fd: RawFd) -> i32 {
    match serve(socket_fd) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("knarr-spawner: {error}");
            1
        }
    }
}

fn serve(socket_fd: RawFd) -> Result<()> {
    let socket = own_socket(socket_fd)?;
    // Not in the engine's process group: a Ctrl-C at the engine's terminal is not for containers.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"knarr-spawner");
    let oom_score = lower_oom_score();
    // Known to every supervisor without looking again. Without any the first container says so.
    let _ = knarr_cgroup::Hierarchies::detect();
    // The kernel collects supervisors that end.
    signal::ignore(Signal::CHILD.as_raw()).map_err(Error::system("set disposition of children"))?;
    while let Some((request, fds)) = passed_fds::receive::<SpawnRequest>(socket.as_fd())? {
        let number = request.number;
        let start = match start_of(request, fds, oom_score) {
            Ok(start) => start,
            Err(error) => {
                reply(socket.as_fd(), SpawnReply { number, result: Err(error.failure()) })?;
                continue;
            }
        };
        let result = match fork() {
            Ok(Fork::Child) => {
                drop(socket);
                std::process::exit(become_supervisor(start));
            }
            Ok(Fork::Parent { child }) => Ok(child),
            Err(errno) => Err(Error::system("fork")(errno).failure()),
        };
        drop(start);
        reply(socket.as_fd(), SpawnReply { number, result })?;
    }
    Ok(())
}

/// Takes over the inherited descriptor as a new one, and closes everything else that came with it.
fn own_socket(socket_fd: RawFd) -> Result<OwnedFd> {
    // Reopening by number needs no unsafe code, but a socket cannot be opened by path: it is taken as standard input.
    if socket_fd != 0 {
        return Err(Error::Descriptors);
    }
    let _ = close_from(3);
    rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3).map_err(Error::system("take over socket"))
}

fn start_of(request: SpawnRequest, fds: Vec<OwnedFd>, oom_score: Option<i32>) -> Result<Start> {
    if fds.len() != request.fds.len() {
        return Err(Error::Descriptors);
    }
    let (mut control, mut netns, mut userns, mut kept) = (None, None, None, Vec::new());
    for (role, fd) in request.fds.into_iter().zip(fds) {
        match role {
            FdRole::Control => control = Some(fd),
            FdRole::NetworkNamespace => netns = Some(fd),
            FdRole::UserNamespace => userns = Some(fd),
            FdRole::Keep => kept.push(fd),
        }
    }
    let control = control.ok_or(Error::Descriptors)?;
    Ok(Start { config: request.config, control, netns, userns, kept, oom_score })
}

fn reply(socket: BorrowedFd<'_>, reply: SpawnReply) -> Result<()> {
    let bytes = frame::encode(&reply)?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let sent =
            rustix::net::send(socket, rest, SendFlags::NOSIGNAL).map_err(Error::system("send reply"))?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// In the fork: a session of its own, nothing open but what the container needs.
fn become_supervisor(start: Start) -> i32 {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"knarr-shim");
    let prepared = null_streams()
        .and_then(|()| signal::reset().map_err(Error::system("reset signals")))
        .and_then(|()| signal::ignore(Signal::PIPE.as_raw()).map_err(Error::system("reset signals")))
        .and_then(|()| rustix::process::chdir("/").map_err(Error::system("change directory")));
    match prepared {
        Ok(()) => supervisor::main(start),
        Err(_) => 1,
    }
}

/// The engine's terminal or pipes must not be held open by supervisors.
fn null_streams() -> Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open /dev/null"))?;
    for number in 0..=2 {
        fds::set_standard(number, null.as_fd()).map_err(Error::system("replace standard streams"))?;
    }
    Ok(())
}

/// Lowers this process's (and so every supervisor's) OOM score where permitted, and says what it was.
fn lower_oom_score() -> Option<i32> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(PATH).ok()?.trim().parse().ok()?;
    std::fs::write(PATH, OOM_SCORE_ADJUSTMENT.to_string()).ok()?;
    Some(before)
}
