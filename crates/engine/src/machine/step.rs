//! The transition function.
use super::policy::next_backoff;
use super::state::{Activity, Effect, Event, Milestone, Phase, Refusal, Reply, State, StopWish, Wishes};

/// Time for a killed process to go before the engine stops waiting for it.
pub(super) const KILL_GRACE_MS: u64 = 10_000;
const SIGKILL: i32 = 9;

/// What follows from `event` in `state`.
pub fn step(mut state: State, event: Event) -> (State, Vec<Effect>, Reply) {
    let mut effects = Vec::new();
    let reply = match event {
        Event::Start => start(&mut state, &mut effects),
        Event::Stop(wish) => stop(&mut state, wish, &mut effects),
        Event::Kill { signal, ends } => kill(&mut state, signal, ends, &mut effects),
        Event::Restart(wish) => restart(&mut state, wish, &mut effects),
        Event::Pause => pause(&mut state, &mut effects),
        Event::Unpause => unpause(&mut state, &mut effects),
        Event::Remove { force, volumes } => remove(&mut state, force, volumes, &mut effects),
        Event::RestartLater(wish) => {
            restart_later(&mut state, wish, &mut effects);
            Reply::Done
        }
        outcome => {
            follow(&mut state, outcome, &mut effects);
            Reply::Done
        }
    };
    (state, effects, reply)
}

fn refused(why: Refusal) -> Reply {
    Reply::Refused(why)
}

fn start(state: &mut State, effects: &mut Vec<Effect>) -> Reply {
    if state.activity == Activity::Starting {
        return Reply::When(Milestone::Started);
    }
    match state.phase {
        Phase::Removing | Phase::Dead => return refused(Refusal::MarkedForRemoval),
        _ if state.wishes.remove.is_some() => return refused(Refusal::MarkedForRemoval),
        _ if state.activity == Activity::Cleaning => {
            state.wishes.start_again = true;
            return Reply::When(Milestone::Started);
        }
        Phase::Paused => return refused(Refusal::IsPaused),
        Phase::Running | Phase::Restarting => return refused(Refusal::AlreadyStarted),
        Phase::Created | Phase::Exited => {}
    }
    state.restarts = 0;
    state.backoff_ms = 0;
    launch(state, effects);
    Reply::When(Milestone::Started)
}

/// A wish to start again stays until the start is over: it is the reason for it.
fn launch(state: &mut State, effects: &mut Vec<Effect>) {
    state.stopped_by_user = false;
    state.wishes = Wishes { start_again: state.wishes.start_again, ..Wishes::default() };
    (state.stop_after_start, state.signal_after_start) = (None, None);
    state.killed = false;
    state.activity = Activity::Starting;
    effects.push(Effect::Launch);
}

fn stop(state: &mut State, wish: StopWish, effects: &mut Vec<Effect>) -> Reply {
    match (state.phase, state.activity) {
        (_, Activity::Removing) => refused(Refusal::AlreadyStopped),
        (_, Activity::Starting) => {
            stop_after_start(state, wish);
            Reply::When(Milestone::Stopped)
        }
        (_, Activity::Cleaning) => {
            no_start_again(state, effects);
            want_exit(state);
            state.wishes.stop = Some(wish);
            effects.push(Effect::Remember);
            Reply::When(Milestone::Stopped)
        }
        (Phase::Restarting, _) => {
            cancel_restart(state, effects);
            Reply::Done
        }
        (Phase::Running | Phase::Paused, _) => {
            no_start_again(state, effects);
            begin_stop(state, wish, effects);
            Reply::When(Milestone::Stopped)
        }
        _ => refused(Refusal::AlreadyStopped),
    }
}

/// Whoever asked for the restart is told, or would wait for ever.
fn no_start_again(state: &mut State, effects: &mut Vec<Effect>) {
    if std::mem::take(&mut state.wishes.start_again) {
        effects.push(Effect::Missed(Milestone::Started));
    }
}

/// The stronger of two wishes counts: SIGKILL before another signal, a time before none.
fn stop_after_start(state: &mut State, wish: StopWish) {
    let before = state.stop_after_start;
    let signal = before.filter(|before| before.signal == SIGKILL).map_or(wish.signal, |before| before.signal);
    let timeouts = [before.and_then(|before| before.timeout_ms), wish.timeout_ms];
    state.stop_after_start = Some(StopWish { signal, timeout_ms: timeouts.into_iter().flatten().min() });
}

