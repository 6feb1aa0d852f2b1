//! The right to make something that others may want to make, too: one does, the others wait.
use knarr_oci::digest::Digest;
use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Default)]
struct Shared {
    busy: Mutex<HashSet<Digest>>,
    done: Condvar,
}

/// Who makes what. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Claims(Arc<Shared>);

/// Keeps others from making the same.
pub struct Claim {
    shared: Arc<Shared>,
    key: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.shared.done.notify_all();
    }
}

impl Claims {
    /// None if it is there. Waits while somebody else makes it.
    pub(crate) fn claim(&self, key: &Digest, is_there: impl Fn() -> bool) -> Option<Claim> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if is_there() {
                return None;
            }
            if busy.insert(key.clone()) {
                return Some(Claim { shared: Arc::clone(&self.0), key: key.clone() });
            }
            busy = self.0.done.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
