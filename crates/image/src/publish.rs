//! Verified blobs become durable, and they and unpacked layers get their names: whatever is ready at the same time together.
//!
//! Invariant: when [`Publisher::publish`] returns, bytes, names and directories of blobs are on disk; layers, which can be made
//! again from them, follow (`snapshot::fresh`). Whoever finds nobody at it does it
//! for all who wait; those who come meanwhile are the next batch.
use crate::error::Error;
use knarr_content::{Content, Lease, Verified};
use knarr_snapshot::{Layers, Staged};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What one caller brings. The claims on layers are the caller's to keep until it is done.
#[derive(Default)]
pub(crate) struct Ready {
    pub blobs: Vec<Verified>,
    pub layers: Vec<Staged>,
}

struct Waiting {
    ready: Ready,
    reply: SyncSender<Result<(), Arc<Error>>>,
}

#[derive(Default)]
struct Queue {
    busy: bool,
    waiting: Vec<Waiting>,
}

/// One per data root. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    content: Content,
    layers: Layers,
    queue: Arc<Mutex<Queue>>,
}

impl Publisher {
    pub(crate) fn new(content: Content, layers: Layers) -> Self {
        Self { content, layers, queue: Arc::default() }
    }

    /// `lease` holds the blobs from before until after.
    pub(crate) fn publish(&self, lease: &Lease, ready: Ready) -> Result<(), Error> {
        if ready.blobs.is_empty() && ready.layers.is_empty() {
            return Ok(());
        }
        for blob in &ready.blobs {
            lease.hold(blob.digest());
        }
        let (reply, answer) = sync_channel(1);
        let first = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.push(Waiting { ready, reply });
            !std::mem::replace(&mut queue.busy, true)
        };
        if first {
            let _done = Done(self);
            while let Some(batch) = self.next() {
                self.batch(batch);
            }
        }
        let answer = answer.recv().map_err(|_| Error::Task("publishing was aborted".to_owned()))?;
        answer.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(Error::Shared))
    }

    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = std::mem::take(&mut queue.waiting);
        queue.busy = !batch.is_empty();
        queue.busy.then_some(batch)
    }

    fn batch(&self, batch: Vec<Waiting>) {
        let mut all = Ready::default();
        let mut replies = Vec::with_capacity(batch.len());
        for Waiting { ready, reply } in batch {
            all.blobs.extend(ready.blobs);
            all.layers.extend(ready.layers);
            replies.push(reply);
        }
        let done = self.store(all).map_err(Arc::new);
        let (failed, shared) = match done {
            Ok(()) => (false, None),
            Err(error) => (true, Some(error)),
        };
        for reply in replies {
            let answer = match &shared {
                Some(error) if failed => Err(Arc::clone(error)),
                _ => Ok(()),
            };
            let _ = reply.send(answer);
        }
    }

    fn store(&self, ready: Ready) -> Result<(), Error> {
        ready.blobs.iter().try_for_each(Verified::sync)?;
        self.layers.commit(ready.layers)?;
        knarr_base::failpoint!("publish.layers", Error::Failpoint("publish.layers"));
        self.content.publish(&self.content.lease(), ready.blobs)?;
        Ok(())
    }
}

/// Lets the next one in, also after a panic.
struct Done<'a>(&'a Publisher);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            queue.busy = false;
            queue.waiting.clear();
        }
    }
}
