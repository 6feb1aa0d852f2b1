//! Recorded x observed -> what to do. Pure.
use super::observe::Observed;
use crate::machine::{Phase, Policy};

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
    if observed.exit.is_some() {
        // The supervisor may still live, with streams to drain; the record is final.
        return Action::Ended;
    }
    if observed.supervisor_alive {
        return Action::Reconnect;
    }
    let r = recorded;
    match r.phase {
        Phase::Running | Phase::Paused => Action::Lost,
        // It died between the process's existence and the commit of its start.
        _ if observed.had_supervisor => Action::Lost,
        Phase::Restarting => {
            if r.policy.restarts_at_boot(r.stopped_by_user, r.exit_code, r.restarts) {
                Action::Start
            } else {
                Action::Nothing
            }
        }
        Phase::Exited if r.auto_remove => Action::Remove,
        Phase::Removing => Action::Remove,
        Phase::Exited
            if r.ever_started && r.policy.restarts_at_boot(r.stopped_by_user, r.exit_code, r.restarts) =>
        {
            Action::Start
        }
        Phase::Created | Phase::Exited | Phase::Dead => Action::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_shim_proto::ExitRecord;
    use std::fmt::Write;

    fn exit() -> ExitRecord {
        ExitRecord {
            pid: 1,
            code: 3,
            signal: None,
            oom_killed: false,
            exited_at: Default::default(),
            error: None,
        }
    }

    /// Every phase x what may be found x the policies that differ.
    #[test]
    fn table() {
        let founds = [
            ("nothing", Observed::default()),
            ("alive", Observed { supervisor_alive: true, had_supervisor: true, exit: None }),
            ("dead supervisor", Observed { supervisor_alive: false, had_supervisor: true, exit: None }),
            ("exit record", Observed { supervisor_alive: false, had_supervisor: true, exit: Some(exit()) }),
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
