//! Carrying out the machine's effects.
use super::deliver;
use super::message::{Message, Outcome, Refused};
use super::run::Task;
use crate::error::Result;
use crate::machine::{Activity, Effect, Phase, Policy};
use crate::record::{Container, Health, NameOwner, Status};
use crate::start;
use knarr_state::Event;
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

type ReplySlot = Option<oneshot::Sender<Result<(), Refused>>>;

impl Task {
    /// In order; the effects that take time are started, not awaited. A signal asked for by a request answers it when
    /// it was delivered.
    pub(super) async fn apply(&mut self, effects: Vec<Effect>, reply: &mut ReplySlot) {
        for effect in effects {
            match effect {
                Effect::Launch => self.launch(),
                Effect::Signal(signal) => self.signal(signal, reply.take()),
                Effect::ArmStop { after_ms } => {
                    self.stop_at = Some(Instant::now() + Duration::from_millis(after_ms))
                }
                Effect::HastenStop { after_ms } => {
                    let then = Instant::now() + Duration::from_millis(after_ms);
                    self.stop_at = Some(self.stop_at.map_or(then, |before| before.min(then)));
                }
                Effect::DisarmStop => self.stop_at = None,
                Effect::ArmBackoff { after_ms } => {
                    self.restart_at = Some(Instant::now() + Duration::from_millis(after_ms));
                }
                Effect::DisarmBackoff => self.restart_at = None,
                Effect::Freeze => self.freeze(true),
                Effect::Thaw => self.freeze(false),
                Effect::Clean => self.clean(),
                Effect::Delete { volumes } => self.delete(volumes),
                Effect::Commit => self.commit().await,
                Effect::Remember => self.remember().await,
                Effect::Reached(_) | Effect::Missed(_) => self.answer(effect),
            }
        }
    }

