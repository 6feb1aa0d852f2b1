//! At the engine's start: what is recorded and what is observed, compared; then operations.
//!
//! [`plan`] is pure. The applier reconnects to supervisors, reads the records of those that ended meanwhile, gives every
//! container its task, and sweeps what nobody owns: directories, control groups, network objects. Needs no memory of what
//! an earlier engine was doing.
mod observe;
mod order;
mod plan;
mod sweep;

use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::machine::{Phase, Policy, Wishes};
use crate::record::{Container, Health, Status, Time};
use crate::task::{self, Connected, Found, Restored};
use knarr_base::ContainerId;
use knarr_shim_proto::{ExitRecord, Phase as ShimPhase};
use plan::{Action, Recorded, plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Supervisors that are spoken with at a time.
const AT_A_TIME: usize = 32;
/// How long the engine's start waits for one supervisor. One that is slower is asked in the background.
const PATIENCE: Duration = Duration::from_secs(5);

/// Brings everything back.
pub(crate) async fn run(engine: &Arc<Inner>) -> Result<()> {
    let (rows, healths) = {
        let engine = Arc::clone(engine);
        let pool = Arc::clone(&engine);
        pool.pool.run(move || Ok::<_, Error>((read(&engine)?, read_health(&engine)?))).await??
    };
    let restored = containers(engine, rows).await?;
    let alive: Vec<ContainerId> =
        restored.iter().filter(|(_, _, how)| how.runs()).map(|(c, _, _)| c.id.clone()).collect();
    {
        let engine = Arc::clone(engine);
        let pool = Arc::clone(&engine);
        let swept = pool.pool.run(move || engine.networks.restore(&alive)).await?;
        if let Err(error) = swept {
            tracing::error!(%error, "networks not restored");
        }
    }
    let mut starting = Vec::new();
    let mut healths = healths;
    for (container, status, mut how) in restored {
        how.health = healths.remove(container.id.as_str());
        if how.start {
            starting.push(container.id.clone());
        }
        task::spawn(engine, container, status, how);
    }
    // Before anybody starts who would have to mount them.
    {
        let engine = Arc::clone(engine);
        let pool = Arc::clone(&engine);
        if let Err(error) = pool.pool.run(move || engine.adopt_volumes()).await? {
            tracing::error!(%error, "volumes not looked at");
        }
    }
    order::start(engine, starting);
    let engine = Arc::clone(engine);
    let pool = Arc::clone(&engine);
    pool.pool.run(move || sweep::all(&engine)).await
}

type Row = (Container, Status);

/// A slow supervisor does not hold up the others. All or none: what is missing would be swept.
async fn containers(engine: &Arc<Inner>, rows: Vec<Row>) -> Result<Vec<(Container, Status, Restored)>> {
    let mut restored = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    let mut working = tokio::task::JoinSet::new();
    loop {
        while working.len() < AT_A_TIME
            && let Some((container, mut status)) = rows.next()
        {
            let engine = Arc::clone(engine);
            working.spawn(async move {
                let observed = observe::container(&engine.paths.run(&container.id), &container.rootfs).await;
                let action = plan(&recorded(&container, &status), &observed);
                let how = carry_out(&engine, &container, &mut status, action, observed.exit).await;
                (container, status, how)
            });
        }
        match working.join_next().await {
            None => return Ok(restored),
            Some(Ok(done)) => restored.push(done),
            Some(Err(error)) => {
                return Err(Error::Internal(format!("a container was not restored: {error}")));
            }
        }
    }
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
    for (_, container) in &containers {
        let mounted = container.mounts.iter().filter_map(|row| row.tree.as_ref());
        let trees: Vec<_> = std::iter::once(&container.rootfs).chain(mounted).collect();
        match trees
            .iter()
            .try_fold(false, |was, tree| Ok::<_, knarr_image::Error>(engine.images.repair_root(tree)? | was))
        {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                container = container.id.short(),
                "its directories were lost before they reached the disk: made again"
            ),
            Err(error) => {
                tracing::error!(container = container.id.short(), %error, "its directories are lost");
            }
        }
        match engine.images.repair_hold(&engine.paths.container(&container.id), &trees) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                container = container.id.short(),
                "the list of its layers was lost: made again"
            ),
            Err(error) => {
                tracing::error!(container = container.id.short(), %error, "the list of its layers is lost")
            }
        }
    }
    Ok(containers
        .into_iter()
        .map(|(id, container)| {
            let status = statuses.remove(&id).unwrap_or_else(lost);
            (container, status)
        })
        .collect())
}

