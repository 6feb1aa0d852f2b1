//! One probe: started, waited for, ended when it takes too long.
use super::native;
use super::output::{MAX_OUTPUT, Output};
use super::{Plan, Probe};
use crate::engine::{Engine, Inner};
use crate::error::Result;
use crate::execs::ExecState;
use crate::record::{ProbeResult, Time};
use crate::registry::Snapshot;
use crate::signal::SIGKILL;
use knarr_base::ContainerId;
use knarr_docker_types::exec::CreateRequest;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Probes that are being started at a time, over all containers. Starting is what costs; waiting does not.
const STARTS: usize = 16;
/// How long a killed command may take to go, and the end of a command's stream to follow its exit.
const AFTERMATH: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 8 << 10;
/// Of an id: what says that a command is a probe of this container.
const MARK: usize = 16;

/// What all probes share.
pub(crate) struct Prober(Semaphore);

impl Default for Prober {
    fn default() -> Self {
        Self(Semaphore::new(STARTS))
    }
}

/// `None`: it could not be tried, or nobody wants to know any more.
pub(crate) async fn run(
    engine: &Arc<Inner>,
    container: &ContainerId,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Option<ProbeResult> {
    let permit = tokio::select! {
        permit = engine.prober.0.acquire() => permit.ok()?,
        () = cancel.cancelled() => return None,
    };
    let snapshot = engine.containers.resolve(container.as_str()).ok()?.snapshot;
    // Its supervisor is not reached at the moment: that says nothing about the container.
    snapshot.supervisor()?;
    let start = Time::now();
    let ended = match &plan.probe {
        Probe::Http(_) | Probe::Tcp(_) | Probe::Grpc(_) => {
            native_probe(engine, &snapshot, plan, permit, cancel).await
        }
        Probe::Command(command) => {
            let probe = Command { engine, snapshot: &snapshot, id: probe_id(container) };
            let ended = match probe.start(command).await {
                Ok(stream) => {
                    drop(permit);
                    probe.wait(stream, plan.timeout, cancel).await
                }
                Err(error) => Some((-1, error.to_string())),
            };
            engine.execs.remove(&probe.id);
            ended
        }
    };
    let (exit_code, output) = ended?;
    engine.metrics.health_checks.fetch_add(1, Ordering::Relaxed);
    if exit_code != 0 {
        engine.metrics.health_checks_failed.fetch_add(1, Ordering::Relaxed);
    }
    Some(ProbeResult { start, end: Time::now(), exit_code, output })
}

/// The engine's own question, inside of the container's network namespace.
async fn native_probe(
    engine: &Arc<Inner>,
    snapshot: &Arc<Snapshot>,
    plan: &Plan,
    permit: SemaphorePermit<'_>,
    cancel: &CancellationToken,
) -> Option<(i32, String)> {
    let target = match &plan.probe {
        Probe::Http(http) => &http.target,
        Probe::Tcp(target) => target,
        Probe::Grpc(grpc) => &grpc.target,
        Probe::Command(_) => return None,
    };
    let (of, target) = (Arc::clone(snapshot), target.clone());
    let opened =
        engine.pool.run(move || native::Sockets::open(crate::start::network_namespace(&of.status)?, &target));
    let opened = opened.await.and_then(|inner| inner);
    drop(permit);
    let sockets = match opened {
        Ok(sockets) => sockets,
        Err(error) => return Some((1, error.to_string())),
    };
    let ask = async {
        match &plan.probe {
            Probe::Http(http) => native::http(sockets, http).await,
            Probe::Grpc(grpc) => native::grpc(sockets, grpc).await,
            _ => native::tcp(sockets).await,
        }
    };
    tokio::select! {
        answer = timeout(plan.timeout, ask) => Some(match answer {
            Ok(Ok(said)) => (0, bounded(said)),
            Ok(Err(said)) => (1, bounded(said)),
            Err(_) => (-1, too_long(plan.timeout, "")),
        }),
        () = cancel.cancelled() => None,
    }
}

/// What a server says can be long.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_OUTPUT));
    text
}

/// A command in the container.
struct Command<'a> {
    engine: &'a Arc<Inner>,
    snapshot: &'a Snapshot,
    id: String,
}

impl Command<'_> {
    async fn start(&self, command: &[String]) -> Result<UnixStream> {
        let request = CreateRequest {
            attach_stdout: true,
            attach_stderr: true,
            cmd: command.to_vec().into(),
            ..CreateRequest::default()
        };
        let engine = Engine { inner: Arc::clone(self.engine) };
        engine.exec_own(self.snapshot.id().as_str(), &self.id, request).await
    }

    async fn wait(
        &self,
        mut stream: UnixStream,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Option<(i32, String)> {
        let mut output = Output::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut until = Instant::now() + limit;
        let exited = self.engine.execs.ended(&self.id);
        tokio::pin!(exited);
        let mut has_exited = false;
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(read) => output.push(&buffer[..read]),
                },
                // What it left in the background may hold the stream open.
                () = &mut exited, if !has_exited => {
                    has_exited = true;
                    until = until.min(Instant::now() + AFTERMATH);
                }
                () = sleep_until(until) => {
                    if has_exited {
                        break;
                    }
                    self.kill().await;
                    return Some((-1, too_long(limit, &output.text())));
                }
                () = cancel.cancelled() => {
                    self.kill().await;
                    return None;
                }
            }
        }
        if !has_exited {
            let _ = timeout(AFTERMATH, exited).await;
        }
        match self.engine.execs.get(&self.id).ok()?.state {
            ExecState::Ended { code, .. } => Some((code, output.text())),
            _ => Some((-1, format!("The health check's output ended, and it did not: {}", output.text()))),
        }
    }

    async fn kill(&self) {
        let entry = self.engine.containers.resolve(self.snapshot.id().as_str()).ok();
        let shim = entry.and_then(|entry| entry.snapshot.supervisor().cloned());
        let Some(shim) = shim.or_else(|| self.snapshot.supervisor().cloned()) else { return };
        if let Err(error) = shim.kill_exec(&self.id, SIGKILL).await {
            tracing::debug!(container = self.snapshot.id().short(), %error, "probe not killed");
        }
        let _ = timeout(AFTERMATH, self.engine.execs.ended(&self.id)).await;
    }
}

/// Docker's words.
fn too_long(limit: Duration, output: &str) -> String {
    let limit = crate::duration::go_text(limit);
    match output {
        "" => format!("Health check exceeded timeout ({limit})"),
        output => format!("Health check exceeded timeout ({limit}): {output}"),
    }
}

/// An engine that finds a probe which an earlier one began knows it by its id.
pub(super) fn probe_id(container: &ContainerId) -> String {
    let random = crate::create::random_id().to_string();
    format!("{}{}", mark(container), &random[MARK..])
}

pub(crate) fn is_probe(container: &ContainerId, exec: &str) -> bool {
    exec.starts_with(&mark(container))
}

fn mark(container: &ContainerId) -> String {
    let digest = Sha256::digest(format!("health {container}"));
    hex::encode(digest).split_at(MARK).0.to_owned()
}
