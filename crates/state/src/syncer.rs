//! The thread that commits what nobody waits for.
//!
//! Invariant: what was written behind is committed within [`SYNC_AFTER`] and the time of a commit, as long as the disk
//! takes it.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a change may wait for a commit that somebody waits for.
pub const SYNC_AFTER: Duration = Duration::from_millis(25);

#[derive(Default)]
struct State {
    /// Something was written behind since the thread looked last.
    pending: bool,
    over: bool,
}

#[derive(Default)]
pub(crate) struct Syncer {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Syncer {
    /// Starts the thread.
    pub(crate) fn start(&self, sync: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            while wait(&shared) {
                sync();
            }
        };
        std::thread::Builder::new().name("knarr-state".to_owned()).stack_size(256 << 10).spawn(run).map(drop)
    }

    /// A commit is due in [`SYNC_AFTER`].
    pub(crate) fn begin(&self) {
        let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.pending {
            state.pending = true;
            self.shared.1.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.shared.1.notify_one();
    }
}

/// Until something has waited long enough; false at the end.
fn wait(shared: &(Mutex<State>, Condvar)) -> bool {
    let (lock, changed) = shared;
    let state = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let state = changed.wait_while(state, |state| !state.pending && !state.over);
    let state = state.unwrap_or_else(PoisonError::into_inner);
    let waited = changed.wait_timeout_while(state, SYNC_AFTER, |state| !state.over);
    let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    state.pending = false;
    !state.over
}
