//! Those who wait for something to happen to a container.
use super::message::Refused;
use crate::error::{Error, Result};
use crate::machine::Milestone;
use knarr_docker_types::container::{WaitExitError, WaitResponse};
use knarr_docker_types::options::WaitCondition;
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Waiters {
    milestones: Vec<(Milestone, oneshot::Sender<Result<(), Refused>>)>,
    exits: Vec<(WaitCondition, oneshot::Sender<WaitResponse>)>,
}

impl Waiters {
    pub fn add(&mut self, milestone: Milestone, reply: oneshot::Sender<Result<(), Refused>>) {
        self.milestones.retain(|(_, reply)| !reply.is_closed());
        self.milestones.push((milestone, reply));
    }

    pub fn add_exit(&mut self, condition: WaitCondition, outcome: oneshot::Sender<WaitResponse>) {
        // Whoever asks again and again and gives up each time takes no more room than one.
        self.exits.retain(|(_, outcome)| !outcome.is_closed());
        self.exits.push((condition, outcome));
    }

    /// Answers those who wait for `milestone`; `why` says why it is missed.
    pub fn answer(&mut self, milestone: Milestone, why: Option<&dyn Fn() -> Error>) {
        for (_, reply) in self.milestones.extract_if(.., |(m, _)| *m == milestone) {
            let _ = reply.send(match why {
                None => Ok(()),
                Some(why) => Err(Refused::Failed(why())),
            });
        }
    }

    /// Nothing runs: those who wait for just that are answered.
    pub fn exited_now(&mut self, code: i32) {
        self.answer_exits(code, None, |condition| condition == WaitCondition::NotRunning);
    }

    /// The process ended.
    pub fn exited(&mut self, code: i32) {
        self.answer_exits(code, None, |condition| condition != WaitCondition::Removed);
    }

    /// The container is gone: nobody waits any longer.
    pub fn removed(&mut self, code: i32) {
        self.answer_exits(code, None, |_| true);
        self.answer(Milestone::Removed, None);
        self.answer(Milestone::Stopped, None);
    }

    pub fn removal_failed(&mut self, code: i32, text: &str) {
        self.answer_exits(code, Some(text), |condition| condition == WaitCondition::Removed);
    }

    fn answer_exits(&mut self, code: i32, error: Option<&str>, who: impl Fn(WaitCondition) -> bool) {
        for (_, outcome) in self.exits.extract_if(.., |(condition, _)| who(*condition)) {
            let error = error.map(|text| WaitExitError { message: text.to_owned() });
            let _ = outcome.send(WaitResponse { error, status_code: i64::from(code) });
        }
    }
}
