//! The thread that makes durable what nobody waits for.
//!
//! Invariant: a commit that did not wait for the disk is followed by one that does, within [`SYNC_AFTER`] and the time of a
//! commit, as long as the disk takes it.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a change may be visible before it is made durable.
pub const SYNC_AFTER: Duration = Duration::from_millis(25);
/// Between tries on a disk that does not take it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    unsynced: bool,
    over: bool,
}

#[derive(Default)]
pub(crate) struct Syncer {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Syncer {
    /// Starts the thread; `sync` says whether it succeeded.
    pub(crate) fn start(&self, sync: impl Fn() -> bool + Send + 'static) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            while wait(&shared) {
                if !sync() {
                    pause(&shared, RETRY_AFTER);
                }
            }
        };
        std::thread::Builder::new().name("knarr-state".to_owned()).stack_size(256 << 10).spawn(run).map(drop)
    }

    pub(crate) fn unsynced(&self) {
        let mut state = self.state();
        if !state.unsynced {
            state.unsynced = true;
            self.shared.1.notify_one();
        }
    }

    pub(crate) fn synced(&self) {
        self.state().unsynced = false;
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        self.state().unsynced
    }

    /// Ends the thread; says whether something is left to be made durable.
    pub(crate) fn stop(&self) -> bool {
        let mut state = self.state();
        state.over = true;
        self.shared.1.notify_one();
        state.unsynced
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until something has waited long enough; false at the end.
fn wait(shared: &(Mutex<State>, Condvar)) -> bool {
    let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !state.unsynced && !state.over {
        state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    drop(state);
    pause(shared, SYNC_AFTER)
}

/// False at the end.
fn pause(shared: &(Mutex<State>, Condvar), time: Duration) -> bool {
    let state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = shared.1.wait_timeout_while(state, time, |state| !state.over);
    !waited.unwrap_or_else(PoisonError::into_inner).0.over
}
