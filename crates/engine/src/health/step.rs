//! The planner: what follows from a result, a timer, a start or an end.
use super::{OnFailure, Plan};
use crate::record::{Health, HealthStatus, ProbeResult, Time};
use std::time::Duration;

/// Results that are kept.
const MAX_LOG: usize = 5;

/// What a check is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// `None` before the first start.
    pub health: Option<Health>,
    /// The container runs and is looked at.
    pub on: bool,
    /// The probe that runs: its number.
    pub probing: Option<u64>,
    /// Probes begun, to tell their results apart.
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A run of the container begins.
    Start,
    /// The same run goes on: after a pause, or with another engine. The first probe comes after this part of the interval,
    /// in thousandths, so that those of many containers do not come at once.
    Resume { thousandths: u32 },
    /// It ended or was paused.
    Suspend,
    /// The timer.
    Due,
    /// `None`: it could not be tried, by no fault of the container's.
    Probed { number: u64, result: Option<ProbeResult> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// `Due` after that time.
    Arm(Duration),
    Disarm,
    /// Run the probe; outcome `Probed`.
    Probe {
        number: u64,
    },
    /// Nobody wants its result any more.
    Cancel,
    /// What is shown changed.
    Show,
    /// The row is to be written with the next commit; nobody is told.
    Keep,
    /// The row is to be written now, with the event of its new status.
    Report(HealthStatus),
    /// It failed as often as it may: what was asked for in that case.
    Act(OnFailure),
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub now: Time,
    /// Of the container's run.
    pub started_at: Time,
}

pub(crate) fn step(plan: &Plan, mut state: State, event: Event, at: Moment) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    match event {
        Event::Start => start(plan, &mut state, at, &mut effects),
        Event::Resume { .. } if state.health.is_none() => start(plan, &mut state, at, &mut effects),
        Event::Resume { thousandths } => {
            state.on = true;
            let pause = pause(plan, &state, at);
            effects.push(Effect::Arm(pause.mul_f64(f64::from(thousandths.min(1000)) / 1000.0)));
        }
        Event::Suspend if state.on => suspend(&mut state, &mut effects),
        Event::Due if state.on && state.probing.is_none() => {
            state.count += 1;
            state.probing = Some(state.count);
            effects.push(Effect::Probe { number: state.count });
        }
        Event::Probed { number, result } if state.on && state.probing == Some(number) => {
            state.probing = None;
            if let Some(result) = result {
                take(plan, &mut state, result, at, &mut effects);
            }
            effects.push(Effect::Arm(pause(plan, &state, at)));
        }
        Event::Suspend | Event::Due | Event::Probed { .. } => {}
    }
    (state, effects)
}

/// What the run before left is still shown.
fn start(plan: &Plan, state: &mut State, at: Moment, effects: &mut Vec<Effect>) {
    if state.probing.take().is_some() {
        effects.push(Effect::Cancel);
    }
    state.on = true;
    let health = state.health.get_or_insert_default();
    (health.status, health.streak, health.run) = (HealthStatus::Starting, 0, at.started_at);
    effects.extend([Effect::Keep, Effect::Arm(pause(plan, state, at))]);
}

/// As in Docker, what is not looked at counts as unhealthy, and nobody is told.
fn suspend(state: &mut State, effects: &mut Vec<Effect>) {
    state.on = false;
    effects.push(Effect::Disarm);
    if state.probing.take().is_some() {
        effects.push(Effect::Cancel);
    }
    if let Some(health) = &mut state.health {
        health.status = HealthStatus::Unhealthy;
    }
    effects.push(Effect::Keep);
}

fn take(plan: &Plan, state: &mut State, result: ProbeResult, at: Moment, effects: &mut Vec<Effect>) {
    let health = state.health.get_or_insert_default();
    let before = health.status;
    let well = result.exit_code == 0;
    let early = before == HealthStatus::Starting && since(at.started_at, result.start) < plan.start_period;
    health.log.push(result);
    let surplus = health.log.len().saturating_sub(MAX_LOG);
    health.log.drain(..surplus);
    if well {
        (health.status, health.streak) = (HealthStatus::Healthy, 0);
    } else if !early {
        health.streak = health.streak.saturating_add(1);
        if health.streak >= plan.retries {
            health.status = HealthStatus::Unhealthy;
        }
    }
    effects.push(if health.status == before { Effect::Show } else { Effect::Report(health.status) });
    // Once more after as many failures again: an engine may have died before it acted, or the container did not react.
    let failed = health.streak != 0 && health.streak.is_multiple_of(plan.retries);
    if !well && failed && !early && plan.on_failure != OnFailure::None {
        effects.push(Effect::Act(plan.on_failure));
    }
}

/// Until the next probe.
fn pause(plan: &Plan, state: &State, at: Moment) -> Duration {
    let starting = state.health.as_ref().is_none_or(|health| health.status == HealthStatus::Starting);
    if starting && since(at.started_at, at.now) < plan.start_period {
        plan.start_interval
    } else {
        plan.interval
    }
}

fn since(earlier: Time, later: Time) -> Duration {
    Duration::from_nanos(u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0))
}
