//! The table itself.
use super::user_namespace::{self, UserNamespace};
use super::{config_file, files, joined, links, network, volumes};
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::record::{Container, Time};
use crate::requires;
use crate::runtimes::{Doing, failure_text};
use crate::supervisor::{self, Events, ShimHandle, Spawned};
use knarr_shim_proto::{CgroupConfig, FailureKind, FdRole, LogConfig, ShimConfig, Streams};
use knarr_state::Event;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// A container that runs.
pub(crate) struct Launched {
    pub handle: ShimHandle,
    pub events: Events,
    pub pid: i32,
    pub pid_start_time: u64,
    pub started_at: Time,
    /// `mount` of each volume, `connect` of each network.
    pub network_events: Vec<Event>,
}

/// A container that did not start; everything is undone.
pub(crate) struct Failed {
    pub error: Error,
    /// What `State.ExitCode` becomes.
    pub code: i32,
}

/// Docker's exit code of a start that failed for no reason of the program's.
const CODE_UNKNOWN: i32 = 128;

type Attachers = Vec<(Streams, oneshot::Sender<UnixStream>)>;

/// Runs the table; undoes it when a step fails.
pub(crate) async fn launch(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    attachers: Attachers,
) -> Result<Launched, Failed> {
    match forward(engine, container, attachers).await {
        Ok(launched) => Ok(launched),
        Err(error) => {
            super::clean(engine, container, None).await;
            let run = engine.paths.run(&container.id);
            let _ = engine.pool.run(move || std::fs::remove_dir_all(run)).await;
            let code = match &error {
                Error::Start { failure, .. } => failure.kind.exit_code(),
                _ => CODE_UNKNOWN,
            };
            Err(Failed { error, code })
        }
    }
}

async fn forward(engine: &Arc<Inner>, container: &Arc<Container>, attachers: Attachers) -> Result<Launched> {
    requires::start_before(engine, container).await?;
    joined::wait(engine, container).await;
    let Prepared { passed, network_events, volumes, joined } = {
        let (engine, container) = (Arc::clone(engine), Arc::clone(container));
        let pool = Arc::clone(&engine);
        pool.pool.run(move || prepare(&engine, &container)).await??
    };
    let failed = |error| start_error(engine, container, error);
    let log = crate::log_driver::config(engine, container).await?;
    let config = shim_config(engine, container, log)?;
    // Rows that nobody has waited for so far, such as the endpoints, are durable before the process runs.
    let (store, id) = (engine.store.clone(), container.id.clone());
    let durable = engine.pool.run(move || require_row(&store, id.as_str()));
    let given: Vec<_> = passed.iter().map(|(role, fd)| (*role, fd.as_fd())).collect();
    let (spawned, durable) = tokio::join!(engine.spawner.spawn(config, &given), durable);
    let spawned = spawned.map_err(failed)?;
    drop(given);
    drop((passed, volumes));
    // The supervisor opened their namespaces by number: it was theirs all the time if they are still there.
    let started = match durable.flatten() {
        Ok(()) if joined.iter().all(Process::is_there) => attach_and_start(&spawned, attachers).await,
        Ok(()) => Err(Error::Conflict("a container whose namespaces are joined has ended".to_owned())),
        Err(error) => Err(error),
    };
    if let Err(error) = started {
        let _ = spawned.handle.shutdown().await;
        return Err(match error {
            Error::Supervisor(error) => failed(error),
            other => other,
        });
    }
    let Spawned { handle, events, pid, pid_start_time, .. } = spawned;
    Ok(Launched { handle, events, pid, pid_start_time, started_at: Time::now(), network_events })
}

/// Whatever happened to changes that nobody waited for, such as a full disk: no process runs without a row.
fn require_row(store: &knarr_state::Store, id: &str) -> Result<()> {
    store.sync()?;
    match store.get::<Container>(id)? {
        Some(_) => Ok(()),
        None => Err(Error::Internal(
            "the record of the container could not be written: is the disk full?".to_owned(),
        )),
    }
}

