//! One task per container: the only writer of its rows.
//!
//! It takes requests and outcomes from its inbox, asks the pure machine what follows, commits, and starts the effects,
//! whose outcomes come back through the inbox. Invariant: it never waits for an effect, so a kill reaches a container
//! that is stopping; the only thing that it waits for is its own commit.
mod deliver;
mod effects;
mod health;
mod message;
mod reconnect;
mod run;
mod waiters;

pub(crate) use deliver::end_if_dead;
pub(crate) use effects::delete_rows;
pub(crate) use message::{Inbox, Refused};
pub(crate) use reconnect::{Connected, Found, supervisor as find_supervisor};
pub(crate) use run::{Restored, spawn};