    /// Runs `job` and takes its outcome back through the inbox.
    pub(super) fn start_job(&self, job: impl Future<Output = Outcome> + Send + 'static) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let outcome = job.await;
            // The task is gone only after it removed the container: then nobody needs the outcome.
            let _ = inbox.send(Message::Outcome(outcome)).await;
        });
    }

    fn launch(&mut self) {
        let (engine, container) = (self.engine.clone(), self.container.clone());
        let attachers = std::mem::take(&mut self.attachers);
        self.launching = Some(self.container.clone());
        self.starting = Some(engine.starting.enter(&container));
        self.start_job(async move {
            match start::launch(&engine, &container, attachers).await {
                Ok(launched) => Outcome::Started(Box::new(launched)),
                Err(failed) => Outcome::StartFailed(Box::new(failed)),
            }
        });
    }

    fn signal(&mut self, signal: i32, reply: ReplySlot) {
        let event = self.container.event("kill").with("signal", signal.to_string());
        let (engine, container, live) = (self.engine.clone(), self.container.clone(), self.live.clone());
        tokio::spawn(async move {
            let delivered = deliver::signal(&engine, &container, live, signal).await;
            match &delivered {
                Err(error) => {
                    tracing::debug!(container = container.id.short(), signal, %error, "signal not delivered");
                }
                Ok(()) if reply.is_some() => engine.emit_done(event).await,
                Ok(()) => engine.emit(event).await,
            }
            if let Some(reply) = reply {
                let _ = reply.send(delivered.map_err(Refused::Failed));
            }
        });
    }

    fn freeze(&mut self, frozen: bool) {
        let (engine, container) = (self.engine.clone(), self.container.clone());
        self.start_job(async move {
            let result = start::freeze(&engine, &container, frozen).await;
            if frozen { Outcome::Frozen(result) } else { Outcome::Thawed(result) }
        });
    }

    fn clean(&mut self) {
        let (engine, container, live) = (self.engine.clone(), self.container.clone(), self.live.take());
        self.events = None;
        self.follow_health();
        self.start_job(async move { Outcome::Cleaned(start::clean(&engine, &container, live).await) });
    }

    fn delete(&mut self, volumes: bool) {
        // Of one that removes itself the removal is the commit of its end.
        self.outbox.extend(self.stop_event());
        self.status.phase = self.state.phase;
        self.status.pid = 0;
        self.publish();
        let (engine, container) = (self.engine.clone(), self.container.clone());
        let events = std::mem::take(&mut self.outbox);
        self.start_job(
            async move { Outcome::Removed(start::remove(&engine, &container, volumes, events).await) },
        );
    }

    /// The status as the machine has it now.
    fn take_state(&mut self) {
        self.status.phase = self.state.phase;
        self.status.exit_code = self.state.exit_code;
        self.status.restarts = self.state.restarts;
        self.status.stopped_by_user = self.state.stopped_by_user;
        self.status.wishes = self.state.wishes;
        if !self.state.phase.is_live() {
            (self.status.pid, self.status.pid_start_time) = (0, 0);
        } else {
            self.status.exit_code = 0;
        }
    }

    /// What a stop that somebody asked for is told as, once the process is gone; a kill and a forced removal are not.
    /// The status is still that of before.
    fn stop_event(&self) -> Option<Event> {
        let between = self.status.phase == Phase::Restarting;
        let asked = self.state.stopped_by_user
            && (self.status.wishes.stop.is_some() || between)
            && self.status.wishes.remove.is_none();
        (asked && self.ends()).then(|| self.container.event("stop"))
    }

    /// Whether the state is the end of what the status still tells of. Between two runs there is no process to end, and it is
    /// stopped all the same.
    fn ends(&self) -> bool {
        (self.status.pid != 0 || self.status.phase == Phase::Restarting) && !self.state.phase.is_live()
    }

    /// Writes what was asked for, so that it survives this engine. A failure is reported and holds nothing up.
    async fn remember(&mut self) {
        self.take_state();
        let (store, status, id) = (self.engine.store.clone(), self.status.clone(), self.container.id.clone());
        let write = move || write_status(&store, id.as_str(), &status, None, Vec::new(), true);
        let written = self.engine.pool.run(write);
        if let Err(error) = written.await.and_then(|inner| inner) {
            tracing::error!(container = self.container.id.short(), %error, "wish not written");
        }
        knarr_base::failpoint!("stop.remembered");
    }

    /// Writes the status and the waiting events in one transaction, then publishes it.
    async fn commit(&mut self) {
        let exited = self.state.phase == Phase::Exited || self.state.phase == Phase::Restarting;
        let (ended, stopped) = (self.ends(), self.stop_event());
        let thawed = self.status.phase == Phase::Paused;
        self.take_state();
        self.follow_health();
        let health = self.health.take_unwritten();
        self.outbox.extend(stopped);
        let (store, status, events) =
            (self.engine.store.clone(), self.status.clone(), std::mem::take(&mut self.outbox));
        let (id, run) = (self.container.id.clone(), self.engine.paths.run(&self.container.id));
        // A start that a power cut forgets is one of a container that the power cut ended, unless it would come up again; one that
        // an engine's end forgets is found out by the next engine.
        let durable = self.state.phase != Phase::Running || self.state.policy != Policy::No || thawed;
        let written = self.engine.pool.run(move || {
            write_status(&store, id.as_str(), &status, health, events, durable)?;
            knarr_base::failpoint!("exit.committed");
            // Only now is the supervisor's record of no more use.
            if exited {
                discard_run(&run);
            }
            Ok::<_, crate::error::Error>(())
        });
        if let Err(error) = written.await.and_then(|inner| inner) {
            tracing::error!(container = self.container.id.short(), %error, "status not written");
        }
        self.publish();
        if self.state.activity != Activity::Starting {
            // It runs, or it did not come to that.
            self.starting = None;
        }
        if ended && self.state.activity == Activity::Idle || exited {
            self.waiters.exited(self.state.exit_code);
        } else if !self.is_busy() {
            // A start that failed, of a container that never ran.
            self.waiters.exited_now(self.state.exit_code);
        }
    }
}

fn write_status(
    store: &knarr_state::Store,
    id: &str,
    status: &Status,
    health: Option<Health>,
    events: Vec<Event>,
    durable: bool,
) -> Result<()> {
    let change = |tx: &mut knarr_state::WriteTx<'_>| {
        // A container whose rows are gone is not brought back.
        if tx.get::<Container>(id)?.is_some() {
            tx.put(id, status)?;
            if let Some(health) = &health {
                tx.put(id, health)?;
            }
        }
        for event in events {
            tx.emit(event);
        }
        Ok(())
    };
    if durable { store.write(change) } else { store.write_behind(change) }
}

fn discard_run(run: &Path) {
    if let Err(error) = std::fs::remove_dir_all(run)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %run.display(), %error, "run directory not removed");
    }
}

/// Removes all rows of a container; its name is free from then on. Durable on return, but for a container that removes
/// itself: whoever removes what else there is of it makes it durable before.
pub(crate) fn delete_rows(
    store: &knarr_state::Store,
    container: &Container,
    events: Vec<Event>,
    durable: bool,
) -> Result<()> {
    let change = |tx: &mut knarr_state::WriteTx<'_>| {
        tx.delete::<Container>(container.id.as_str())?;
        tx.delete::<Status>(container.id.as_str())?;
        tx.delete::<Health>(container.id.as_str())?;
        if tx.get::<NameOwner>(&container.name)?.is_some_and(|owner| owner.id == container.id) {
            tx.delete::<NameOwner>(&container.name)?;
        }
        for event in events {
            tx.emit(event);
        }
        Ok(())
    };
    if durable { store.write(change) } else { store.write_behind(change) }
}
