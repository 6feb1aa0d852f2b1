//! Which server to ask first, and whose answer to take. Pure but for the lock.
//!
//! The order of `resolv.conf` is kept as long as servers answer: with several networks behind one machine the first may know
//! names that the second denies. So the first that is well is asked at once and the next after a pause; a denial ("no such
//! name") of a later one counts only when all before it have failed. A server that does not answer goes to the end, for longer
//! each time, and is tried again beside a query that does not wait for it.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a server that failed once is not waited for; doubled with each failure.
const FIRST_BAN: Duration = Duration::from_secs(2);
const LONGEST_BAN: Duration = Duration::from_secs(60);

/// What is known about each server of a list.
#[derive(Debug)]
pub struct Health {
    servers: Mutex<Vec<State>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    failures: u32,
    banned_until: Option<Instant>,
}

/// Servers by their place in the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// One after the other.
    pub ask: Vec<usize>,
    /// At once, without waiting for them: they failed, and may be well again.
    pub probe: Vec<usize>,
}

impl Health {
    pub fn new(count: usize) -> Self {
        Self { servers: Mutex::new(vec![State::default(); count]) }
    }

    pub fn order(&self, now: Instant) -> Order {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let (well, mut ill): (Vec<usize>, Vec<usize>) =
            (0..servers.len()).partition(|index| servers[*index].banned_until.is_none());
        ill.sort_by_key(|index| servers[*index].banned_until);
        if well.is_empty() {
            return Order { ask: ill, probe: Vec::new() };
        }
        let due = |index: &usize| servers[*index].banned_until.is_some_and(|end| end <= now);
        let (probe, ill): (Vec<usize>, Vec<usize>) = ill.into_iter().partition(due);
        for index in &probe {
            // One query at a time tries.
            servers[*index].banned_until = Some(now + ban(servers[*index].failures));
        }
        Order { ask: [well, ill].concat(), probe }
    }

    pub fn answered(&self, index: usize) {
        self.set(index, |state| *state = State::default());
    }

    pub fn failed(&self, index: usize, now: Instant) {
        self.set(index, |state| {
            state.failures = state.failures.saturating_add(1);
            state.banned_until = Some(now + ban(state.failures));
        });
    }

    fn set(&self, index: usize, change: impl FnOnce(&mut State)) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = servers.get_mut(index) {
            change(state);
        }
    }
}

fn ban(failures: u32) -> Duration {
    FIRST_BAN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BAN)
}

/// How far one server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Pending,
    /// There is what was asked for.
    Found,
    /// There is not.
    Denied,
    /// No answer, or one that says that the server could not or would not (SERVFAIL, REFUSED).
    Failed,
}

/// Whose answer is the one, of servers in the order in which they were asked.
pub fn winner(outcomes: &[Outcome]) -> Option<usize> {
    let found = outcomes.iter().position(|o| *o == Outcome::Found);
    found.or_else(|| {
        let first = outcomes.iter().position(|o| *o != Outcome::Failed)?;
        (outcomes[first] == Outcome::Denied).then_some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Denied, Failed, Found, Pending};
    use super::*;

    #[test]
    fn the_order_of_the_list_holds_while_servers_are_well() {
        let (health, now) = (Health::new(3), Instant::now());
        let order = |at| health.order(at);
        assert_eq!(order(now), Order { ask: vec![0, 1, 2], probe: vec![] });
        health.failed(0, now);
        assert_eq!(order(now), Order { ask: vec![1, 2, 0], probe: vec![] });
        let later = now + FIRST_BAN;
        assert_eq!(order(later), Order { ask: vec![1, 2], probe: vec![0] }, "tried beside");
        assert_eq!(order(later), Order { ask: vec![1, 2, 0], probe: vec![] }, "by one query");
        health.answered(0);
        assert_eq!(order(later).ask, [0, 1, 2]);
        for index in [1, 0, 2, 0] {
            health.failed(index, now);
        }
        assert_eq!(
            order(now + LONGEST_BAN),
            Order { ask: vec![1, 2, 0], probe: vec![] },
            "all are ill: all are asked"
        );
        (0..50).for_each(|_| health.failed(1, now));
        assert_eq!(ban(50), LONGEST_BAN);
    }

    #[test]
    fn a_denial_waits_for_those_before_it() {
        for (outcomes, won) in [
            (&[Pending, Pending][..], None),
            (&[Pending, Found], Some(1)),
            (&[Found, Found], Some(0)),
            (&[Pending, Denied], None),
            (&[Denied, Pending], Some(0)),
            (&[Failed, Denied], Some(1)),
            (&[Failed, Pending, Denied], None),
            (&[Denied, Found], Some(1)),
            (&[Failed, Failed], None),
            (&[], None),
        ] {
            assert_eq!(winner(outcomes), won, "{outcomes:?}");
        }
    }
}
