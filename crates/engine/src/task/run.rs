//! The loop of a container's task.
use super::health::Monitor;
use super::message::{Message, Outcome, Refused};
use super::waiters::Waiters;
use super::{Connected, Found, Inbox};
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::health;
use crate::machine::{
    self, Activity, Backoff, Effect, Event as Happening, Milestone, Phase, Policy, Reply, State, Wishes,
};
use crate::record::{Container, Health, Status, Time};
use crate::registry::{Entry, Snapshot};
use crate::standing::StartGuard;
use crate::supervisor::{Events, ShimHandle};
use knarr_shim_proto::{Event as ShimEvent, ExitRecord, Streams};
use knarr_state::Event;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What a task begins with, after creation or a restart of the engine.
#[derive(Default)]
pub(crate) struct Restored {
    pub live: Option<(ShimHandle, Events)>,
    /// How it ended while no engine was there.
    pub ended: Option<ExitRecord>,
    /// Its supervisor is gone and left no record.
    pub lost: bool,
    /// Its supervisor lives and has not answered yet: it is asked until it does, or is gone.
    pub busy: bool,
    /// To be started by its policy, once everybody is there.
    pub start: bool,
    /// A removal had begun; holds whether anonymous volumes go too.
    pub remove: Option<bool>,
    /// As its check left it.
    pub health: Option<Health>,
}

impl Restored {
    /// Its process is there.
    pub fn runs(&self) -> bool {
        self.live.is_some() || self.busy
    }
}

pub(super) struct Task {
    pub engine: Arc<Inner>,
    pub inbox: Inbox,
    pub container: Arc<Container>,
    pub status: Status,
    pub state: State,
    pub live: Option<ShimHandle>,
    pub events: Option<Events>,
    pub waiters: Waiters,
    pub attachers: Vec<(Streams, oneshot::Sender<UnixStream>)>,
    /// Events to be written with the next commit.
    pub outbox: Vec<Event>,
    pub stop_at: Option<Instant>,
    pub restart_at: Option<Instant>,
    pub health: Monitor,
    /// As it was when its start was begun.
    pub launching: Option<Arc<Container>>,
    /// While its start is under way: its layers are not touched.
    pub starting: Option<StartGuard>,
    /// Why the last start failed.
    pub failure: Option<Error>,
    pub over: bool,
}

/// Starts the task of a container whose rows are committed, and makes it known.
pub(crate) fn spawn(engine: &Arc<Inner>, container: Container, status: Status, restored: Restored) {
    let (inbox, receiver) = Inbox::new(&container.id);
    let container = Arc::new(container);
    // Of one that runs, the wishes are asked for again below; otherwise they decide what follows from its end.
    let wishes = if restored.runs() { Wishes::default() } else { status.wishes };
    let asked_before = status.wishes;
    let state = State {
        phase: status.phase,
        policy: Policy::of(&container.host_config.restart_policy),
        backoff: backoff(engine, &container),
        auto_remove: container.host_config.auto_remove,
        stopped_by_user: status.stopped_by_user,
        wishes,
        restarts: status.restarts,
        exit_code: status.exit_code,
        ..State::default()
    };
    let live = restored.live.as_ref().map(|(handle, _)| handle.clone());
    let health = Monitor::new(&container, restored.health);
    let snapshot = Snapshot {
        container: Arc::clone(&container),
        status: status.clone(),
        live: live.clone(),
        health: health.shown(),
    };
    engine.containers.insert(Entry { snapshot: Arc::new(snapshot), inbox: inbox.clone() });
    let (events, ended) = (restored.live.map(|(_, events)| events), restored.ended);
    let mut task = Task {
        engine: Arc::clone(engine),
        inbox,
        container,
        status,
        state,
        live,
        events,
        waiters: Waiters::default(),
        attachers: Vec::new(),
        outbox: Vec::new(),
        stop_at: None,
        restart_at: None,
        health,
        launching: None,
        starting: None,
        failure: None,
        over: false,
    };
    let (lost, busy, remove) = (restored.lost, restored.busy, restored.remove);
    tokio::spawn(async move {
        if let Some(record) = ended {
            task.exited(record).await;
        } else if lost {
            task.lost().await;
        } else if busy {
            task.find_supervisor();
        }
        task.follow_health();
        if let Some(volumes) = remove {
            task.step(Happening::Remove { force: true, volumes }).await;
        } else if task.state.phase.is_live() {
            task.go_on_with(asked_before).await;
        }
        task.run(receiver).await;
    });
}

