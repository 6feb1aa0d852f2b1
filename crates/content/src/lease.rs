//! Leases: while one holds a digest, nothing deletes that blob.
//!
//! A lease lives in memory. After a crash nobody works on anything, so nothing needs one. Invariant: a digest is held
//! before its blob is looked for or made, so there is no moment at which collection could take it.
use crate::store::Shared;
use knarr_oci::digest::Digest;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Holds blobs until it is dropped.
pub struct Lease {
    shared: Arc<Shared>,
    held: Mutex<HashSet<Digest>>,
}

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, held: Mutex::new(HashSet::new()) }
    }

    /// Keeps the blob of this digest, which need not exist yet.
    pub fn hold(&self, digest: &Digest) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.insert(digest.clone()) {
            *self.shared.lock().leases.entry(digest.clone()).or_insert(0) += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.shared.lock();
        for digest in held {
            if let Some(count) = state.leases.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(&digest);
                }
            }
        }
    }
}
