//! The gate between operations that bring data in, of which many may run, and collection, which runs alone.
//!
//! Invariant: nobody waits long: collection that finds the gate taken is done by the last one who leaves.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct State {
    inside: usize,
    collecting: bool,
    wanted: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    freed: Condvar,
}

/// The gate. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Inner>);

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps collection out.
pub(crate) struct Pass {
    gate: Gate,
    leave: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// A pass that may be dropped where nobody may block: collection is then left to a thread that may.
pub(crate) struct AsyncPass(Option<Pass>);

impl From<Pass> for AsyncPass {
    fn from(pass: Pass) -> Self {
        Self(Some(pass))
    }
}

impl Drop for AsyncPass {
    fn drop(&mut self) {
        let pass = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(pass));
        }
    }
}

/// Keeps everybody else out.
pub(crate) struct Alone(Gate);

impl Gate {
    /// Enters to bring data in. `collect` is called by the last one who leaves, if collection was wanted meanwhile.
    pub(crate) fn enter(&self, collect: impl FnOnce() + Send + Sync + 'static) -> Pass {
        let mut state = self.0.lock();
        while state.collecting {
            state = self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
        Pass { gate: self.clone(), leave: Some(Box::new(collect)) }
    }

    /// The last one who leaves is to collect.
    pub(crate) fn want(&self) {
        self.0.lock().wanted = true;
    }

    /// Enters to collect; none while somebody is inside, who will do it then.
    pub(crate) fn alone(&self) -> Option<Alone> {
        let mut state = self.0.lock();
        if state.inside > 0 || state.collecting {
            state.wanted = true;
            return None;
        }
        state.collecting = true;
        state.wanted = false;
        Some(Alone(self.clone()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let collect = {
            let mut state = self.gate.0.lock();
            state.inside -= 1;
            state.inside == 0 && state.wanted
        };
        if let Some(leave) = self.leave.take().filter(|_| collect) {
            leave();
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.0.lock().collecting = false;
        self.0.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_last_one_collects() {
        let gate = Gate::default();
        let collected = Arc::new(AtomicUsize::new(0));
        let enter = || {
            let collected = Arc::clone(&collected);
            gate.enter(move || {
                collected.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (first, second) = (enter(), enter());
        drop(first);
        assert!(gate.alone().is_none());
        drop(second);
        assert_eq!(collected.load(Ordering::SeqCst), 1);
        let alone = gate.alone().unwrap();
        assert!(gate.alone().is_none());
        drop(alone);
        drop(enter());
        assert_eq!(collected.load(Ordering::SeqCst), 2);
        assert!(gate.alone().is_some());
    }

    #[tokio::test]
    async fn a_pass_of_a_task_does_not_collect_where_tasks_run() {
        let gate = Gate::default();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let pass = AsyncPass::from(gate.enter(move || {
            let sender = sender.lock().unwrap().take();
            sender.unwrap().send(std::thread::current().id()).unwrap();
        }));
        gate.want();
        drop(pass);
        assert_ne!(receiver.await.unwrap(), std::thread::current().id());
    }
}