fn want_exit(state: &mut State) {
    state.wishes.restart_later = false;
    state.stopped_by_user = true;
    state.wishes.exit = true;
}

/// A frozen process would not see the signal: it is thawed.
fn begin_stop(state: &mut State, wish: StopWish, effects: &mut Vec<Effect>) {
    want_exit(state);
    state.wishes.stop = Some(wish);
    miss_freezer(state, effects);
    let stops_already = std::mem::replace(&mut state.activity, Activity::Stopping) == Activity::Stopping;
    effects.extend([Effect::Remember, Effect::Signal(wish.signal)]);
    if state.phase == Phase::Paused {
        effects.push(Effect::Thaw);
    }
    match wish.timeout_ms {
        _ if wish.signal == SIGKILL => {
            state.killed = true;
            effects.push(Effect::ArmStop { after_ms: KILL_GRACE_MS });
        }
        _ if state.killed => {}
        Some(after_ms) if stops_already => effects.push(Effect::HastenStop { after_ms }),
        Some(after_ms) => effects.push(Effect::ArmStop { after_ms }),
        None if stops_already => {}
        None => effects.push(Effect::DisarmStop),
    }
}

/// The freezer's work is overtaken: whoever waits for it is told.
fn miss_freezer(state: &State, effects: &mut Vec<Effect>) {
    let milestone = match state.activity {
        Activity::Pausing => Milestone::Paused,
        Activity::Unpausing => Milestone::Unpaused,
        _ => return,
    };
    effects.push(Effect::Missed(milestone));
}

fn cancel_restart(state: &mut State, effects: &mut Vec<Effect>) {
    state.stopped_by_user = true;
    state.wishes.restart_later = false;
    state.phase = Phase::Exited;
    effects.extend([Effect::DisarmBackoff, Effect::Commit, Effect::Reached(Milestone::Stopped)]);
}

fn kill(state: &mut State, signal: i32, ends: bool, effects: &mut Vec<Effect>) -> Reply {
    match (state.phase, state.activity) {
        (Phase::Restarting, Activity::Idle) => {
            cancel_restart(state, effects);
            Reply::Done
        }
        (_, Activity::Starting) => {
            match ends {
                true => stop_after_start(state, StopWish { signal, timeout_ms: None }),
                false => state.signal_after_start = Some(signal),
            }
            Reply::Done
        }
        (Phase::Running | Phase::Paused, activity) if activity != Activity::Cleaning => {
            if ends {
                want_exit(state);
                effects.push(Effect::Remember);
                if activity == Activity::Pausing {
                    miss_freezer(state, effects);
                    state.activity = Activity::Idle;
                }
            }
            effects.push(Effect::Signal(signal));
            if ends && state.phase == Phase::Paused {
                effects.push(Effect::Thaw);
            }
            Reply::Done
        }
        _ => refused(Refusal::NotRunning),
    }
}

fn restart(state: &mut State, wish: StopWish, effects: &mut Vec<Effect>) -> Reply {
    match (state.phase, state.activity) {
        _ if state.wishes.remove.is_some() => refused(Refusal::MarkedForRemoval),
        (_, Activity::Starting | Activity::Cleaning) => start(state, effects),
        (Phase::Running | Phase::Paused, _) => {
            begin_stop(state, wish, effects);
            state.wishes.start_again = true;
            Reply::When(Milestone::Started)
        }
        (Phase::Restarting, Activity::Idle) => {
            effects.push(Effect::DisarmBackoff);
            launch(state, effects);
            Reply::When(Milestone::Started)
        }
        _ => start(state, effects),
    }
}

/// A stop, and then as after an exit that nobody asked for. What somebody did ask for is not disturbed.
fn restart_later(state: &mut State, wish: StopWish, effects: &mut Vec<Effect>) {
    if state.phase != Phase::Running || state.activity != Activity::Idle || state.wishes.remove.is_some() {
        return;
    }
    begin_stop(state, wish, effects);
    state.stopped_by_user = false;
    state.wishes.restart_later = true;
}

