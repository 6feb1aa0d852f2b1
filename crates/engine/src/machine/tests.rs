use super::*;
use proptest::prelude::*;
use std::fmt::Write;

const TERM: StopWish = StopWish { signal: 15, timeout_ms: Some(10_000) };

fn run(state: State, events: &[Event]) -> (State, String) {
    let mut text = String::new();
    let mut state = state;
    for event in events {
        let (next, effects, reply) = step(state, *event);
        let _ = writeln!(text, "{event:?} -> {:?}/{:?} {reply:?} {effects:?}", next.phase, next.activity);
        state = next;
    }
    (state, text)
}

fn running() -> State {
    State { phase: Phase::Running, ..State::default() }
}

#[test]
fn the_life_of_a_container() {
    let events = [
        Event::Start,
        Event::Started,
        Event::Pause,
        Event::Paused { ok: true },
        Event::Unpause,
        Event::Unpaused { ok: true },
        Event::Stop(TERM),
        Event::Kill { signal: 10, ends: false },
        Event::StopTimeout,
        Event::Exited { code: 137, ran_ms: 5 },
        Event::Cleaned,
        Event::Remove { force: false, volumes: true },
        Event::Removed { ok: true },
    ];
    insta::assert_snapshot!(run(State::default(), &events).1);
}

#[test]
fn restart_policy_backs_off_and_a_stop_ends_it() {
    let always = State { policy: Policy::Always, ..running() };
    let crash = [Event::Exited { code: 1, ran_ms: 5 }, Event::Cleaned, Event::BackoffOver, Event::Started];
    let events: Vec<_> = crash.iter().cycle().take(12).copied().collect();
    let (state, text) = run(always, &events);
    insta::assert_snapshot!(text);
    assert_eq!((state.restarts, state.backoff_ms), (3, 400));
    let (state, _) = run(state, &[Event::Exited { code: 1, ran_ms: 20_000 }, Event::Cleaned]);
    assert_eq!((state.phase, state.backoff_ms), (Phase::Restarting, Backoff::default().min_ms));
    let (state, effects, reply) = step(state, Event::Stop(TERM));
    assert_eq!((state.phase, reply), (Phase::Exited, Reply::Done));
    assert!(effects.contains(&Effect::DisarmBackoff));
    assert_eq!(step(state, Event::BackoffOver).0, state, "a late timer changes nothing");
}

#[test]
fn on_failure_counts() {
    let mut state = State { policy: Policy::OnFailure { max: 2 }, ..running() };
    for expected in [Phase::Running, Phase::Running, Phase::Exited] {
        let crash =
            [Event::Exited { code: 3, ran_ms: 1 }, Event::Cleaned, Event::BackoffOver, Event::Started];
        state = run(state, &crash).0;
        assert_eq!(state.phase, expected);
    }
    let fine = State { policy: Policy::OnFailure { max: 2 }, ..running() };
    assert_eq!(run(fine, &[Event::Exited { code: 0, ran_ms: 1 }, Event::Cleaned]).0.phase, Phase::Exited);
}

#[test]
fn a_stop_or_removal_during_the_start_is_not_lost() {
    let (state, _) = run(State::default(), &[Event::Start, Event::Stop(TERM)]);
    let (state, effects, _) = step(state, Event::Started);
    assert_eq!(state.activity, Activity::Stopping);
    assert!(effects.contains(&Effect::Signal(15)));
    let (state, _) = run(State::default(), &[Event::Start, Event::Remove { force: true, volumes: false }]);
    let (state, effects, _) = step(state, Event::Started);
    assert!(effects.contains(&Effect::Signal(9)));
    let (state, effects, _) = step(state, Event::StopTimeout);
    assert!(effects.contains(&Effect::Clean), "an unkillable process does not keep its container");
    let (_, effects, _) = step(state, Event::Cleaned);
    assert!(effects.contains(&Effect::Delete { volumes: false }));
}

#[test]
fn a_signal_during_the_start_reaches_the_process() {
    let hangup = Event::Kill { signal: 1, ends: false };
    let (state, _) = run(State::default(), &[Event::Start, hangup]);
    let (state, effects, _) = step(state, Event::Started);
    assert!(effects.contains(&Effect::Signal(1)), "{effects:?}");
    assert_eq!((state.activity, state.signal_after_start), (Activity::Idle, None));
    let (state, _) = run(State::default(), &[Event::Start, hangup, Event::StartFailed { code: 127 }]);
    let (_, effects, _) = step(run(state, &[Event::Start]).0, Event::Started);
    assert!(!effects.contains(&Effect::Signal(1)), "it was for another process: {effects:?}");
}

