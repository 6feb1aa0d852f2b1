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
    reply: SyncSender<Result<(), Error>>,
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
        answer.recv().map_err(|_| Error::Task("publishing was aborted".to_owned()))?
    }

    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = std::mem::take(&mut queue.waiting);
        queue.busy = !batch.is_empty();
        queue.busy.then_some(batch)
    }

    /// The disk may refuse what one of them brings and take the rest.
    fn batch(&self, batch: Vec<Waiting>) {
        let (mut replies, mut blobs) = (Vec::new(), Vec::new());
        for Waiting { ready, reply } in batch {
            match self.store(ready) {
                Ok(stored) => {
                    replies.push(reply);
                    blobs.push(stored);
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        let published = self.content.publish_each(&self.content.lease(), blobs);
        for (reply, published) in replies.into_iter().zip(published) {
            drop(reply.send(published.map_err(Error::from)));
        }
    }

    /// All but the names of the blobs.
    fn store(&self, ready: Ready) -> Result<Vec<Verified>, Error> {
        ready.blobs.iter().try_for_each(Verified::sync)?;
        self.layers.commit(ready.layers)?;
        knarr_base::failpoint!("publish.layers", Error::Failpoint("publish.layers"));
        Ok(ready.blobs)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_failure_is_one_caller_s() {
        let root = tempfile::tempdir().unwrap();
        let content = Content::open(root.path()).unwrap();
        let publisher = Publisher::new(content.clone(), Layers::open(root.path()).unwrap());
        let blob = |text: &str| {
            let mut ingest = content.create(100).unwrap();
            ingest.write_all(text.as_bytes()).unwrap();
            ingest.verify().unwrap()
        };
        let (one, bad, two) = (blob("one"), blob("bad"), blob("two"));
        let digests = [&one, &bad, &two].map(|blob| blob.digest().clone());
        // What the second one brings is gone from the disk.
        let ingests = std::fs::read_dir(root.path().join("content/ingest")).unwrap();
        for path in ingests.map(|entry| entry.unwrap().path()) {
            if std::fs::read(&path).unwrap() == b"bad" {
                std::fs::remove_file(path).unwrap();
            }
        }
        let mut answers = Vec::new();
        let mut batch = Vec::new();
        for blob in [one, bad, two] {
            let (reply, answer) = sync_channel(1);
            batch.push(Waiting { ready: Ready { blobs: vec![blob], layers: Vec::new() }, reply });
            answers.push(answer);
        }
        publisher.batch(batch);
        let answers: Vec<bool> = answers.iter().map(|answer| answer.recv().unwrap().is_ok()).collect();
        assert_eq!(answers, [true, false, true]);
        assert_eq!(digests.map(|digest| content.exists(&digest)), [true, false, true]);
    }
}
