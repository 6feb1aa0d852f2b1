//! Undoing: after an exit, after a failed start, at removal.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, MountKind, MountRow};
use crate::supervisor::ShimHandle;
use knarr_state::Event;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// How long a supervisor may take to hear that it is not needed any more. It ends by itself when its last stream is closed;
/// an error means that it has ended.
const SHUTDOWN_ANSWER: Duration = Duration::from_secs(5);

/// Gives back what the run held, and the events of that. Never fails: what could not be undone now is swept at the next start.
pub(crate) async fn clean(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    live: Option<ShimHandle>,
) -> Vec<Event> {
    if let Some(handle) = live
        && let Err(_) = tokio::time::timeout(SHUTDOWN_ANSWER, handle.shutdown()).await
    {
        crate::task::end_if_dead(engine, container, Some(&handle)).await;
    }
    let (pool, engine, container) = (Arc::clone(engine), Arc::clone(engine), Arc::clone(container));
    let released = pool.pool.run(move || {
        knarr_base::failpoint!("exit.release");
        let mut events = Vec::new();
        if uses_network(&container) {
            let endpoints = engine.networks.endpoints(&container.id).unwrap_or_default();
            events.extend(endpoints.iter().map(|e| {
                let driver = engine.networks.driver(&e.network).map_or("bridge", |d| d.as_str());
                super::network::event("disconnect", &container, e, driver)
            }));
            if let Err(error) = engine.networks.release(&container.id) {
                tracing::warn!(container = container.id.short(), %error, "network not released");
            }
        }
        // Afterwards: who begins to serve it now finds it on no network.
        engine.dns.forget(&container.id);
        crate::cgroups::remove(&engine.cgroup_path(&container));
        engine.release_volumes(&container, container.id.as_str());
        let volumes = engine.mounts_of(&container).into_iter().filter(|row| row.kind == MountKind::Volume);
        events.extend(volumes.map(|row| crate::volume_use::event("unmount", &row, &container)));
        knarr_base::failpoint!("exit.released");
        events
    });
    released.await.unwrap_or_else(|error| {
        tracing::error!(%error, "clean-up aborted");
        Vec::new()
    })
}

fn uses_network(container: &Container) -> bool {
    let mode = container.host_config.network_mode.as_str();
    mode != "host" && mode != "none" && !mode.starts_with("container:")
}

/// Kills every process of a container whose supervisor died.
pub(crate) async fn kill_leftovers(engine: &Arc<Inner>, container: &Arc<Container>) {
    let path = engine.cgroup_path(container);
    let _ = engine.pool.run(move || crate::cgroups::kill(&path)).await;
}

pub(crate) async fn freeze(engine: &Arc<Inner>, container: &Arc<Container>, frozen: bool) -> Result<()> {
    let path = engine.cgroup_path(container);
    engine.pool.run(move || crate::cgroups::freeze(&path, frozen)).await?
}

/// Removes the container: rows first, so that its name is free; then its directories, out of sight at once and deleted in
/// the background. A directory that cannot be moved is left to the sweep: a removal does not fail for it.
pub(crate) async fn remove(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    volumes: bool,
    mut events: Vec<Event>,
) -> Result<()> {
    let guarded = Arc::clone(engine);
    // One that is being made has no row yet that says that it holds one of them.
    let _creating = match volumes && container.mounts.iter().any(is_own_volume) {
        true => Some(guarded.image_use.write().await),
        false => None,
    };
    let (pool, engine, container) = (Arc::clone(engine), Arc::clone(engine), Arc::clone(container));
    pool.pool
        .run(move || {
            knarr_base::failpoint!("remove.begin", Error::Failpoint("remove.begin"));
            events.push(container.event("destroy"));
            crate::task::delete_rows(&engine.store, &container, events, !container.host_config.auto_remove)?;
            knarr_base::failpoint!("remove.rows", Error::Failpoint("remove.rows"));
            if volumes {
                remove_volumes(&engine, &container);
            }
            if container.host_config.auto_remove {
                let later = Arc::clone(&engine);
                tokio::spawn(async move {
                    later.pool.run(move || discard_once_durable(&engine, &container)).await
                });
            } else {
                discard(&engine, &container);
            }
            Ok(())
        })
        .await?
}

/// Of a container that removes itself the removal of the rows did not wait for the disk. Until it is there the
/// supervisor's record stays: it tells an engine that starts after a crash, and finds the rows, that the container ended.
fn discard_once_durable(engine: &Inner, container: &Container) {
    let gone = engine.store.sync().map_err(Error::from).and_then(|()| {
        match engine.store.get::<Container>(container.id.as_str())? {
            None => Ok(()),
            // That commit failed; this one is waited for.
            Some(_) => crate::task::delete_rows(&engine.store, container, Vec::new(), true),
        }
    });
    match gone {
        Ok(()) => discard(engine, container),
        Err(error) => {
            tracing::warn!(container = container.id.short(), %error, "directories left to the next start")
        }
    }
}

fn discard(engine: &Inner, container: &Container) {
    engine.trash.discard(&engine.paths.container(&container.id));
    let _ = fs::remove_dir_all(engine.paths.run(&container.id));
    // Normally long gone; left by an engine that died while it cleaned up.
    crate::cgroups::remove(&engine.cgroup_path(container));
    knarr_base::failpoint!("remove.directories");
    engine.trash.empty();
}

/// The volumes that were made for this container and that no other uses.
fn remove_volumes(engine: &Inner, container: &Container) {
    for row in container.mounts.iter().filter(|row| is_own_volume(row)) {
        let Ok(volume) = engine.volume_of(row) else { continue };
        let users = |volume: &knarr_volume::Volume| engine.volume_users(volume, Some(&container.id));
        if let Err(error) = engine.volumes.remove(&volume.name, &users) {
            tracing::debug!(volume = %volume.name, %error, "anonymous volume kept");
        }
    }
}

fn is_own_volume(row: &MountRow) -> bool {
    row.kind == MountKind::Volume && row.anonymous
}
