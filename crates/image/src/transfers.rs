//! Layers on their way in, shared by all pulls that want them: one download and one unpacking, each pull sees the progress.
//!
//! Invariants: a transfer lives as long as somebody follows it, whoever began it; when the last one goes it is given up, and
//! what arrived stays for the next. A failure is told to one follower; the others try for themselves, since their registry or
//! their credentials may do better.
use crate::error::Error;
use crate::progress::Progress;
use crate::record::LayerRef;
use knarr_oci::digest::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Bytes between two progress messages of one layer.
pub(crate) const REPORT_EVERY: u64 = 512 << 10;

/// A layer as an image names it: the blob, and what is in it.
type Key = (Digest, Digest);

/// How far a layer is. In order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Queued,
    Waiting,
    Downloading,
    Downloaded,
    Complete,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stage {
    phase: Phase,
    downloaded: u64,
    extracted: u64,
    failed: bool,
}

/// Where the work says how far it is. Cheap to clone; called from several threads.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<watch::Sender<Stage>>);

impl Reporter {
    pub(crate) fn phase(&self, phase: Phase) {
        self.0.send_modify(|stage| stage.phase = stage.phase.max(phase));
    }
    pub(crate) fn downloaded(&self, bytes: u64) {
        self.0.send_if_modified(|stage| {
            // After a cut it may be less than before.
            let far =
                bytes.abs_diff(stage.downloaded) >= REPORT_EVERY / 2 || stage.phase < Phase::Downloading;
            stage.phase = stage.phase.max(Phase::Downloading);
            stage.downloaded = if far { bytes } else { stage.downloaded };
            far
        });
    }
    pub(crate) fn extracted(&self, bytes: u64) {
        self.0.send_modify(|stage| stage.extracted = bytes);
    }
    fn failed(&self) {
        self.0.send_modify(|stage| stage.failed = true);
    }
}

/// Transfers under way at a time, of all pulls: each has four threads and some buffers.
const MAX_TRANSFERS: usize = 24;

/// All transfers of a data root. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transfers {
    all: Arc<Mutex<HashMap<Key, Weak<Transfer>>>>,
    /// One for each transfer under way.
    pub slots: Arc<Semaphore>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self { all: Arc::default(), slots: Arc::new(Semaphore::new(MAX_TRANSFERS)) }
    }
}

pub(crate) struct Transfer {
    key: Key,
    all: Transfers,
    state: watch::Receiver<Stage>,
    error: Arc<Mutex<Option<Error>>>,
    task: AbortHandle,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.task.abort();
        let mut all = self.all.lock();
        // A new one of the same key may have begun meanwhile.
        if all.get(&self.key).is_some_and(|transfer| transfer.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

impl Transfers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Transfer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transfer of this layer that is under way, or the one that `work` begins.
    pub(crate) fn join<F: Future<Output = Result<(), Error>> + Send + 'static>(
        &self,
        layer: &LayerRef,
        work: impl FnOnce(Reporter) -> F,
    ) -> Arc<Transfer> {
        let key = (layer.blob.digest.clone(), layer.diff_id.clone());
        let mut all = self.lock();
        let before = all.get(&key).and_then(Weak::upgrade);
        // One that has failed is told to those who were there, not to those who come.
        if let Some(transfer) = &before
            && !transfer.state.borrow().failed
        {
            return Arc::clone(transfer);
        }
        let (sender, state) = watch::channel(Stage::default());
        let reporter = Reporter(Arc::new(sender));
        let error = Arc::new(Mutex::new(None));
        let (told, future) = (Arc::clone(&error), work(reporter.clone()));
        let task = tokio::spawn(async move {
            match future.await {
                Ok(()) => reporter.phase(Phase::Complete),
                Err(error) => {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    reporter.failed();
                }
            }
        });
        let task = task.abort_handle();
        let transfer = Arc::new(Transfer { key: key.clone(), all: self.clone(), state, error, task });
        all.insert(key, Arc::downgrade(&transfer));
        drop(all);
        // Those who were there may be gone by now: then it goes with us, and takes the lock.
        drop(before);
        transfer
    }
}

/// How a transfer ended for one follower.
pub(crate) enum Outcome {
    Complete,
    Failed(Error),
    /// It failed for somebody else.
    TryAgain,
}

impl Transfer {
    /// Reports until the end.
    pub(crate) async fn follow(
        &self,
        layer: &LayerRef,
        report: &(dyn Fn(Progress) + Send + Sync),
    ) -> Outcome {
        let mut state = self.state.clone();
        let mut shown = Shown::default();
        loop {
            let stage = *state.borrow_and_update();
            shown.show(stage, layer, report);
            if stage.failed {
                let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
                return error.map_or(Outcome::TryAgain, Outcome::Failed);
            }
            if stage.phase == Phase::Complete {
                return Outcome::Complete;
            }
            if state.changed().await.is_err() && !ended(*state.borrow()) {
                return Outcome::Failed(Error::Task("a layer's transfer was aborted".to_owned()));
            }
        }
    }
}

