//! Recorded x observed -> what to do. Pure.
use super::observe::Observed;
use crate::machine::{Phase, Policy};
use crate::record::Time;
use knarr_shim_proto::ExitRecord;

/// What the database says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded {
    pub phase: Phase,
    pub policy: Policy,
    pub auto_remove: bool,
    pub stopped_by_user: bool,
    pub ever_started: bool,
    pub exit_code: i32,
    pub restarts: u32,
    /// When the last run ended, if it is known.
    pub finished_at: Time,
    /// A removal was asked for and not done.
    pub remove: bool,
    /// A restart was asked for and not done.
    pub start_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// A supervisor lives: go on with it.
    Reconnect,
    /// It ended while nobody listened; the record says how. Policy and removal follow from that.
    Ended,
    /// It ran and nobody knows how it ended.
    Lost,
    /// By its policy.
    Start,
    Remove,
}

pub(super) fn plan(recorded: &Recorded, observed: &Observed) -> Action {
    let r = recorded;
    match r.phase {
        // Nothing brings it back, whatever is left of it.
        Phase::Removing => return Action::Remove,
        Phase::Dead => return Action::Nothing,
        _ => {}
    }
    // The engine died between the commit of the exit and the removal of the record: it is known already.
    let is_known = |exit: &ExitRecord| {
        !r.phase.is_live() && !r.finished_at.is_never() && Time::from(exit.exited_at) == r.finished_at
    };
    let known = observed.exit.as_ref().is_some_and(is_known);
    if observed.exit.is_some() && !known {
        // The supervisor may still live, with streams to drain; the record is final.
        return Action::Ended;
    }
    if observed.supervisor_alive && !known {
        return Action::Reconnect;
    }
    match r.phase {
        Phase::Running | Phase::Paused => Action::Lost,
        // It died between the process's existence and the commit of its start.
        _ if observed.had_supervisor && !known => Action::Lost,
        _ if r.remove => Action::Remove,
        _ if r.start_again => Action::Start,
        Phase::Restarting => {
            if r.policy.restarts_at_boot(r.stopped_by_user, r.exit_code, r.restarts) {
                Action::Start
            } else {
                Action::Nothing
            }
        }
        Phase::Exited if r.auto_remove => Action::Remove,
        // The power went in the moment between its start and the record of that.
        Phase::Created if r.auto_remove && observed.ran_unsynced => Action::Remove,
        Phase::Exited
            if r.ever_started && r.policy.restarts_at_boot(r.stopped_by_user, r.exit_code, r.restarts) =>
        {
            Action::Start
        }
        Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => Action::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn exit() -> ExitRecord {
        ExitRecord {
            pid: 1,
            code: 3,
            signal: None,
            oom_killed: false,
            exited_at: Default::default(),
            error: None,
            log_lost: 0,
        }
    }

    /// An engine that died after it had recorded an exit does not see it as another one.
    #[test]
    fn a_known_exit_is_none() {
        let known = ExitRecord { exited_at: Time(1_700_000_000_123_456_789).timestamp(), ..exit() };
        let observed =
            Observed { supervisor_alive: true, had_supervisor: true, exit: Some(known), ran_unsynced: false };
        let recorded = Recorded {
            phase: Phase::Exited,
            policy: Policy::UnlessStopped,
            auto_remove: false,
            stopped_by_user: true,
            ever_started: true,
            exit_code: 3,
            restarts: 0,
            finished_at: Time(1_700_000_000_123_456_789),
            remove: false,
            start_again: false,
        };
        assert_eq!(plan(&recorded, &observed), Action::Nothing);
        assert_eq!(plan(&Recorded { policy: Policy::Always, ..recorded }, &observed), Action::Start);
        assert_eq!(plan(&Recorded { remove: true, ..recorded }, &observed), Action::Remove);
        assert_eq!(plan(&Recorded { start_again: true, ..recorded }, &observed), Action::Start);
        assert_eq!(plan(&Recorded { finished_at: Time(5), ..recorded }, &observed), Action::Ended);
        assert_eq!(plan(&Recorded { phase: Phase::Running, ..recorded }, &observed), Action::Ended);
    }

    /// Every phase x what may be found x the policies that differ.
    #[test]
    fn table() {
        let founds = [
            ("nothing", Observed::default()),
            ("alive", Observed { supervisor_alive: true, had_supervisor: true, ..Observed::default() }),
            ("dead supervisor", Observed { had_supervisor: true, ..Observed::default() }),
            ("exit record", Observed { had_supervisor: true, exit: Some(exit()), ..Observed::default() }),
        ];
        let mut text = String::new();
        for phase in Phase::ALL {
            for (found, observed) in &founds {
                let of = |policy, auto_remove, stopped_by_user| {
                    let r = Recorded {
                        phase,
                        policy,
                        auto_remove,
                        stopped_by_user,
                        ever_started: true,
                        exit_code: 1,
                        restarts: 0,
                        finished_at: Time::default(),
                        remove: false,
                        start_again: false,
                    };
                    plan(&r, observed)
                };
                let _ = writeln!(
                    text,
                    "{:<10} {found:<15} no {:?}, rm {:?}, always {:?}, unless-stopped {:?}, stopped {:?}, on-failure {:?}",
                    phase.as_str(),
                    of(Policy::No, false, false),
                    of(Policy::No, true, false),
                    of(Policy::Always, false, true),
                    of(Policy::UnlessStopped, false, false),
                    of(Policy::UnlessStopped, false, true),
                    of(Policy::OnFailure { max: 3 }, false, false),
                );
            }
        }
        insta::assert_snapshot!(text);
    }
}