/// The container's own pauses, or the engine's. What is no duration was refused when the container was made.
fn backoff(engine: &Inner, container: &Container) -> Backoff {
    let said = |name: &str| container.host_config.annotations.get(name).map(String::as_str);
    let default = engine.config().restart_backoff;
    Backoff::parse(said(machine::DELAY), said(machine::MAX_DELAY), default).unwrap_or(default)
}

impl Task {
    /// What an earlier engine had begun with a container that still runs.
    async fn go_on_with(&mut self, wishes: Wishes) {
        if self.state.activity == Activity::Cleaning {
            return;
        }
        self.state.wishes.exit = wishes.exit;
        match (wishes.remove, wishes.stop) {
            (Some(volumes), _) => self.step(Happening::Remove { force: true, volumes }).await,
            (None, Some(wish)) if wishes.start_again => self.step(Happening::Restart(wish)).await,
            (None, Some(wish)) if wishes.restart_later => self.step(Happening::RestartLater(wish)).await,
            (None, Some(wish)) => self.step(Happening::Stop(wish)).await,
            (None, None) => {}
        }
    }

    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while !self.over {
            tokio::select! {
                message = receiver.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                event = next(&mut self.events) => self.shim_event(event).await,
                () = at(self.stop_at) => {
                    self.stop_at = None;
                    self.step(Happening::StopTimeout).await;
                }
                () = at(self.restart_at) => {
                    self.restart_at = None;
                    self.step(Happening::BackoffOver).await;
                }
                () = at(self.health.due_at) => {
                    self.health.due_at = None;
                    self.health_event(health::Event::Due).await;
                }
            }
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Request(event, reply) => self.request(event, reply).await,
            Message::Wait { condition, outcome, registered } => {
                self.wait(condition, outcome);
                let _ = registered.send(());
            }
            Message::Attach { streams, stream, registered } => {
                self.attach(streams, stream);
                let _ = registered.send(());
            }
            Message::Configure { change, action, extra, reply } => {
                let _ = reply.send(self.configure(change, action, extra).await);
            }
            Message::Outcome(outcome) => self.outcome(outcome).await,
        }
    }

    async fn request(&mut self, event: Happening, reply: oneshot::Sender<Result<(), Refused>>) {
        let (state, effects, answer) = machine::step(self.state, event);
        self.state = state;
        let mut reply = Some(reply);
        match answer {
            Reply::Refused(refusal) => {
                let _ = reply.take().map(|reply| reply.send(Err(Refused::ByState(refusal))));
            }
            Reply::When(milestone) => {
                if let Some(reply) = reply.take() {
                    self.waiters.add(milestone, reply);
                }
            }
            Reply::Done => {}
        }
        self.apply(effects, &mut reply).await;
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }

    pub(super) async fn step(&mut self, event: Happening) {
        let (state, effects, _) = machine::step(self.state, event);
        self.state = state;
        self.apply(effects, &mut None).await;
    }

    fn wait(
        &mut self,
        condition: knarr_docker_types::options::WaitCondition,
        outcome: oneshot::Sender<knarr_docker_types::container::WaitResponse>,
    ) {
        use knarr_docker_types::options::WaitCondition::NotRunning;
        self.waiters.add_exit(condition, outcome);
        if condition == NotRunning && !self.is_busy() {
            self.waiters.exited_now(self.state.exit_code);
        }
    }

    /// It runs, or is about to.
    pub(super) fn is_busy(&self) -> bool {
        self.state.phase.is_live()
            || self.state.phase == Phase::Restarting
            || self.state.activity == Activity::Starting
    }

    /// A client sees the process that runs, or else the next one: whoever looked before the start sees that one.
    fn attach(&mut self, streams: Streams, client: oneshot::Sender<UnixStream>) {
        match &self.live {
            Some(handle) if self.state.phase.is_live() => {
                let handle = handle.clone();
                tokio::spawn(async move {
                    // An error: it ended meanwhile, which is what the client sees.
                    if let Ok(stream) = handle.attach(streams).await {
                        let _ = client.send(stream);
                    }
                });
            }
            _ => {
                self.attachers.retain(|(_, client)| !client.is_closed());
                self.attachers.push((streams, client));
            }
        }
    }

    async fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Started(launched) => {
                self.status.pid = launched.pid;
                self.status.pid_start_time = launched.pid_start_time;
                self.status.started_at = launched.started_at;
                self.status.error.clear();
                self.status.oom_killed = false;
                self.live = Some(launched.handle);
                self.events = Some(launched.events);
                self.outbox.extend(launched.network_events);
                self.outbox.push(self.container.event("start"));
                self.step(Happening::Started).await;
                // Those who came while it was being started.
                for (streams, client) in std::mem::take(&mut self.attachers) {
                    self.attach(streams, client);
                }
                if let Some(before) =
                    self.launching.take().filter(|c| crate::edit::differs(c, &self.container))
                {
                    let (engine, id) = (Arc::clone(&self.engine), self.container.id.clone());
                    tokio::spawn(async move { crate::edit::catch_up(&engine, &id, &before).await });
                }
            }
            Outcome::StartFailed(failed) => {
                self.status.error = failed.error.to_string();
                (self.status.pid, self.status.pid_start_time) = (0, 0);
                self.failure = Some(failed.error);
                self.attachers.clear();
                self.step(Happening::StartFailed { code: failed.code }).await;
                self.failure = None;
            }
            Outcome::Frozen(result) => {
                let ok = self.log_failure("pause", &result);
                if ok && self.state.activity == Activity::Pausing {
                    self.outbox.push(self.container.event("pause"));
                }
                self.failure = result.err();
                self.step(Happening::Paused { ok }).await;
                self.failure = None;
            }
            Outcome::Thawed(result) => {
                let ok = self.log_failure("unpause", &result);
                if ok && self.state.phase == Phase::Paused {
                    self.outbox.push(self.container.event("unpause"));
                }
                self.failure = result.err();
                self.step(Happening::Unpaused { ok }).await;
                self.failure = None;
            }
            Outcome::Cleaned(events) => {
                self.outbox.extend(events);
                self.step(Happening::Cleaned).await;
            }
            Outcome::Removed(result) => self.removed(result).await,
            Outcome::Found(found) => self.found(found).await,
            Outcome::Probed { number, result } => {
                self.health_event(health::Event::Probed { number, result }).await;
            }
        }
    }

    fn log_failure(&self, what: &str, result: &Result<()>) -> bool {
        if let Err(error) = result {
            tracing::warn!(container = self.container.id.short(), %error, what, "failed");
        }
        result.is_ok()
    }

    async fn removed(&mut self, result: Result<()>) {
        let code = self.state.exit_code;
        match result {
            Ok(()) => {
                self.engine.containers.remove(&self.container.id);
                self.engine.execs.forget(&self.container.id);
                self.step(Happening::Removed { ok: true }).await;
                self.waiters.removed(code);
                self.over = true;
            }
            Err(error) => {
                tracing::error!(container = self.container.id.short(), %error, "removal failed");
                self.waiters.removal_failed(code, &error.to_string());
                self.status.error = error.to_string();
                self.failure = Some(error);
                self.step(Happening::Removed { ok: false }).await;
                self.failure = None;
            }
        }
    }

    async fn shim_event(&mut self, event: Option<ShimEvent>) {
        match event {
            Some(ShimEvent::Exited(record)) => self.exited(record).await,
            Some(ShimEvent::Oom) => {
                // Not with the next change of state: that may be a long time off.
                let event = self.container.event("oom");
                self.engine.emit(event).await;
            }
            Some(ShimEvent::LogLost { total, why }) => {
                tracing::warn!(container = self.container.id.short(), total, why, "log messages were lost");
                self.status.log_lost = total;
                self.publish();
            }
            Some(ShimEvent::ExecExited { exec_id, exit }) => {
                self.engine.execs.exited(&self.engine, &self.container, &exec_id, &exit);
            }
            Some(ShimEvent::Created { .. } | ShimEvent::CreateFailed(_)) => {}
            None => {
                self.events = None;
                if self.state.phase.is_live() && self.state.activity != Activity::Cleaning {
                    self.live = None;
                    self.publish();
                    self.find_supervisor();
                }
            }
        }
    }

    /// A connection that ended is not a supervisor that died.
    fn find_supervisor(&self) {
        let run = self.engine.paths.run(&self.container.id);
        self.start_job(async move { Outcome::Found(super::find_supervisor(&run, None).await) });
    }

    async fn found(&mut self, found: Found) {
        if !self.state.phase.is_live() || self.state.activity == Activity::Cleaning {
            return;
        }
        match found {
            Found::Connected(connected) => {
                let Connected { handle, events, report } = *connected;
                self.status.log_lost = report.log_lost;
                if let Some(pid) = report.pid {
                    (self.status.pid, self.status.pid_start_time) = (pid, report.pid_start_time);
                }
                crate::facade::adopt_execs(&self.engine, &self.container, &handle, report.execs);
                self.live = Some(handle);
                self.events = Some(events);
                self.publish();
                let (engine, container, status) =
                    (Arc::clone(&self.engine), Arc::clone(&self.container), self.status.clone());
                tokio::spawn(async move { crate::name_server::resume(&engine, &container, &status).await });
            }
            Found::Ended(record) => self.exited(record).await,
            Found::Dead => self.lost().await,
            Found::Busy => self.find_supervisor(),
        }
    }

    /// The supervisor is gone: its record says how the process ended, or nobody knows.
    async fn lost(&mut self) {
        let dir = self.engine.paths.run(&self.container.id);
        let record = crate::supervisor::records::exit(&dir).await.ok().flatten();
        let record = match record {
            Some(record) => record,
            None => {
                tracing::error!(container = self.container.id.short(), "the supervisor died");
                crate::start::kill_leftovers(&self.engine, &self.container).await;
                ExitRecord {
                    pid: self.status.pid,
                    code: 128 + crate::signal::SIGKILL,
                    signal: Some(crate::signal::SIGKILL),
                    oom_killed: false,
                    exited_at: Time::now().timestamp(),
                    error: Some("the container's supervisor died".to_owned()),
                    log_lost: 0,
                }
            }
        };
        self.exited(record).await;
    }

    pub(super) async fn exited(&mut self, record: ExitRecord) {
        self.engine.execs.container_ended(&self.container.id);
        let at = Time::from(record.exited_at);
        let ran_ms = at.millis_since(self.status.started_at);
        self.status.finished_at = at;
        self.status.oom_killed = record.oom_killed;
        self.status.log_lost = record.log_lost;
        self.engine.metrics.log_lost.fetch_add(record.log_lost, std::sync::atomic::Ordering::Relaxed);
        if let Some(error) = record.error {
            self.status.error = error;
        }
        let mut die = self.container.event("die");
        die.time_nanos = at.0;
        self.outbox.push(
            die.with("exitCode", record.code.to_string()).with("execDuration", (ran_ms / 1000).to_string()),
        );
        self.step(Happening::Exited { code: record.code, ran_ms }).await;
    }

    async fn configure(
        &mut self,
        change: Box<dyn FnOnce(&mut Container) + Send>,
        action: &'static str,
        extra: Vec<(String, String)>,
    ) -> Result<()> {
        if matches!(self.state.phase, Phase::Removing | Phase::Dead) {
            let id = &self.container.id;
            return Err(Error::Conflict(format!(
                "container {id} is marked for removal and cannot be changed"
            )));
        }
        let mut container = Container::clone(&self.container);
        let old_name = container.name.clone();
        change(&mut container);
        let event = extra.into_iter().fold(container.event(action), |e, (key, value)| e.with(&key, value));
        let (store, row) = (self.engine.store.clone(), container.clone());
        self.engine.pool.run(move || commit_configuration(&store, &row, &old_name, event)).await??;
        self.container = Arc::new(container);
        self.state.policy = Policy::of(&self.container.host_config.restart_policy);
        self.publish();
        Ok(())
    }

    pub(super) fn publish(&self) {
        self.engine.containers.publish(Snapshot {
            container: Arc::clone(&self.container),
            status: self.status.clone(),
            live: self.live.clone(),
            health: self.health.shown(),
        });
    }

    pub(super) fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Reached(milestone) => self.waiters.answer(milestone, None),
            Effect::Missed(milestone) => {
                let failure = self.failure.as_ref().map(Error::repeat);
                let why = || match (&failure, milestone) {
                    (Some(error), _) => error.repeat(),
                    (None, Milestone::Paused | Milestone::Unpaused) => {
                        Error::Conflict("the container is not running".into())
                    }
                    // Docker's words.
                    (None, Milestone::Stopped) => Error::Internal(
                        "cannot stop container: tried to kill container, but did not receive an exit event"
                            .into(),
                    ),
                    (None, _) => Error::Internal("the container did not get there".into()),
                };
                self.waiters.answer(milestone, Some(&why));
            }
            _ => {}
        }
    }
}

fn commit_configuration(
    store: &knarr_state::Store,
    row: &Container,
    old_name: &str,
    event: Event,
) -> Result<()> {
    use crate::record::NameOwner;
    store.write(|tx| {
        // A container whose rows are gone is not brought back.
        if tx.get::<Container>(row.id.as_str())?.is_none() {
            return Err(Error::NoSuchContainer(row.id.to_string()));
        }
        if row.name != old_name {
            if let Some(owner) = tx.get::<NameOwner>(&row.name)? {
                return Err(Error::NameTaken { name: row.name.clone(), id: owner.id.to_string() });
            }
            tx.delete::<NameOwner>(old_name)?;
            tx.put(&row.name, &NameOwner { id: row.id.clone() })?;
        }
        // One that is removed meanwhile is not brought back.
        if tx.get::<Container>(row.id.as_str())?.is_none() {
            return Err(Error::NoSuchContainer(row.id.to_string()));
        }
        tx.put(row.id.as_str(), row)?;
        tx.emit(event);
        Ok(())
    })
}

async fn next(events: &mut Option<Events>) -> Option<ShimEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