/// The end of a stop that nothing answers: SIGKILL, another time, and then those who wait are told.
#[test]
fn a_stop_ends_even_when_its_process_does_not() {
    let (state, text) = run(
        running(),
        &[Event::Stop(StopWish { timeout_ms: Some(0), ..TERM }), Event::StopTimeout, Event::StopTimeout],
    );
    insta::assert_snapshot!(text);
    assert_eq!((state.phase, state.activity, state.wishes.exit), (Phase::Running, Activity::Idle, true));
    let (state, _) = run(state, &[Event::Exited { code: 137, ran_ms: 1 }, Event::Cleaned]);
    assert_eq!(state.phase, Phase::Exited, "an exit that comes late is still the wanted one");
}

/// A kill during the start does not take a stop's grace time away: it would wait for ever.
#[test]
fn a_kill_during_the_start_keeps_the_time_of_a_stop() {
    let kill = |signal| Event::Kill { signal, ends: true };
    let (state, _) = run(State::default(), &[Event::Start, Event::Stop(TERM), kill(15)]);
    assert_eq!(state.stop_after_start, Some(TERM));
    let remove = Event::Remove { force: true, volumes: false };
    let (state, _) = run(State::default(), &[Event::Start, remove, Event::Stop(TERM), kill(2)]);
    assert_eq!(state.stop_after_start, Some(StopWish { signal: 9, timeout_ms: Some(10_000) }));
}

#[test]
fn a_pause_and_a_stop_do_not_lose_each_other() {
    let (state, effects, reply) = step(run(running(), &[Event::Stop(TERM)]).0, Event::Pause);
    assert_eq!((reply, effects), (Reply::Refused(Refusal::IsStopping), Vec::new()));
    assert_eq!(state.activity, Activity::Stopping);
    for end in [Event::Stop(TERM), Event::Restart(TERM), Event::Kill { signal: 9, ends: true }] {
        let (state, effects, _) = step(run(running(), &[Event::Pause]).0, end);
        assert!(effects.contains(&Effect::Missed(Milestone::Paused)), "{end:?}: {effects:?}");
        let (state, effects, _) = step(state, Event::Paused { ok: true });
        assert_eq!((effects, state.phase), (vec![Effect::Thaw], Phase::Running), "{end:?}");
    }
}

/// What an engine needs to go on after it died is stored before anything is done.
#[test]
fn wishes_are_stored_before_signals() {
    let ends = [
        Event::Stop(TERM),
        Event::Restart(TERM),
        Event::Kill { signal: 9, ends: true },
        Event::Remove { force: true, volumes: true },
    ];
    for event in ends {
        let (state, effects, _) = step(running(), event);
        let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
        let stored = place(|effect| *effect == Effect::Remember);
        assert!(stored < place(|effect| matches!(effect, Effect::Signal(_))), "{event:?}: {effects:?}");
        assert!(state.wishes.exit && state.stopped_by_user, "{event:?}");
    }
    let (state, effects, _) =
        step(run(State::default(), &[Event::Start]).0, Event::Remove { force: true, volumes: true });
    assert!(state.wishes.remove == Some(true) && effects.contains(&Effect::Remember));
    // They end with what they were about.
    let (state, _) =
        run(running(), &[Event::Stop(TERM), Event::Exited { code: 0, ran_ms: 1 }, Event::Cleaned]);
    assert_eq!((state.wishes, state.stopped_by_user), (Wishes::default(), true));
    let (state, _) = run(state, &[Event::Start, Event::Started]);
    assert_eq!((state.wishes, state.stopped_by_user), (Wishes::default(), false));
}

#[test]
fn restart_request_starts_again() {
    let (state, text) = run(
        running(),
        &[Event::Restart(TERM), Event::Exited { code: 0, ran_ms: 1 }, Event::Cleaned, Event::Started],
    );
    insta::assert_snapshot!(text);
    assert_eq!((state.phase, state.restarts), (Phase::Running, 0));
}

