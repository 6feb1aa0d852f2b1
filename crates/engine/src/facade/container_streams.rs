//! Streams of containers: logs, attach, resize.
use super::LogStream;
use crate::detach;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::frames::Frames;
use crate::stream::{AttachSession, Source};
use knarr_docker_types::options::{ContainerAttach, ContainerLogs};
use knarr_shim_proto::Streams;

impl Engine {
    pub async fn container_logs(&self, container: &str, options: ContainerLogs) -> Result<LogStream> {
        let entry = self.entry(container)?;
        if !options.stdout && !options.stderr {
            return Err(Error::Invalid("Bad parameters: you must choose at least one stream".to_owned()));
        }
        crate::logs::stream(&self.inner, &entry, &options).await
    }

    pub async fn container_attach(&self, container: &str, options: ContainerAttach) -> Result<AttachSession> {
        let entry = self.entry(container)?;
        let snapshot = &entry.snapshot;
        let keys = detach::parse(&options.detach_keys)?;
        let config = &snapshot.container.config;
        if snapshot.status.phase == crate::machine::Phase::Paused {
            return Err(Error::Conflict(format!(
                "container {} is paused, unpause the container before attach",
                snapshot.id()
            )));
        }
        if snapshot.status.phase == crate::machine::Phase::Restarting {
            return Err(Error::Conflict(format!(
                "container {} is restarting, wait until the container is running",
                snapshot.id()
            )));
        }
        let stdin = options.stdin && config.open_stdin;
        let streams = Streams { stdin, stdout: options.stdout, stderr: options.stderr };
        let history = if options.logs {
            Some(crate::logs::history(&self.inner, &entry, &options).await?)
        } else {
            None
        };
        let source = match (options.stream, snapshot.supervisor()) {
            (false, _) => Source::None,
            (true, Some(shim)) => match shim.attach(streams).await {
                Ok(stream) => Source::Ready(stream),
                // It ended between the look and the call.
                Err(_) => Source::None,
            },
            (true, None) => Source::Later(entry.inbox.attach(streams).await?),
        };
        self.inner.emit(snapshot.container.event("attach")).await;
        let engine = self.inner.clone();
        let event = snapshot.container.event("detach");
        Ok(AttachSession {
            multiplexed: !config.tty,
            frames: Frames::Keep,
            source,
            stdin,
            detach_keys: if config.tty { keys } else { Vec::new() },
            history,
            on_detach: Some(Box::new(move || {
                tokio::spawn(async move { engine.emit(event).await });
            })),
            before_end: None,
        })
    }

    pub async fn container_resize(&self, container: &str, rows: u16, cols: u16) -> Result<()> {
        let entry = self.entry(container)?;
        let shim = entry.snapshot.supervisor().cloned();
        let shim =
            shim.ok_or_else(|| Error::Conflict(format!("container {} is not running", entry.snapshot.id())))?;
        shim.resize(None, rows, cols).await?;
        let size = [("height", rows.to_string()), ("width", cols.to_string())];
        let event = size.into_iter().fold(entry.snapshot.container.event("resize"), |e, (k, v)| e.with(k, v));
        self.inner.emit(event).await;
        Ok(())
    }
}
