//! The container's state machine: state x event -> new state, effects, reply. Pure; the task carries the effects out.
//!
//! The phases are Docker's (<https://docs.docker.com/reference/cli/docker/container/ls/#status>). Beside the phase, which
//! is stored, there is the activity: what is being done at this moment, which no crash survives.
//!
//! Invariants: `step` never waits and never fails; every request is answered or refused at once, or when its milestone
//! comes or cannot come any more; a signal is never held back by an activity; what was wished is stored before it is begun.
mod policy;
mod state;
mod step;

pub use policy::{Backoff, DELAY, MAX_DELAY, Policy, STABLE_AFTER_MS};
pub use state::{Activity, Effect, Event, Milestone, Phase, Refusal, Reply, State, StopWish, Wishes};
pub use step::step;

#[cfg(test)]
mod tests;
