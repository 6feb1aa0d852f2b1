//! Health checks, as Docker has them (<https://docs.docker.com/reference/dockerfile/#healthcheck>).
//!
//! `plan` is what a container's configuration asks for, `step` the pure planner: state x event -> new state and effects. The
//! container's task carries the effects out and is the only writer; `run` executes one probe beside it: a command of the container, or one of
//! `native`.
//!
//! Invariants: a container has one probe at a time; a probe's output is bounded; starting probes is bounded over all
//! containers, waiting for them is not, so that one that hangs holds up nobody else's.
mod native;
mod output;
mod plan;
mod run;
mod step;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use plan::{OnFailure, Plan, Probe, check};
pub(crate) use run::{Prober, is_probe, run};
pub(crate) use step::{Effect, Event, Moment, State, step};
