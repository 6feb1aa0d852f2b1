//! Containers: what is inside, copies, limits, prune.
use crate::archive::{self, Access, Tree};
use crate::byte_channel;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::machine::Event;
use crate::metrics::Action;
use crate::prune::Prune;
use crate::registry::Snapshot;
use crate::stream::{Body, ByteStream};
use knarr_cgroup::Cgroup;
use knarr_docker_types::container::{
    FilesystemChange, PathStat, PruneReport, StatsResponse, TopResponse, UpdateRequest, UpdateResponse,
};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::id_response::IdResponse;
use knarr_docker_types::options::{ArchivePut, Commit, ContainerStats};
use knarr_docker_types::{Filters, List};
use knarr_image::CommitOptions;
use knarr_oci::image::ContainerConfig;
use knarr_oci::reference::Reference;
use knarr_snapshot::Whiteouts;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

/// Output of `logs`: raw bytes of a terminal, or Docker's frames.
pub struct LogStream {
    pub multiplexed: bool,
    pub bytes: ByteStream,
}

impl Engine {
    /// `ps_args` as the client wrote them; empty: `-ef`.
    pub async fn container_top(&self, container: &str, ps_args: &str) -> Result<TopResponse> {
        let snapshot = self.entry(container)?.snapshot;
        if !snapshot.is_live() {
            return Err(Error::Conflict(format!("container {} is not running", snapshot.id())));
        }
        let args = ps_args.to_owned();
        self.blocking(move |engine| {
            let pids = Cgroup::new(&engine.cgroup_path(&snapshot.container))?.all_pids()?;
            let response = crate::top::top(&pids, &args)?;
            engine.emit_now(snapshot.container.event("top"))?;
            Ok(response)
        })
        .await
    }

    pub async fn container_stats(
        &self,
        container: &str,
        options: ContainerStats,
    ) -> Result<mpsc::Receiver<Result<StatsResponse>>> {
        crate::stats::stream(&self.inner, self.entry(container)?, options).await
    }

    pub async fn container_update(&self, container: &str, request: UpdateRequest) -> Result<UpdateResponse> {
        let id = self.entry(container)?.snapshot.id().clone();
        // In a task of its own: what was begun is ended, whoever listens.
        let (engine, work) = (self.clone(), self.work());
        let updated = tokio::spawn(async move {
            let _work = work;
            let _edit = engine.inner.edits.of(&id).await;
            let entry = engine.entry(id.as_str())?;
            crate::update::update(&engine, &entry, request).await
        });
        updated.await.map_err(|e| Error::Internal(e.to_string()))??;
        Ok(UpdateResponse { warnings: List::nil() })
    }

    pub async fn container_changes(&self, container: &str) -> Result<Vec<FilesystemChange>> {
        let snapshot = self.entry(container)?.snapshot;
        self.blocking(move |engine| {
            let _timer = engine.metrics.time(Action::Changes);
            let changes = knarr_snapshot::own::changes(&snapshot.container.rootfs)?;
            let shown = |c: knarr_snapshot::Change| FilesystemChange {
                path: String::from_utf8_lossy(&c.path).into_owned(),
                kind: c.kind as u32,
            };
            Ok(changes.into_iter().map(shown).collect())
        })
        .await
    }

    pub async fn container_export(&self, container: &str) -> Result<ByteStream> {
        let snapshot = self.entry(container)?.snapshot;
        self.inner.emit(snapshot.container.event("export")).await;
        Ok(self.write_stream(move |engine, sink| {
            let root = match snapshot.container.id_maps {
                None => Tree::open(engine, &snapshot, "/", Access::Read)?.root,
                // Its processes see other owners than the archive shall have.
                Some(_) => crate::start::view(&snapshot.container.rootfs, None)?,
            };
            let top = root.open_dir("/").map_err(|e| Error::io("open the container's root")(e.into()))?;
            knarr_snapshot::diff(&top, Whiteouts::Literal, sink)?;
            Ok(())
        }))
    }