fn pause(state: &mut State, effects: &mut Vec<Effect>) -> Reply {
    match (state.phase, state.activity) {
        (Phase::Running | Phase::Paused, Activity::Stopping) => refused(Refusal::IsStopping),
        (Phase::Paused, _) => refused(Refusal::AlreadyPaused),
        (Phase::Restarting, _) => refused(Refusal::IsRestarting),
        (Phase::Running, Activity::Idle) => {
            state.activity = Activity::Pausing;
            effects.push(Effect::Freeze);
            Reply::When(Milestone::Paused)
        }
        (Phase::Running, Activity::Pausing) => Reply::When(Milestone::Paused),
        _ => refused(Refusal::NotRunning),
    }
}

fn unpause(state: &mut State, effects: &mut Vec<Effect>) -> Reply {
    match (state.phase, state.activity) {
        (Phase::Paused, Activity::Unpausing) => Reply::When(Milestone::Unpaused),
        (Phase::Paused, Activity::Idle) => {
            state.activity = Activity::Unpausing;
            effects.push(Effect::Thaw);
            Reply::When(Milestone::Unpaused)
        }
        _ => refused(Refusal::NotPaused),
    }
}

fn remove(state: &mut State, force: bool, volumes: bool, effects: &mut Vec<Effect>) -> Reply {
    if state.phase == Phase::Removing || state.wishes.remove.is_some() {
        let joins = if force { Reply::When(Milestone::Removed) } else { refused(Refusal::RemovalInProgress) };
        return joins;
    }
    let busy = state.phase.is_live()
        || state.phase == Phase::Restarting
        || matches!(state.activity, Activity::Starting | Activity::Cleaning);
    if busy && !force {
        return refused(Refusal::StillLive);
    }
    let kill = StopWish { signal: SIGKILL, timeout_ms: Some(KILL_GRACE_MS) };
    match (state.phase, state.activity) {
        (_, Activity::Starting) => {
            state.wishes.remove = Some(volumes);
            effects.push(Effect::Remember);
            stop_after_start(state, kill);
        }
        (_, Activity::Cleaning) => {
            no_start_again(state, effects);
            state.wishes.remove = Some(volumes);
            effects.push(Effect::Remember);
        }
        (Phase::Running | Phase::Paused, _) => {
            no_start_again(state, effects);
            state.wishes.remove = Some(volumes);
            begin_stop(state, kill, effects);
        }
        (phase, _) => {
            if phase == Phase::Restarting {
                effects.push(Effect::DisarmBackoff);
            }
            delete(state, volumes, effects);
        }
    }
    Reply::When(Milestone::Removed)
}

/// The removal of the rows is its commit: what is written in between would only be deleted.
fn delete(state: &mut State, volumes: bool, effects: &mut Vec<Effect>) {
    state.phase = Phase::Removing;
    state.activity = Activity::Removing;
    state.wishes = Wishes::default();
    effects.extend([Effect::Reached(Milestone::Stopped), Effect::Delete { volumes }]);
}

/// Outcomes of effects. One that no longer fits (a timer that lost its race) changes nothing.
fn follow(state: &mut State, event: Event, effects: &mut Vec<Effect>) {
    match (event, state.activity) {
        (Event::Started, Activity::Starting) => started(state, effects),
        (Event::StartFailed { code }, Activity::Starting) => start_failed(state, code, effects),
        (Event::StopTimeout, Activity::Stopping) => stop_timeout(state, effects),
        (Event::Paused { ok }, Activity::Pausing) => {
            state.activity = Activity::Idle;
            if ok {
                state.phase = Phase::Paused;
                effects.push(Effect::Commit);
            }
            effects.push(reached(Milestone::Paused, ok));
        }
        // Frozen too late, by a request that was overtaken: a frozen process would not see its signal.
        (Event::Paused { ok: true }, _) if state.phase == Phase::Running => effects.push(Effect::Thaw),
        (Event::Unpaused { ok }, activity)
            if state.phase == Phase::Paused && activity != Activity::Cleaning =>
        {
            if activity == Activity::Unpausing {
                state.activity = Activity::Idle;
            }
            if ok {
                state.phase = Phase::Running;
                effects.push(Effect::Commit);
            }
            effects.push(reached(Milestone::Unpaused, ok));
        }
        (Event::Exited { code, ran_ms }, activity)
            if state.phase.is_live() && activity != Activity::Cleaning =>
        {
            state.exit_code = code;
            state.ran_ms = ran_ms;
            clean(state, effects);
        }
        (Event::Cleaned, Activity::Cleaning) => cleaned(state, effects),
        (Event::BackoffOver, Activity::Idle) if state.phase == Phase::Restarting => launch(state, effects),
        (Event::Removed { ok }, Activity::Removing) => {
            state.activity = Activity::Idle;
            if !ok {
                state.phase = Phase::Dead;
                effects.push(Effect::Commit);
            }
            effects.push(reached(Milestone::Removed, ok));
        }
        _ => {}
    }
}