fn ended(stage: Stage) -> bool {
    stage.failed || stage.phase == Phase::Complete
}

/// What a follower has told its client.
#[derive(Default)]
struct Shown {
    phase: Phase,
    downloaded: u64,
    extracted: u64,
}

impl Shown {
    /// Docker's messages for the way from what was shown to `stage`; none of the milestones is left out.
    fn show(&mut self, stage: Stage, layer: &LayerRef, report: &(dyn Fn(Progress) + Send + Sync)) {
        let id = layer.blob.digest.short();
        let total = layer.blob.size;
        let say = |status: &str| report(Progress::status(id, status));
        let transfer = |status: &'static str, current: u64| {
            report(Progress::Transfer { id: id.to_owned(), status, current: current.min(total), total });
        };
        if stage.phase == Phase::Waiting && self.phase < Phase::Waiting {
            say("Waiting");
        }
        if stage.phase == Phase::Downloading
            && (self.phase < Phase::Downloading || stage.downloaded.abs_diff(self.downloaded) >= REPORT_EVERY)
        {
            self.downloaded = stage.downloaded;
            transfer("Downloading", stage.downloaded);
        }
        if stage.phase >= Phase::Downloaded && self.phase < Phase::Downloaded {
            say("Verifying Checksum");
            say("Download complete");
        }
        if stage.phase == Phase::Downloaded && stage.extracted >= self.extracted + REPORT_EVERY {
            self.extracted = stage.extracted;
            transfer("Extracting", stage.extracted);
        }
        if stage.phase == Phase::Complete && self.phase < Phase::Complete {
            transfer("Extracting", total);
            say("Pull complete");
        }
        self.phase = self.phase.max(stage.phase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_oci::image::{Descriptor, media_type};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    fn layer() -> LayerRef {
        let digest = Digest::sha256(b"layer");
        let blob = Descriptor::new(media_type::OCI_LAYER, digest.clone(), 10);
        LayerRef { diff_id: digest, blob }
    }

    #[tokio::test]
    async fn one_work_for_all_and_none_when_all_are_gone() {
        let (transfers, begun) = (Transfers::default(), Arc::new(AtomicUsize::new(0)));
        let (dropped, was_dropped) = oneshot::channel::<()>();
        let mut dropped = Some(dropped);
        let mut join = || {
            let (begun, dropped) = (Arc::clone(&begun), dropped.take());
            transfers.join(&layer(), |reporter| async move {
                let _held = dropped;
                begun.fetch_add(1, Ordering::SeqCst);
                reporter.downloaded(5);
                std::future::pending().await
            })
        };
        let (one, two) = (join(), join());
        one.state.clone().wait_for(|stage| stage.downloaded == 5).await.unwrap();
        drop(one);
        tokio::task::yield_now().await;
        assert_eq!(two.state.borrow().phase, Phase::Downloading);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        drop(two);
        assert!(was_dropped.await.is_err(), "the work ends with its last follower");
        assert!(transfers.lock().is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_one_follower_s() {
        let transfers = Transfers::default();
        let (go, gone) = oneshot::channel::<()>();
        let one = transfers.join(&layer(), |_| async move {
            let _ = gone.await;
            Err(Error::Missing("no".to_owned()))
        });
        let two = transfers.join(&layer(), |_| async { Ok(()) });
        go.send(()).unwrap();
        let said = Mutex::new(Vec::new());
        let report = |progress: Progress| said.lock().unwrap().push(progress);
        assert!(matches!(one.follow(&layer(), &report).await, Outcome::Failed(Error::Missing(_))));
        assert!(matches!(two.follow(&layer(), &report).await, Outcome::TryAgain));
        let three = transfers.join(&layer(), |_| async { Ok(()) });
        assert!(matches!(three.follow(&layer(), &report).await, Outcome::Complete));
        assert_eq!(
            said.lock().unwrap().last(),
            Some(&Progress::status(layer().blob.digest.short(), "Pull complete"))
        );
    }

    /// The last follower of a failure may go while somebody comes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_comes_after_a_failure_does_not_wait_for_himself() {
        let transfers = Transfers::default();
        let come = || transfers.join(&layer(), |_| async { Err(Error::Missing("no".to_owned())) });
        for _ in 0..2000 {
            let one = come();
            one.state.clone().wait_for(|stage| stage.failed).await.unwrap();
            let going = tokio::task::spawn_blocking(move || drop(one));
            drop(come());
            going.await.unwrap();
        }
        assert!(transfers.lock().is_empty());
    }
}
