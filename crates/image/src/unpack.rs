//! From blobs to unpacked layers: several at a time, synced together.
use crate::error::Error;
use crate::progress::{Progress, Report};
use crate::record::LayerRef;
use crate::service::Images;
use knarr_oci::digest::Digest;
use knarr_snapshot::{Staged, Whiteouts};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Layers of one image that are unpacked at the same time: each keeps up to three threads busy.
const MAX_PARALLEL: usize = 3;
/// Bytes between two progress messages of one layer.
const REPORT_EVERY: u64 = 512 << 10;

impl Images {
    /// Unpacks and verifies one layer from its blob.
    pub(crate) fn stage(&self, layer: &LayerRef) -> Result<Staged, Error> {
        let blob = self.content.open_blob(&layer.blob.digest)?;
        Ok(self.layers.stage(blob, Some(&layer.diff_id), Whiteouts::Overlay, self.limits)?)
    }

    /// Makes sure that all these layers are unpacked. Those that are there are left as they are; trees that were made already
    /// are taken out of `early`, where they are by the digest of their blob.
    pub(crate) fn unpack(
        &self,
        layers: &[LayerRef],
        early: &mut HashMap<Digest, Staged>,
        status: &'static str,
        report: Report<'_>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let wanted: Vec<&LayerRef> = layers.iter().filter(|l| seen.insert(&l.diff_id)).collect();
        let mut claims = Vec::new();
        let mut missing = Vec::new();
        // Claims are taken in one order by everybody, so that two operations never wait for each other.
        let mut ordered = wanted.clone();
        ordered.sort_by(|a, b| a.diff_id.cmp(&b.diff_id));
        for layer in ordered {
            if let Some(claim) = self.layers.claim(&layer.diff_id) {
                claims.push(claim);
                missing.push(&layer.diff_id);
            }
        }
        let mut work: Vec<&LayerRef> = wanted.into_iter().filter(|l| missing.contains(&&l.diff_id)).collect();
        let mut staged = Vec::new();
        work.retain(|layer| {
            let made = early.remove(&layer.blob.digest).filter(|made| made.meta.diff_id == layer.diff_id);
            if made.is_some() {
                let (id, total) = (layer.blob.digest.short().to_owned(), layer.blob.size);
                report(Progress::Transfer { id, status, current: total, total });
            }
            let is_missing = made.is_none();
            staged.extend(made);
            is_missing
        });
        staged.extend(self.stage_all(&work, status, report)?);
        knarr_base::failpoint!("unpack.staged", Error::Failpoint("unpack.staged"));
        self.layers.commit(staged)?;
        drop(claims);
        Ok(())
    }

    fn stage_all(
        &self,
        work: &[&LayerRef],
        status: &'static str,
        report: Report<'_>,
    ) -> Result<Vec<Staged>, Error> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..MAX_PARALLEL.min(work.len()) {
                scope.spawn(|| {
                    loop {
                        let Some(layer) = work.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let result = self.stage_reported(layer, status, report);
                        if result.is_err() {
                            next.store(work.len(), Ordering::Relaxed);
                        }
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().collect()
    }

    fn stage_reported(
        &self,
        layer: &LayerRef,
        status: &'static str,
        report: Report<'_>,
    ) -> Result<Staged, Error> {
        let blob = self.content.open_blob(&layer.blob.digest)?;
        let (id, total, mut reported) = (layer.blob.digest.short().to_owned(), layer.blob.size, 0);
        let source = Metered::new(blob, |current, end| {
            if end || current - reported >= REPORT_EVERY {
                reported = current;
                report(Progress::Transfer { id: id.clone(), status, current, total });
            }
        });
        Ok(self.layers.stage(source, Some(&layer.diff_id), Whiteouts::Overlay, self.limits)?)
    }
}

/// Tells how far a source was read, and whether that is its end.
pub(crate) struct Metered<R, T> {
    source: R,
    read: u64,
    tell: T,
}

impl<R, T: FnMut(u64, bool)> Metered<R, T> {
    pub(crate) fn new(source: R, tell: T) -> Self {
        Self { source, read: 0, tell }
    }
}

impl<R: Read, T: FnMut(u64, bool)> Read for Metered<R, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.read += len as u64;
        (self.tell)(self.read, len == 0);
        Ok(len)
    }
}