/// What their checks found. One that was damaged is found out again.
fn read_health(engine: &Inner) -> Result<BTreeMap<String, Health>> {
    Ok(engine.store.list::<Health>()?.into_iter().collect())
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
        finished_at: status.finished_at,
        remove: status.wishes.remove.is_some(),
        start_again: status.wishes.start_again || status.wishes.restart_later,
    }
}

async fn carry_out(
    engine: &Arc<Inner>,
    container: &Container,
    status: &mut Status,
    action: Action,
    exit: Option<ExitRecord>,
) -> Restored {
    if status.phase == Phase::Restarting && matches!(action, Action::Start | Action::Nothing) {
        // Whatever pause was left: a new one begins with the next exit.
        status.phase = Phase::Exited;
    }
    match action {
        Action::Nothing => Restored::default(),
        Action::Start => Restored { start: true, ..Restored::default() },
        Action::Remove => {
            let volumes = status.wishes.remove.unwrap_or(container.host_config.auto_remove);
            status.wishes = Wishes::default();
            if status.phase == Phase::Removing {
                status.phase = Phase::Exited;
            }
            Restored { remove: Some(volumes), ..Restored::default() }
        }
        Action::Ended => {
            ran_unseen(engine, container, status, None).await;
            Restored { ended: exit, ..Restored::default() }
        }
        Action::Lost => {
            ran_unseen(engine, container, status, None).await;
            Restored { lost: true, ..Restored::default() }
        }
        Action::Reconnect => {
            match task::find_supervisor(&engine.paths.run(&container.id), Some(PATIENCE)).await {
                Found::Connected(connected) => took_over(engine, container, status, *connected).await,
                Found::Ended(record) => {
                    ran_unseen(engine, container, status, None).await;
                    Restored { ended: Some(record), ..Restored::default() }
                }
                Found::Dead => {
                    ran_unseen(engine, container, status, None).await;
                    Restored { lost: true, ..Restored::default() }
                }
                Found::Busy => {
                    tracing::warn!(container = container.id.short(), "its supervisor does not answer yet");
                    ran_unseen(engine, container, status, None).await;
                    Restored { busy: true, ..Restored::default() }
                }
            }
        }
    }
}

/// An engine that died between the start and its commit left a status of before.
fn was_running(status: &mut Status, started_at: Option<Time>) {
    if !status.phase.is_live() {
        status.phase = Phase::Running;
        // What had been asked for was about the run before; a removal holds.
        status.wishes = Wishes { remove: status.wishes.remove, ..Wishes::default() };
        status.stopped_by_user = false;
        status.started_at = started_at.unwrap_or_else(Time::now);
    }
}

/// The same for a run that is over, or that nobody can be asked about yet: its start comes among the events before its end does.
async fn ran_unseen(
    engine: &Arc<Inner>,
    container: &Container,
    status: &mut Status,
    started_at: Option<Time>,
) {
    if !status.phase.is_live() {
        was_running(status, started_at);
        write(engine, container, status, true).await;
    }
}

async fn write(engine: &Arc<Inner>, container: &Container, status: &Status, started: bool) {
    let (store, row, id) = (engine.store.clone(), status.clone(), container.id.clone());
    let event = started.then(|| container.event("start"));
    let written = engine.pool.run(move || {
        store.write(|tx| {
            tx.put(id.as_str(), &row)?;
            if let Some(event) = event {
                tx.emit(event);
            }
            Ok::<_, knarr_state::Error>(())
        })
    });
    if let Ok(Err(error)) = written.await {
        tracing::error!(%error, "status not written");
    }
}

async fn took_over(
    engine: &Arc<Inner>,
    container: &Container,
    status: &mut Status,
    connected: Connected,
) -> Restored {
    let Connected { handle, events, report } = connected;
    if let Some(exit) = report.exit {
        ran_unseen(engine, container, status, report.started_at.map(Time::from)).await;
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
    let before = status.clone();
    was_running(status, report.started_at.map(Time::from));
    status.pid = report.pid.unwrap_or(status.pid);
    status.pid_start_time = report.pid_start_time;
    if let Some(frozen) = observe::is_frozen(engine, container).await {
        status.phase = if frozen { Phase::Paused } else { Phase::Running };
    }
    if *status != before {
        write(engine, container, status, late).await;
    }
    crate::name_server::resume(engine, container, status).await;
    crate::facade::adopt_execs(engine, container, &handle, report.execs);
    Restored { live: Some((handle, events)), ..Restored::default() }
}
