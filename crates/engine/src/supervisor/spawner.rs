//! The process that forks supervisors.
//!
//! Invariants: it is executed from a sealed copy of the engine's executable; one request is on its socket at a time; when
//! it dies, the next request starts another. Supervisors that it forked do not depend on it.
use super::error::{Error, Result};
use super::handle::{Events, ShimHandle, within};
use super::wire;
use knarr_shim_proto::{Event, FdRole, ShimConfig, SpawnReply, SpawnRequest, frame};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// Longest wait for a fork.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the container's first process to exist.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a spawner may take to end when its socket is closed.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after it was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
const END_PAUSE: Duration = Duration::from_millis(5);
/// How it is called, so that the executable knows what to be.
const ARGV0: &str = "knarr-spawner";

/// Starts supervisors. Copies share one process; it ends when the last copy is dropped.
#[derive(Debug, Clone)]
pub struct Spawner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    executable: OwnedFd,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    socket: UnixStream,
    child: Child,
    last_number: u64,
}

/// A supervisor whose container waits for `start`.
#[derive(Debug)]
pub struct Spawned {
    pub handle: ShimHandle,
    pub events: Events,
    /// The container's init, as the host sees it.
    pub pid: i32,
    pub pid_start_time: u64,
    pub shim_pid: i32,
}

impl Spawner {
    /// Starts the spawner from a descriptor of the executable (a sealed copy).
    pub async fn start(executable: OwnedFd) -> Result<Self> {
        let inner = Arc::new(Inner { executable, process: Mutex::new(None) });
        *inner.process.lock().await = Some(execute(Arc::clone(&inner)).await?);
        Ok(Self { inner })
    }

    /// Starts a supervisor, and waits until the container's init exists.
    /// `passed` are the namespaces that the container joins, and what is to be kept.
    pub async fn spawn(&self, config: ShimConfig, passed: &[(FdRole, BorrowedFd<'_>)]) -> Result<Spawned> {
        let dir = config.dir.clone();
        let (ours, theirs) = BlockingUnixStream::pair().map_err(Error::io("make control connection"))?;
        ours.set_nonblocking(true).map_err(Error::io("make control connection"))?;
        let ours = UnixStream::from_std(ours).map_err(Error::io("make control connection"))?;
        let mut roles = vec![FdRole::Control];
        let mut fds = vec![theirs.as_fd()];
        roles.extend(passed.iter().map(|(role, _)| *role));
        fds.extend(passed.iter().map(|(_, fd)| *fd));
        let shim_pid = self.request(config, roles, &fds).await?;
        drop(theirs);
        let (handle, mut events) = ShimHandle::over(ours, &dir);
        let first = within(CREATE_TIMEOUT, async { events.recv().await.ok_or(Error::Gone) }).await?;
        match first {
            Event::Created { pid, start_time } => {
                Ok(Spawned { handle, events, pid, pid_start_time: start_time, shim_pid })
            }
            Event::CreateFailed(failure) => Err(failure.into()),
            _ => Err(Error::Unexpected),
        }
    }

    /// One request and its reply; a spawner that is gone is started again once.
    async fn request(&self, config: ShimConfig, roles: Vec<FdRole>, fds: &[BorrowedFd<'_>]) -> Result<i32> {
        let mut slot = self.inner.process.lock().await;
        // Out of its place while it works: a request that is given up half-way leaves no half-used socket behind.
        let mut process = match slot.take() {
            Some(process) if !process.is_gone() => process,
            other => {
                if let Some(process) = other {
                    process.collect().await;
                }
                execute(Arc::clone(&self.inner)).await?
            }
        };
        process.last_number += 1;
        let number = process.last_number;
        let bytes = frame::encode(&SpawnRequest { number, config, fds: roles })?;
        let reply: Result<SpawnReply> = within(SPAWN_TIMEOUT, async {
            let sent =
                wire::send_with_fds(&process.socket, &bytes, fds).await.map_err(Error::io("send request"))?;
            process.socket.write_all(&bytes[sent..]).await.map_err(Error::io("send request"))?;
            wire::read(&mut process.socket).await
        })
        .await;
        match reply {
            Ok(reply) if reply.number == number => {
                *slot = Some(process);
                Ok(reply.result?)
            }
            Ok(_) => Err(Error::Unexpected),
            Err(error) => {
                process.collect().await;
                Err(error)
            }
        }
    }
}

impl Process {
    /// Its end of the socket is closed. It never sends anything that was not asked for.
    fn is_gone(&self) -> bool {
        let mut byte = [0];
        !matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Closes the socket, which ends the process, and waits for it; one that does not end by itself is killed.
    async fn collect(self) {
        let Self { socket, mut child, .. } = self;
        drop(socket);
        for limit in [END_TIMEOUT, KILL_TIMEOUT] {
            let give_up = Instant::now() + limit;
            while Instant::now() < give_up {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                tokio::time::sleep(END_PAUSE).await;
            }
            // Supervisors that it forked are processes of their own.
            let _ = child.kill();
        }
        tracing::error!(pid = child.id(), "a spawner that was killed does not end");
    }
}

async fn execute(inner: Arc<Inner>) -> Result<Process> {
    let started = tokio::task::spawn_blocking(move || {
        let (ours, theirs) = BlockingUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(format!("/proc/self/fd/{}", inner.executable.as_raw_fd()));
        // Its standard input is the socket: no other descriptor has to be inherited.
        command.arg0(ARGV0).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).env_clear();
        Ok((ours, command.spawn()?))
    });
    let started: io::Result<(BlockingUnixStream, Child)> =
        started.await.unwrap_or_else(|join| Err(io::Error::other(join)));
    let (ours, child) = started.map_err(Error::io("start spawner"))?;
    let socket = UnixStream::from_std(ours).map_err(Error::io("start spawner"))?;
    Ok(Process { socket, child, last_number: 0 })
}