fn reached(milestone: Milestone, ok: bool) -> Effect {
    if ok { Effect::Reached(milestone) } else { Effect::Missed(milestone) }
}

fn started(state: &mut State, effects: &mut Vec<Effect>) {
    state.phase = Phase::Running;
    state.activity = Activity::Idle;
    state.wishes.start_again = false;
    effects.extend([Effect::Commit, Effect::Reached(Milestone::Started)]);
    effects.extend(state.signal_after_start.take().map(Effect::Signal));
    if let Some(wish) = state.stop_after_start.take() {
        begin_stop(state, wish, effects);
    }
}

fn start_failed(state: &mut State, code: i32, effects: &mut Vec<Effect>) {
    state.activity = Activity::Idle;
    state.exit_code = code;
    (state.stop_after_start, state.signal_after_start) = (None, None);
    state.wishes.start_again = false;
    if state.phase != Phase::Created {
        state.phase = Phase::Exited;
    }
    match state.wishes.remove.or(state.auto_remove.then_some(true)) {
        Some(volumes) => delete(state, volumes, effects),
        None => effects.push(Effect::Commit),
    }
    effects.extend([Effect::Missed(Milestone::Started), Effect::Reached(Milestone::Stopped)]);
}

/// After the stop signal comes SIGKILL. After SIGKILL a container that is to be removed is removed; for any other, those
/// who wait are told that its process cannot be ended.
fn stop_timeout(state: &mut State, effects: &mut Vec<Effect>) {
    if !state.killed {
        state.killed = true;
        effects.extend([Effect::Signal(SIGKILL), Effect::ArmStop { after_ms: KILL_GRACE_MS }]);
        if state.phase == Phase::Paused {
            effects.push(Effect::Thaw);
        }
    } else if state.wishes.remove.is_some() {
        state.exit_code = 128 + SIGKILL;
        clean(state, effects);
    } else {
        state.activity = Activity::Idle;
        state.killed = false;
        state.wishes.stop = None;
        state.wishes.restart_later = false;
        no_start_again(state, effects);
        effects.extend([Effect::Remember, Effect::Missed(Milestone::Stopped)]);
    }
}

fn clean(state: &mut State, effects: &mut Vec<Effect>) {
    miss_freezer(state, effects);
    state.activity = Activity::Cleaning;
    effects.extend([Effect::DisarmStop, Effect::Clean]);
}

fn cleaned(state: &mut State, effects: &mut Vec<Effect>) {
    state.activity = Activity::Idle;
    state.phase = Phase::Exited;
    let wanted = std::mem::take(&mut state.wishes.exit);
    state.wishes.stop = None;
    state.killed = false;
    if let Some(volumes) = state.wishes.remove {
        return delete(state, volumes, effects);
    }
    if state.wishes.start_again {
        effects.extend([Effect::Commit, Effect::Reached(Milestone::Stopped)]);
        return launch(state, effects);
    }
    // The wish for a restart stays until it is begun: it is the reason for it.
    state.wishes.restart_later &= state.policy.has_restarts_left(state.restarts);
    if state.wishes.restart_later || !wanted && state.policy.restarts(state.exit_code, state.restarts) {
        state.phase = Phase::Restarting;
        state.backoff_ms = next_backoff(state.backoff, state.backoff_ms, state.ran_ms);
        state.restarts += 1;
        effects.extend([Effect::Commit, Effect::ArmBackoff { after_ms: state.backoff_ms }]);
        return;
    }
    if state.auto_remove {
        return delete(state, true, effects);
    }
    effects.extend([Effect::Commit, Effect::Reached(Milestone::Stopped)]);
}
