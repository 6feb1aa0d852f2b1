//! Commands executed in running containers.
use crate::detach;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::execs::{Exec, ExecState};
use crate::frames::Frames;
use crate::machine::Phase;
use crate::record::Container;
use crate::registry::Snapshot;
use crate::runtimes::{Doing, failure_text};
use crate::stream::{AttachSession, STREAM_DEPTH, Source};
use crate::supervisor;
use bytes::Bytes;
use knarr_docker_types::exec::{CreateRequest, InspectResponse, ProcessConfig, StartRequest};
use knarr_docker_types::id_response::IdResponse;
use knarr_docker_types::stdcopy;
use knarr_shim_proto::{ExecConfig, Failure, FailureKind, Streams};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the end of a command's stream may come before the news of its exit.
const EXIT_NEWS: Duration = Duration::from_secs(3);

impl Engine {
    pub async fn exec_create(&self, container: &str, request: CreateRequest) -> Result<IdResponse> {
        let id = crate::create::random_id().to_string();
        self.exec_create_as(container, &id, request).await?;
        Ok(IdResponse { id })
    }

    async fn exec_create_as(&self, container: &str, id: &str, request: CreateRequest) -> Result<()> {
        let snapshot = self.entry(container)?.snapshot;
        check(&snapshot)?;
        if request.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".to_owned()));
        }
        detach::parse(&request.detach_keys)
            .map_err(|_| Error::Invalid(format!("Invalid escape keys ({}) provided", request.detach_keys)))?;
        let (inner, snap, exec_request) = (self.inner.clone(), Arc::clone(&snapshot), request.clone());
        let process =
            self.inner.pool.run(move || crate::exec_process::build(&inner, &snap, &exec_request)).await??;
        let event = exec_event(&snapshot.container, "exec_create", &request, id);
        let container = snapshot.id().clone();
        self.inner.execs.add(Exec {
            id: id.to_owned(),
            container,
            request,
            process,
            state: ExecState::Created,
            number: 0,
        })?;
        self.inner.emit(event).await;
        Ok(())
    }

    /// A command of the engine's own, as a health check is: created and started. Gives the stream of its output.
    pub(crate) async fn exec_own(
        &self,
        container: &str,
        id: &str,
        request: CreateRequest,
    ) -> Result<tokio::net::UnixStream> {
        self.exec_create_as(container, id, request).await?;
        let exec = self.inner.execs.get(id)?;
        let snapshot = self.entry(container)?.snapshot;
        let shim = snapshot.supervisor().cloned().ok_or_else(|| not_running(&snapshot))?;
        self.inner.execs.begin(id)?;
        self.inner.emit(exec_event(&snapshot.container, "exec_start", &exec.request, id)).await;
        let config = exec_config(&exec, &StartRequest::default())?;
        let (pid, stream) =
            shim.exec_attached(config).await.map_err(|error| self.exec_failed(&exec, error))?;
        self.inner.execs.set_state(id, ExecState::Running { pid });
        Ok(stream)
    }

    /// Starts the command. `None` when it is detached.
    pub async fn exec_start(&self, exec: &str, request: StartRequest) -> Result<Option<AttachSession>> {
        let exec = self.inner.execs.get(exec)?;
        let snapshot = self.entry(exec.container.as_str())?.snapshot;
        check(&snapshot)?;
        let shim = snapshot.supervisor().cloned();
        let shim = shim.ok_or_else(|| not_running(&snapshot))?;
        match self.inner.execs.begin(&exec.id) {
            // As Docker, whose head has left by then.
            Err(error) if !request.detach => return Ok(Some(told(request.tty, &error))),
            begun => begun?,
        }
        self.inner.emit(exec_event(&snapshot.container, "exec_start", &exec.request, &exec.id)).await;
        let config = exec_config(&exec, &request)?;
        if request.detach {
            let pid = shim.exec(config).await.map_err(|error| self.exec_failed(&exec, error))?;
            self.inner.execs.set_state(&exec.id, ExecState::Running { pid });
            return Ok(None);
        }
        match shim.exec_attached(config).await {
            Ok((pid, stream)) => {
                self.inner.execs.set_state(&exec.id, ExecState::Running { pid });
                self.session(&exec, request.tty, &snapshot.container, stream).map(Some)
            }
            // Docker's client learns of it from the stream, and the code from `inspect`.
            Err(error) => Ok(Some(told(request.tty, &self.exec_failed(&exec, error)))),
        }
    }

    fn session(
        &self,
        exec: &Exec,
        plain: bool,
        container: &Arc<Container>,
        stream: tokio::net::UnixStream,
    ) -> Result<AttachSession> {
        let tty = exec.request.tty;
        let keys = if tty { detach::parse(&exec.request.detach_keys)? } else { Vec::new() };
        let (engine, event) =
            (self.inner.clone(), container.event("exec_detach").with("execID", exec.id.as_str()));
        let (execs, id) = (self.inner.clone(), exec.id.clone());
        Ok(AttachSession {
            multiplexed: !plain,
            frames: Frames::between(!tty, !plain),
            source: Source::Ready(stream),
            stdin: exec.request.attach_stdin,
            detach_keys: keys,
            history: None,
            on_detach: Some(Box::new(move || {
                tokio::spawn(async move { engine.emit(event).await });
            })),
            before_end: Some(Box::pin(async move {
                let _ = tokio::time::timeout(EXIT_NEWS, execs.execs.ended(&id)).await;
            })),
        })
    }

    /// Remembers how a start failed; gives the error to show.
    fn exec_failed(&self, exec: &Exec, error: supervisor::Error) -> Error {
        let failure = match error {
            supervisor::Error::Failure(failure) => failure,
            other => Failure::new(FailureKind::Internal, other.to_string()),
        };
        let code = match failure.kind {
            FailureKind::CommandNotFound => 127,
            _ => 126,
        };
        self.inner.execs.set_state(&exec.id, ExecState::Ended { pid: 0, code });
        let entry = self.inner.containers.resolve(exec.container.as_str());
        let runtime = entry.map(|entry| entry.snapshot.container.host_config.runtime.clone());
        let runtime = runtime.unwrap_or_default();
        let text = failure_text(&self.inner.config(), &runtime, Doing::Exec, &failure);
        Error::Start { text, failure }
    }

    pub async fn exec_inspect(&self, exec: &str) -> Result<InspectResponse> {
        let exec = self.inner.execs.get(exec)?;
        let request = &exec.request;
        let (program, arguments) = request.cmd.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let (running, exit_code, pid) = match exec.state {
            ExecState::Created => (false, None, 0),
            ExecState::Starting => (true, None, 0),
            ExecState::Running { pid } => (true, None, pid),
            ExecState::Ended { pid, code } => (false, Some(i64::from(code)), pid),
        };
        Ok(InspectResponse {
            id: exec.id.clone(),
            running,
            exit_code,
            process_config: Some(ProcessConfig {
                tty: request.tty,
                entrypoint: program.to_owned(),
                arguments: arguments.to_vec().into(),
                privileged: Some(request.privileged),
                user: request.user.clone(),
            }),
            open_stdin: request.attach_stdin,
            open_stderr: request.attach_stderr,
            open_stdout: request.attach_stdout,
            // Docker says so of every one; they go when the engine likes.
            can_remove: false,
            container_id: exec.container.to_string(),
            detach_keys: String::new(),
            pid: i64::from(pid),
        })
    }

    pub async fn exec_resize(&self, exec: &str, rows: u16, cols: u16) -> Result<()> {
        let exec = self.inner.execs.get(exec)?;
        let snapshot = self.entry(exec.container.as_str())?.snapshot;
        let shim = snapshot.supervisor().cloned().ok_or_else(|| not_running(&snapshot))?;
        if !matches!(exec.state, ExecState::Running { .. }) {
            return Err(Error::Conflict(format!("exec {} is not running", exec.id)));
        }
        shim.resize(Some(&exec.id), rows, cols).await?;
        Ok(())
    }
}