/// What the steps before the process give.
struct Prepared {
    /// Namespaces to join, and what the supervisor keeps.
    passed: Vec<(FdRole, OwnedFd)>,
    network_events: Vec<Event>,
    /// Named by number in the configuration.
    volumes: volumes::Sources,
    /// Whose namespaces are joined by number.
    joined: Vec<Process>,
}

/// The steps before a process exists, on a thread that may block.
fn prepare(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<Prepared> {
    knarr_base::failpoint!("start.begin", Error::Failpoint("start.begin"));
    files::make_run_directory(engine, container)?;
    knarr_base::failpoint!("start.volumes", Error::Failpoint("start.volumes"));
    let volumes = volumes::prepare(engine, container)?;
    knarr_base::failpoint!("start.network", Error::Failpoint("start.network"));
    let user = user_namespace::open(engine, container)?;
    let (user, maps, netns) = match user {
        Some(UserNamespace { fd, network, maps }) => (Some(fd), Some(maps), network),
        None => (None, None, None),
    };
    let network = network::connect(engine, container, netns)?;
    knarr_base::failpoint!("start.files", Error::Failpoint("start.files"));
    let links = links::open(engine, container)?;
    let files = files::write(engine, container, &network, &links)?;
    knarr_base::failpoint!("start.spec", Error::Failpoint("start.spec"));
    let linked = links.seen_by(container);
    let seen = linked.as_ref().unwrap_or(container);
    let joined = config_file::write(engine, seen, &files, &volumes.paths(), maps.as_ref())?;
    knarr_base::failpoint!("start.spawn", Error::Failpoint("start.spawn"));
    let driver = |id: &knarr_base::NetworkId| engine.networks.driver(id).map_or("bridge", |d| d.as_str());
    let events = network
        .endpoints
        .iter()
        .map(|endpoint| network::event("connect", container, endpoint, driver(&endpoint.network)));
    // Docker's order: volumes first.
    let network_events = volumes.events.iter().cloned().chain(events).collect();
    let namespaces =
        [(FdRole::NetworkNamespace, network.namespace), (FdRole::UserNamespace, user)].into_iter();
    let mut passed: Vec<_> = namespaces.filter_map(|(role, fd)| Some((role, fd?))).collect();
    if let Some(sockets) = &network.names {
        let copies = sockets.descriptors().map_err(Error::io("copy the name server's sockets"))?;
        passed.extend(copies.into_iter().map(|fd| (FdRole::Keep, fd)));
    }
    Ok(Prepared { passed, network_events, volumes, joined })
}

fn shim_config(engine: &Inner, container: &Container, log: LogConfig) -> Result<ShimConfig> {
    let [rows, cols] = container.host_config.console_size;
    let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Ok(ShimConfig {
        id: container.id.to_string(),
        dir: engine.paths.run(&container.id),
        rootfs: Some(container.rootfs.clone()),
        log,
        open_stdin: container.config.open_stdin,
        stdin_once: container.config.stdin_once,
        rows: clamp(rows),
        cols: clamp(cols),
        cgroup: CgroupConfig { path: engine.cgroup_path(container), systemd: engine.systemd_cgroup() },
        seccomp_cache: Some(engine.paths.seccomp()),
        runtime: crate::runtimes::program(&engine.config(), &container.host_config.runtime)?,
    })
}

/// Clients that wait for the container's output get it before the program can print anything.
async fn attach_and_start(spawned: &Spawned, attachers: Attachers) -> Result<()> {
    for (streams, client) in attachers {
        if client.is_closed() {
            continue;
        }
        let stream = spawned.handle.attach(streams).await?;
        let _ = client.send(stream);
    }
    knarr_base::failpoint!("start.start", Error::Failpoint("start.start"));
    spawned.handle.start().await?;
    knarr_base::failpoint!("start.started", Error::Failpoint("start.started"));
    Ok(())
}

fn start_error(engine: &Inner, container: &Container, error: supervisor::Error) -> Error {
    let failure = match error {
        supervisor::Error::Failure(failure) => failure,
        other => knarr_shim_proto::Failure::new(FailureKind::Internal, other.to_string()),
    };
    let runtime = &container.host_config.runtime;
    Error::Start { text: failure_text(&engine.config(), runtime, Doing::Create, &failure), failure }
}