    pub async fn container_archive_head(&self, container: &str, path: &str) -> Result<PathStat> {
        let (snapshot, path) = (self.entry(container)?.snapshot, checked(path)?);
        let stat = self
            .blocking(move |engine| {
                archive::stat(&Tree::open(engine, &snapshot, &path, Access::Read)?, &path)
            })
            .await;
        stat.map_err(|error| in_container(error, container))
    }

    pub async fn container_archive_get(&self, container: &str, path: &str) -> Result<(PathStat, ByteStream)> {
        let (snapshot, path) = (self.entry(container)?.snapshot, checked(path)?);
        let (again, asked) = (Arc::clone(&snapshot), path.clone());
        let stat = self
            .blocking(move |engine| archive::stat(&Tree::open(engine, &again, &asked, Access::Read)?, &asked))
            .await;
        let stat = stat.map_err(|error| in_container(error, container))?;
        self.inner.emit(snapshot.container.event("archive-path")).await;
        let stream = self.write_stream(move |engine, sink| {
            archive::pack(&Tree::open(engine, &snapshot, &path, Access::Read)?, &path, sink)?;
            Ok(())
        });
        Ok((stat, stream))
    }

    pub async fn container_archive_put(
        &self,
        container: &str,
        options: ArchivePut,
        body: Body,
    ) -> Result<()> {
        let snapshot = self.entry(container)?.snapshot;
        let path = checked(&options.path)?;
        let _work = self.work();
        let inner = self.inner.clone();
        let extracted = self.inner.streams.run(move || {
            let engine = &inner;
            // Without a user in the configuration Docker keeps the archive's owners.
            let owner = match options.copy_uid_gid && !snapshot.container.config.user.is_empty() {
                false => None,
                true => {
                    let user = crate::start::resolve_user(&snapshot.container)?;
                    Some((user.uid, user.gid))
                }
            };
            let tree = Tree::open(engine, &snapshot, &path, Access::Write)?;
            let how = archive::Options { no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir, owner };
            archive::extract(&tree, SyncIoBridge::new(body), how)?;
            engine.emit_now(snapshot.container.event("extract-to-dir"))
        });
        extracted.await.and_then(|inner| inner).map_err(|error| in_container(error, container))
    }

    /// `config`: the request's body, when there was one.
    pub async fn container_commit(&self, options: Commit, config: Option<Config>) -> Result<IdResponse> {
        let entry = self.entry(&options.container)?;
        let snapshot = Arc::clone(&entry.snapshot);
        let pause = options.pause && snapshot.status.phase == crate::machine::Phase::Running;
        let paused = pause && entry.inbox.request(Event::Pause).await.is_ok();
        let _work = self.work();
        let _timer = self.inner.metrics.time(Action::Commit);
        let done = self.blocking(move |engine| commit(engine, &snapshot, options, config)).await;
        if paused {
            let _ = entry.inbox.request(Event::Unpause).await;
        }
        Ok(IdResponse { id: format!("sha256:{}", done?) })
    }

    pub async fn container_prune(&self, filters: Filters) -> Result<PruneReport> {
        let prune = Prune::new(filters, &["label", "label!", "until"])?;
        let mut report = PruneReport { containers_deleted: List::nil(), space_reclaimed: 0 };
        for entry in self.inner.containers.entries() {
            let snapshot = &entry.snapshot;
            let labels = &snapshot.container.config.labels;
            let idle = !snapshot.is_live() && snapshot.status.phase != crate::machine::Phase::Restarting;
            if !idle || !prune.wants(snapshot.container.created.0, labels) {
                continue;
            }
            let measured = Arc::clone(snapshot);
            let size = self.blocking(move |engine| Ok(crate::view::sizes(engine, &measured).0)).await?;
            if entry.inbox.request(Event::Remove { force: false, volumes: false }).await.is_ok() {
                report.containers_deleted.push(snapshot.id().to_string());
                report.space_reclaimed += u64::try_from(size).unwrap_or(0);
            }
        }
        let event = knarr_state::Event::now("container", "prune", "");
        self.inner.emit(event.with("reclaimed", report.space_reclaimed.to_string())).await;
        Ok(report)
    }