fn not_running(snapshot: &Snapshot) -> Error {
    Error::Conflict(format!("container {} is not running", snapshot.id()))
}

fn check(snapshot: &Snapshot) -> Result<()> {
    match snapshot.status.phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::Conflict(format!(
            "Container {} is paused, unpause the container before exec",
            snapshot.container.name
        ))),
        Phase::Restarting => Err(Error::Conflict(format!(
            "container {} is restarting, wait until the container is running",
            snapshot.id()
        ))),
        _ => Err(not_running(snapshot)),
    }
}

fn exec_event(container: &Container, action: &str, request: &CreateRequest, id: &str) -> knarr_state::Event {
    let event = container.event(&format!("{action}: {}", request.cmd.join(" "))).with("execID", id);
    knarr_state::Event { minor: crate::health::is_probe(&container.id, id), ..event }
}

fn exec_config(exec: &Exec, request: &StartRequest) -> Result<ExecConfig> {
    let mut process = exec.process.clone();
    if let Some([height, width]) = request.console_size.or(exec.request.console_size) {
        let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        process.console_size =
            Some(knarr_oci::runtime::ConsoleSize { height: clamp(height), width: clamp(width) });
    }
    let text = serde_json::to_string(&process).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(ExecConfig {
        exec_id: exec.id.clone(),
        process: serde_json::value::RawValue::from_string(text)
            .map_err(|e| Error::Internal(e.to_string()))?,
        streams: Streams {
            stdin: exec.request.attach_stdin,
            stdout: exec.request.attach_stdout,
            stderr: exec.request.attach_stderr,
        },
        attach: !request.detach,
    })
}

