//! At the engine's start: what is recorded and what is observed, compared; then operations.
//!
//! [`plan`] is pure. The applier reconnects to supervisors, reads the records of those that ended meanwhile, gives every
//! container its task, and sweeps what nobody owns: directories, control groups, network objects. Needs no memory of what
//! an earlier engine was doing.
mod observe;
mod plan;
mod sweep;

use crate::engine::Inner;
use crate::error::Result;
use crate::machine::{Phase, Policy};
use crate::record::{Container, Status, Time};
use crate::supervisor::{Events, ShimHandle};
use crate::task::{self, Restored};
use knarr_base::ContainerId;
use knarr_shim_proto::{ExitRecord, Phase as ShimPhase, StateReport};
use plan::{Action, Recorded, plan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Brings everything back.
pub(crate) async fn run(engine: &Arc<Inner>) -> Result<()> {
    let rows = {
        let engine = Arc::clone(engine);
        let pool = Arc::clone(&engine);
        pool.pool.run(move || read(&engine)).await??
    };
    let mut restored = Vec::new();
    for (container, mut status) in rows {
        let observed = observe::container(&engine.paths.run(&container.id)).await;
        let action = plan(&recorded(&container, &status), &observed);
        let how = carry_out(engine, &container, &mut status, action, observed.exit).await;
        restored.push((container, status, how));
    }
    let alive: Vec<ContainerId> =
        restored.iter().filter(|(_, _, how)| how.live.is_some()).map(|(c, _, _)| c.id.clone()).collect();
    {
        let engine = Arc::clone(engine);
        let pool = Arc::clone(&engine);
        let swept = pool.pool.run(move || engine.networks.restore(&alive)).await?;
        if let Err(error) = swept {
            tracing::error!(%error, "networks not restored");
        }
    }
    for (container, status, how) in restored {
        task::spawn(engine, container, status, how);
    }
    let engine = Arc::clone(engine);
    let pool = Arc::clone(&engine);
    pool.pool.run(move || sweep::all(&engine)).await
}

/// All containers with their status. A status that was damaged is taken as one of a container that ended.
fn read(engine: &Inner) -> Result<Vec<(Container, Status)>> {
    let rows = engine.store.read(|tx| {
        let statuses: BTreeMap<String, Status> = tx.list::<Status>()?.into_iter().collect();
        Ok((tx.list::<Container>()?, statuses))
    })?;
    let (containers, mut statuses) = rows;
    let lost = || Status {
        phase: Phase::Exited,
        error: "the record of its state was damaged".into(),
        ..Status::default()
    };
    Ok(containers
        .into_iter()
        .map(|(id, container)| {
            let status = statuses.remove(&id).unwrap_or_else(lost);
            (container, status)
        })
        .collect())
}

fn recorded(container: &Container, status: &Status) -> Recorded {
    Recorded {
        phase: status.phase,
        policy: Policy::of(&container.host_config.restart_policy),
        auto_remove: container.host_config.auto_remove,
        stopped_by_user: status.stopped_by_user,
        ever_started: !status.started_at.is_never(),
        exit_code: status.exit_code,
        restarts: status.restarts,
    }
}

async fn carry_out(
    engine: &Arc<Inner>,
    container: &Container,
    status: &mut Status,
    action: Action,
    exit: Option<ExitRecord>,
) -> Restored {
    match action {
        Action::Nothing => Restored::default(),
        Action::Start => Restored { start: true, ..Restored::default() },
        Action::Remove => Restored { remove: true, ..Restored::default() },
        Action::Ended => {
            was_running(status, None);
            Restored { ended: exit, ..Restored::default() }
        }
        Action::Lost => {
            was_running(status, None);
            Restored { lost: true, ..Restored::default() }
        }
        Action::Reconnect => match reconnect(engine, container).await {
            Some((handle, events, report)) => {
                took_over(engine, container, status, handle, events, report).await
            }
            None => {
                was_running(status, None);
                Restored { lost: true, ..Restored::default() }
            }
        },
    }
}

/// An engine that died between the start and its commit left a status of before.
fn was_running(status: &mut Status, started_at: Option<Time>) {
    if !status.phase.is_live() {
        status.phase = Phase::Running;
        status.started_at = started_at.unwrap_or_else(Time::now);
    }
}

async fn reconnect(engine: &Inner, container: &Container) -> Option<(ShimHandle, Events, StateReport)> {
    let connected = async {
        let (handle, events) = ShimHandle::connect(&engine.paths.run(&container.id)).await?;
        let report = handle.state().await?;
        Ok::<_, crate::supervisor::Error>((handle, events, report))
    };
    match connected.await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::error!(container = container.id.short(), %error, "supervisor not reached");
            None
        }
    }
}

async fn took_over(
    engine: &Arc<Inner>,
    container: &Container,
    status: &mut Status,
    handle: ShimHandle,
    events: Events,
    report: StateReport,
) -> Restored {
    if let Some(exit) = report.exit {
        was_running(status, report.started_at.map(Time::from));
        return Restored { ended: Some(exit), ..Restored::default() };
    }
    if report.phase == ShimPhase::Created {
        // Made but never started: nobody waits for it any more.
        let _ = handle.shutdown().await;
        let (run, path) = (engine.paths.run(&container.id), engine.cgroup_path(container));
        let undone = engine.pool.run(move || {
            crate::cgroups::remove(&path);
            let _ = std::fs::remove_dir_all(run);
        });
        if let Err(error) = undone.await {
            tracing::error!(container = container.id.short(), %error, "start not undone");
        }
        return Restored::default();
    }
    let late = !status.phase.is_live();
    was_running(status, report.started_at.map(Time::from));
    status.pid = report.pid.unwrap_or(status.pid);
    if late {
        let (store, row, id, event) =
            (engine.store.clone(), status.clone(), container.id.clone(), container.event("start"));
        let written = engine.pool.run(move || {
            store.write(|tx| {
                tx.put(id.as_str(), &row)?;
                tx.emit(event);
                Ok::<_, knarr_state::Error>(())
            })
        });
        if let Ok(Err(error)) = written.await {
            tracing::error!(%error, "status not written");
        }
    }
    crate::facade::adopt_execs(engine, container, report.execs);
    Restored { live: Some((handle, events)), ..Restored::default() }
}