/// As after an exit that nobody asked for, whatever the policy says; requests win over it.
#[test]
fn an_unhealthy_container_is_restarted_after_the_pause() {
    let exit = [Event::Exited { code: 143, ran_ms: 1 }, Event::Cleaned];
    let once = [&[Event::RestartLater(TERM)][..], &exit, &[Event::BackoffOver, Event::Started]].concat();
    let (state, text) = run(running(), &[&once[..], &once[..2]].concat());
    insta::assert_snapshot!(text);
    assert!(state.wishes.restart_later && !state.stopped_by_user);
    let (state, _) = run(running(), &once);
    assert_eq!((state.phase, state.restarts, state.wishes), (Phase::Running, 1, Wishes::default()));
    let bound = State { policy: Policy::OnFailure { max: 1 }, ..running() };
    let (state, _) = run(bound, &[&once[..], &[Event::RestartLater(TERM)], &exit].concat());
    assert_eq!((state.phase, state.restarts), (Phase::Exited, 1));
    for request in [Event::Stop(TERM), Event::Kill { signal: 9, ends: true }] {
        let (state, _) = run(running(), &[&[Event::RestartLater(TERM), request][..], &exit].concat());
        assert_eq!((state.phase, state.wishes), (Phase::Exited, Wishes::default()), "{request:?}");
        assert!(state.stopped_by_user);
        // And it does not get in the way of one.
        let (before, _) = run(running(), &[request]);
        if before.activity == Activity::Stopping {
            assert_eq!(step(before, Event::RestartLater(TERM)).0, before);
        }
    }
    let (state, _) = run(running(), &[&once[..3], &[Event::Stop(TERM)]].concat());
    assert_eq!((state.phase, state.wishes), (Phase::Exited, Wishes::default()), "the pause ends, too");
}

#[test]
fn auto_remove_after_exit_and_after_failed_start() {
    let auto = State { auto_remove: true, ..State::default() };
    let (state, _) = run(auto, &[Event::Start, Event::StartFailed { code: 127 }]);
    assert_eq!((state.phase, state.exit_code), (Phase::Removing, 127));
    let (state, _) =
        run(auto, &[Event::Start, Event::Started, Event::Exited { code: 0, ran_ms: 1 }, Event::Cleaned]);
    assert_eq!(state.phase, Phase::Removing);
}

/// Which requests are refused in which phase, as a table.
#[test]
fn refusals() {
    let requests = [
        Event::Start,
        Event::Stop(TERM),
        Event::Kill { signal: 9, ends: true },
        Event::Restart(TERM),
        Event::Pause,
        Event::Unpause,
        Event::Remove { force: false, volumes: false },
        Event::Remove { force: true, volumes: false },
    ];
    let mut text = String::new();
    for phase in Phase::ALL {
        for request in requests {
            let activity = if phase == Phase::Removing { Activity::Removing } else { Activity::Idle };
            let (_, _, reply) = step(State { phase, activity, ..State::default() }, request);
            let _ = writeln!(text, "{:<10} {request:?}: {reply:?}", phase.as_str());
        }
    }
    insta::assert_snapshot!(text);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Start),
        Just(Event::Stop(TERM)),
        Just(Event::Kill { signal: 9, ends: true }),
        Just(Event::Restart(TERM)),
        Just(Event::RestartLater(TERM)),
        Just(Event::Pause),
        Just(Event::Unpause),
        any::<bool>().prop_map(|force| Event::Remove { force, volumes: true }),
        Just(Event::Started),
        Just(Event::StartFailed { code: 127 }),
        Just(Event::StopTimeout),
        any::<bool>().prop_map(|ok| Event::Paused { ok }),
        any::<bool>().prop_map(|ok| Event::Unpaused { ok }),
        (0..3i32).prop_map(|code| Event::Exited { code, ran_ms: 1 }),
        Just(Event::Cleaned),
        Just(Event::BackoffOver),
        any::<bool>().prop_map(|ok| Event::Removed { ok }),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one launch, one clean-up and one removal at a time, and no process is forgotten.
    #[test]
    fn effects_are_balanced(events in prop::collection::vec(any_event(), 0..60), auto_remove: bool, always: bool) {
        let policy = if always { Policy::Always } else { Policy::No };
        let mut state = State { auto_remove, policy, ..State::default() };
        let mut launched = false;
        let mut live = false;
        for event in events {
            let fits = match event {
                Event::Started | Event::StartFailed { .. } => launched,
                Event::Exited { .. } => live,
                Event::Cleaned => state.activity == Activity::Cleaning,
                Event::Removed { .. } => state.activity == Activity::Removing,
                _ => true,
            };
            if !fits { continue; }
            match event {
                Event::Started => { launched = false; live = true; }
                Event::StartFailed { .. } => launched = false,
                Event::Exited { .. } => live = false,
                _ => {}
            }
            let (next, effects, _) = step(state, event);
            for effect in &effects {
                match effect {
                    Effect::Launch => { prop_assert!(!launched && !live, "{state:?} {event:?}"); launched = true; }
                    Effect::Clean => prop_assert!(next.activity == Activity::Cleaning),
                    Effect::Delete { .. } => prop_assert!(!launched && (!live || next.exit_code == 137)),
                    _ => {}
                }
            }
            if matches!(event, Event::StopTimeout) && next.activity == Activity::Cleaning { live = false; }
            state = next;
        }
        prop_assert_eq!(launched, state.activity == Activity::Starting);
    }
}

