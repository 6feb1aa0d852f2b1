//! A container's health check: the planner's effects, carried out by the container's task.
use super::message::{Message, Outcome};
use super::run::Task;
use crate::health::{self, Effect, Event, Moment, OnFailure, Plan, State};
use crate::machine::{Activity, Event as Happening, Phase};
use crate::record::{Container, Health, Time};
use crate::signal::SIGKILL;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the task knows of it.
pub(super) struct Monitor {
    plan: Option<Arc<Plan>>,
    state: State,
    /// As published.
    shown: Option<Arc<Health>>,
    pub due_at: Option<Instant>,
    cancel: CancellationToken,
    /// The row is to be written with the next commit.
    pub unwritten: bool,
}

impl Monitor {
    pub fn new(container: &Container, health: Option<Health>) -> Self {
        Self {
            plan: Plan::of(&container.config, &container.host_config.annotations).map(Arc::new),
            shown: health.clone().map(Arc::new),
            state: State { health, ..State::default() },
            due_at: None,
            cancel: CancellationToken::new(),
            unwritten: false,
        }
    }

    pub fn shown(&self) -> Option<Arc<Health>> {
        self.shown.clone()
    }

    /// The row, if it has to be written.
    pub fn take_unwritten(&mut self) -> Option<Health> {
        std::mem::take(&mut self.unwritten).then(|| self.state.health.clone()).flatten()
    }
}

/// Nobody looks at a container without a task.
impl Drop for Monitor {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What follows that takes time.
#[derive(Default)]
struct Then {
    write: bool,
    act: OnFailure,
}

impl Task {
    /// After a change of the container's state, before it is committed and published.
    pub(super) fn follow_health(&mut self) {
        let runs = self.state.phase == Phase::Running && self.state.activity != Activity::Cleaning;
        let looked_at = self.health.state.health.as_ref().map(|health| health.run);
        let event = match (runs, self.health.state.on) {
            (true, _) if looked_at != Some(self.status.started_at) => Event::Start,
            (true, false) => Event::Resume { thousandths: spread(&self.container) },
            (false, true) => Event::Suspend,
            (true, true) | (false, false) => return,
        };
        // What it asks to write is written with what follows.
        self.plan_health(event);
    }

    pub(super) async fn health_event(&mut self, event: Event) {
        let then = self.plan_health(event);
        if then.write {
            self.write_health().await;
        }
        // What somebody asked for comes first.
        if self.state.activity == Activity::Idle && self.state.phase == Phase::Running {
            let wish = crate::facade::own_stop_wish(&self.engine, &self.container);
            match then.act {
                OnFailure::None => {}
                OnFailure::Restart => self.step(Happening::RestartLater(wish)).await,
                OnFailure::Stop => self.step(Happening::Stop(wish)).await,
                // As a process that ended by itself: its restart policy says what follows.
                OnFailure::Kill => self.step(Happening::Kill { signal: SIGKILL, ends: false }).await,
            }
        }
    }

    fn plan_health(&mut self, event: Event) -> Then {
        let mut then = Then::default();
        let Some(plan) = self.health.plan.clone() else { return then };
        let moment = Moment { now: Time::now(), started_at: self.status.started_at };
        let before = std::mem::take(&mut self.health.state);
        let (state, effects) = health::step(&plan, before, event, moment);
        self.health.state = state;
        for effect in effects {
            match effect {
                Effect::Arm(after) => self.health.due_at = Some(Instant::now() + after),
                Effect::Disarm => self.health.due_at = None,
                Effect::Probe { number } => self.probe(&plan, number),
                Effect::Cancel => self.health.cancel.cancel(),
                Effect::Show => self.show_health(),
                Effect::Keep => {
                    self.health.unwritten = true;
                    self.health.shown = self.health.state.health.clone().map(Arc::new);
                }
                Effect::Act(what) => then.act = what,
                Effect::Report(status) => {
                    let event = self.container.event(&format!("health_status: {}", status.as_str()));
                    self.outbox.push(event);
                    self.health.unwritten = true;
                    then.write = true;
                    self.show_health();
                }
            }
        }
        then
    }

    fn show_health(&mut self) {
        self.health.shown = self.health.state.health.clone().map(Arc::new);
        self.publish();
    }

    fn probe(&mut self, plan: &Arc<Plan>, number: u64) {
        self.health.cancel = CancellationToken::new();
        let (engine, plan, id) = (Arc::clone(&self.engine), Arc::clone(plan), self.container.id.clone());
        let (cancel, inbox) = (self.health.cancel.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let result = health::run(&engine, &id, &plan, &cancel).await;
            let _ = inbox.send(Message::Outcome(Outcome::Probed { number, result })).await;
        });
    }

    /// The new status and its event. A failure is reported and holds nothing up.
    async fn write_health(&mut self) {
        let (store, id) = (self.engine.store.clone(), self.container.id.clone());
        let (health, events) = (self.health.take_unwritten(), std::mem::take(&mut self.outbox));
        let written = self.engine.pool.run(move || {
            store.write_behind(|tx| {
                if let Some(health) = health
                    && tx.get::<Container>(id.as_str())?.is_some()
                {
                    tx.put(id.as_str(), &health)?;
                }
                for event in events {
                    tx.emit(event);
                }
                Ok::<_, knarr_state::Error>(())
            })
        });
        let written = written.await.and_then(|inner| inner.map_err(Into::into));
        if let Err(error) = written {
            tracing::error!(container = self.container.id.short(), %error, "health not written");
        }
    }
}

/// Where in the interval its probes come after a resumption: another place for each container.
fn spread(container: &Container) -> u32 {
    let head = container.id.as_str().get(..8).and_then(|head| u32::from_str_radix(head, 16).ok());
    head.unwrap_or_default() % 1000
}