/// A session that only shows an error.
fn told(plain: bool, error: &Error) -> AttachSession {
    let text = format!("{error}\r\n");
    let mut bytes = Vec::new();
    if !plain {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&stdcopy::header(stdcopy::Stream::Stdout, length));
    }
    bytes.extend_from_slice(text.as_bytes());
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    let _ = sender.try_send(Ok(Bytes::from(bytes)));
    AttachSession {
        multiplexed: !plain,
        frames: Frames::Keep,
        source: Source::None,
        stdin: false,
        detach_keys: Vec::new(),
        history: Some(receiver),
        on_detach: None,
        before_end: None,
    }
}

/// For the supervisor's restart: what it knows of commands is taken over.
pub(crate) fn adopt(
    engine: &Arc<Inner>,
    container: &Container,
    handle: &supervisor::ShimHandle,
    states: Vec<knarr_shim_proto::ExecState>,
) {
    for state in states {
        if crate::health::is_probe(&container.id, &state.exec_id) {
            // Its result is nobody's; it would have no time limit.
            if state.exit.is_none() && !engine.execs.has(&state.exec_id) {
                let (handle, id) = (handle.clone(), state.exec_id);
                tokio::spawn(async move { handle.kill_exec(&id, crate::signal::SIGKILL).await });
            }
            continue;
        }
        if engine.execs.has(&state.exec_id) {
            // Only the connection was lost, and with it maybe the news of its end.
            if let Some(exit) = &state.exit {
                engine.execs.exited(engine, container, &state.exec_id, exit);
            }
            continue;
        }
        let known = ExecState::Running { pid: state.pid };
        let exec = Exec {
            id: state.exec_id.clone(),
            container: container.id.clone(),
            request: CreateRequest::default(),
            process: knarr_oci::runtime::Process::default(),
            state: state.exit.map_or(known, |exit| ExecState::Ended { pid: exit.pid, code: exit.code }),
            number: 0,
        };
        let _ = engine.execs.add(exec);
    }
}