/// What runs for a container: the effects that were started and have not come to an outcome.
#[derive(Debug, Default)]
struct World {
    state: State,
    outcomes: Vec<Event>,
    stop_armed: bool,
    backoff_armed: bool,
    /// Removed: nothing happens any more.
    over: bool,
    waiting: std::collections::BTreeSet<String>,
}

impl World {
    fn happen(&mut self, event: Event) {
        if self.over {
            return;
        }
        self.over = event == (Event::Removed { ok: true });
        let (state, effects, reply) = step(self.state, event);
        self.state = state;
        if let Reply::When(milestone) = reply {
            self.waiting.insert(format!("{milestone:?}"));
        }
        for effect in effects {
            match effect {
                Effect::Launch => self.outcomes.push(Event::Started),
                Effect::Freeze => self.outcomes.push(Event::Paused { ok: true }),
                Effect::Thaw => self.outcomes.push(Event::Unpaused { ok: true }),
                Effect::Clean => self.outcomes.push(Event::Cleaned),
                Effect::Delete { .. } => self.outcomes.push(Event::Removed { ok: true }),
                Effect::ArmStop { .. } | Effect::HastenStop { .. } => self.stop_armed = true,
                Effect::DisarmStop => self.stop_armed = false,
                Effect::ArmBackoff { .. } => self.backoff_armed = true,
                Effect::DisarmBackoff => self.backoff_armed = false,
                Effect::Reached(milestone) | Effect::Missed(milestone) => {
                    self.waiting.remove(&format!("{milestone:?}"));
                }
                Effect::Signal(_) | Effect::Commit | Effect::Remember => {}
            }
        }
    }

    /// The next thing that happens by itself, in any order; `fails` turns it into its failure.
    fn advance(&mut self, which: usize, fails: bool) {
        if self.outcomes.is_empty() {
            return self.timer();
        }
        let event = match self.outcomes.remove(which % self.outcomes.len()) {
            Event::Started if fails => Event::StartFailed { code: 127 },
            Event::Paused { .. } => Event::Paused { ok: !fails },
            Event::Unpaused { .. } => Event::Unpaused { ok: !fails },
            Event::Removed { .. } => Event::Removed { ok: !fails },
            event => event,
        };
        self.happen(event);
    }

    fn timer(&mut self) {
        if std::mem::take(&mut self.stop_armed) {
            self.happen(Event::StopTimeout);
        } else if std::mem::take(&mut self.backoff_armed) {
            self.happen(Event::BackoffOver);
        }
    }

    fn exit(&mut self) {
        let cleans = self.outcomes.contains(&Event::Cleaned);
        if self.state.phase.is_live() && !cleans {
            self.happen(Event::Exited { code: 1, ran_ms: 1 });
        }
    }
}

proptest! {
    /// Whoever waits is answered in the end, even when no process ever reacts to a signal and everything may fail.
    #[test]
    fn every_waiter_is_answered(
        acts in prop::collection::vec((any_event(), 0..8usize, any::<bool>(), 0..4u8), 0..40), auto_remove: bool, always: bool
    ) {
        let policy = if always { Policy::Always } else { Policy::No };
        let mut world = World { state: State { auto_remove, policy, ..State::default() }, ..World::default() };
        let history = acts.clone();
        for (event, which, fails, kind) in acts {
            let is_request = matches!(event, Event::Start | Event::Stop(_) | Event::Kill { .. } | Event::Restart(_)
                | Event::Pause | Event::Unpause | Event::Remove { .. });
            match kind {
                0 | 1 if is_request => world.happen(event),
                2 if fails => world.exit(),
                2 => world.timer(),
                _ => world.advance(which, fails),
            }
        }
        for _ in 0..200 {
            if world.waiting.is_empty() {
                break;
            }
            world.advance(0, false);
        }
        prop_assert!(world.waiting.is_empty(), "{world:?} after {history:?}");
    }
}