    /// A stream that a blocking writer fills.
    fn write_stream(
        &self,
        write: impl FnOnce(&Arc<Inner>, &mut byte_channel::ByteSender) -> Result<()> + Send + 'static,
    ) -> ByteStream {
        let (mut sink, stream) = byte_channel::channel();
        let (inner, work) = (self.inner.clone(), self.work());
        let streams = self.inner.streams.clone();
        let job = move || {
            let _work = work;
            let written = write(&inner, &mut sink);
            if let Err(error) = written.and_then(|()| sink.flush().map_err(Error::io("write the archive"))) {
                sink.fail(error);
            }
        };
        tokio::spawn(async move { streams.run(job).await });
        stream
    }
}

/// Says which container a file was not found in, as the client named it.
fn in_container(error: Error, container: &str) -> Error {
    match error {
        Error::NotFound(text) if text.ends_with("in container") => {
            Error::NotFound(format!("{text} {container}"))
        }
        other => other,
    }
}

fn checked(path: &str) -> Result<String> {
    if path.is_empty() {
        return Err(Error::Invalid("bad parameter: path cannot be empty".to_owned()));
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

fn commit(
    engine: &Inner,
    snapshot: &Snapshot,
    options: Commit,
    config: Option<Config>,
) -> Result<knarr_base::ImageId> {
    let container = &snapshot.container;
    let name = match options.repo.as_str() {
        "" => None,
        repo => {
            let text = super::image::joined(repo, &options.tag);
            Some(Reference::parse(&text).map_err(|e| Error::Image(e.into()))?)
        }
    };
    let base = image_config(&container.config);
    let config = config.map_or_else(|| base.clone(), |c| overlay_config(image_config(&c), base.clone()));
    let id = engine.images.commit(&CommitOptions {
        parent: container.image.as_ref(),
        rootfs: &container.rootfs,
        config,
        changes: &options.changes,
        author: options.author,
        message: options.comment,
        created_by: container.command().join(" "),
        name: name.clone(),
    })?;
    let reference = name.map_or_else(String::new, |n| n.familiar());
    let event = container.event("commit").with("imageID", format!("sha256:{id}")).with("imageRef", reference);
    engine.emit_now(event.with("comment", ""))?;
    Ok(id)
}

/// A container's configuration as an image's.
fn image_config(config: &Config) -> ContainerConfig {
    let list = |l: &List<String>| if l.is_empty() { None } else { Some(l.to_vec()) };
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        env: config.env.to_vec(),
        cmd: list(&config.cmd),
        volumes: config.volumes.keys().cloned().collect(),
        working_dir: config.working_dir.clone(),
        entrypoint: list(&config.entrypoint),
        labels: config.labels.clone().into_inner(),
        stop_signal: config.stop_signal.clone(),
        shell: list(&config.shell),
        on_build: config.on_build.to_vec(),
        healthcheck: config.healthcheck.as_ref().map(|h| knarr_oci::image::Healthcheck {
            test: h.test.to_vec(),
            interval: h.interval_ns,
            timeout: h.timeout_ns,
            start_period: h.start_period_ns,
            start_interval: h.start_interval_ns,
            retries: h.retries,
        }),
        ..ContainerConfig::default()
    }
}

/// What the request's body says wins; the rest is the container's.
fn overlay_config(mut asked: ContainerConfig, own: ContainerConfig) -> ContainerConfig {
    if asked.user.is_empty() {
        asked.user = own.user;
    }
    asked.exposed_ports.extend(own.exposed_ports);
    for entry in own.env {
        let name = entry.split('=').next().unwrap_or("").to_owned();
        if !asked.env.iter().any(|e| e.split('=').next() == Some(&name)) {
            asked.env.push(entry);
        }
    }
    for (key, value) in own.labels {
        asked.labels.entry(key).or_insert(value);
    }
    asked.volumes.extend(own.volumes);
    if asked.entrypoint.is_none() {
        asked.cmd = asked.cmd.or(own.cmd);
        asked.entrypoint = own.entrypoint;
    }
    if asked.working_dir.is_empty() {
        asked.working_dir = own.working_dir;
    }
    if asked.stop_signal.is_empty() {
        asked.stop_signal = own.stop_signal;
    }
    asked.healthcheck = asked.healthcheck.or(own.healthcheck);
    asked.shell = asked.shell.or(own.shell);
    asked
}
