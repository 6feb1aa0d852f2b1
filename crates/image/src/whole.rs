//! Whether what is here of an image is whole, and what is done about a tree that is not.
//!
//! A tree is sealed (crate `snapshot`, `measure`) by a background thread soon after it was unpacked. A pull of what is here
//! makes the seal again: no file is read for that, so it takes a hundredth of unpacking. A tree whose seal is another, or
//! that has none, is compared with one that is unpacked anew from the blob, and replaced if it differs. Invariants: a seal is made
//! only of what this process unpacked, or of what was compared; layers that processes run on are not replaced.
use crate::error::Error;
use crate::record::{LayerRecord, LayerRef, TreeRecord};
use crate::service::Images;
use crate::standing::Standing;
use knarr_oci::digest::Digest;
use knarr_snapshot::{Layers, Staged, measure, measure_all};
use knarr_state::WeakStore;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Layers are sealed when those who wait for them are gone.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// What became of a layer that looked touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mended {
    /// It is what its blob says.
    Same,
    Replaced,
    /// It is damaged, and processes run on it.
    Busy(String),
}

impl Images {
    /// Whether a layer's blob and tree are here; the blob as it came. A blob that is damaged goes.
    pub(crate) fn layer_is_whole(&self, layer: &LayerRef) -> Result<bool, Error> {
        let blob = self.content.is_whole(&layer.blob.digest, layer.blob.size)?;
        let tree = self.layers.exists(&layer.diff_id);
        Ok(blob && tree)
    }

    /// Layers, of these, that something touched since they were sealed, or whose seal is lost. Those that are not here are
    /// not among them, nor are those of pulls that never came to their end: they were verified, and no container has them.
    pub(crate) fn suspects(&self, layers: &[Digest]) -> Result<HashSet<Digest>, Error> {
        let known = self.store.read(|tx| {
            layers
                .iter()
                .map(|layer| {
                    let key = layer.to_string();
                    let row = tx.get::<TreeRecord>(&key)?;
                    let seals: Vec<Digest> =
                        row.into_iter().flat_map(|row| [row.seal, row.made]).flatten().collect();
                    Ok((layer, seals, tx.get::<LayerRecord>(&key)?.is_some()))
                })
                .collect::<Result<Vec<_>, _>>()
        })?;
        let (mut suspects, mut sealed) = (HashSet::new(), Vec::new());
        for (layer, seals, used) in known {
            // What was made a moment ago is sealed in the next.
            if !self.layers.exists(layer) || self.layers.is_made(layer) {
                continue;
            }
            if !seals.is_empty() {
                sealed.push((layer, self.layer_dir(layer), seals));
            } else if used {
                suspects.insert(layer.clone());
            }
        }
        let trees: Vec<&Path> = sealed.iter().map(|(_, tree, _)| tree.as_path()).collect();
        for ((layer, _, seals), measure) in sealed.iter().zip(measure_all(&trees, self.threads)) {
            if !seals.contains(&measure?.seal) {
                suspects.insert((*layer).clone());
            }
        }
        Ok(suspects)
    }

    /// Compares a layer with its blob, and replaces it if it differs.
    pub(crate) fn mend(&self, layer: &LayerRef, standing: &Standing) -> Result<Mended, Error> {
        let before = self.measure_layer(&layer.diff_id)?;
        let staged = self.stage(layer)?;
        let Some(difference) = staged.differs()? else {
            let row = TreeRecord::compared(before);
            self.store.write(|tx| tx.put(&layer.diff_id.to_string(), &row))?;
            return Ok(Mended::Same);
        };
        tracing::warn!(layer = %layer.diff_id, difference, "layer is damaged: unpacked again");
        let replaced = self.replace_layer(&layer.diff_id, staged, standing)?;
        Ok(if replaced { Mended::Replaced } else { Mended::Busy(difference) })
    }

    /// Puts what was unpacked anew in a layer's place. Not if processes run on it.
    pub(crate) fn replace_layer(
        &self,
        layer: &Digest,
        staged: Staged,
        standing: &Standing,
    ) -> Result<bool, Error> {
        let replaced = standing.alone(|busy| {
            if self.layers.exists(layer) && busy.contains(layer) {
                return Ok(false);
            }
            self.layers.remove(layer)?;
            self.layers.commit(vec![staged])?;
            // Trees that the driver made of it are made anew.
            self.driver.retain(&mut std::iter::empty(), &self.base_layer)?;
            Ok(true)
        })?;
        if replaced {
            let row = TreeRecord::compared(self.measure_layer(layer)?);
            self.store.write(|tx| tx.put(&layer.to_string(), &row))?;
            let made = self.layers.made().into_iter().find(|(made, _)| made == layer);
            made.into_iter().for_each(|(_, number)| self.layers.seen(layer, number));
        }
        Ok(replaced)
    }

    /// Has what was unpacked sealed soon, by a thread that nobody waits for.
    pub(crate) fn seal_later(&self) {
        self.sealer.wake(&self.layers, &self.store.downgrade());
    }
}

/// The thread that seals, when there is something to seal. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Sealer(Arc<AtomicBool>);

impl Sealer {
    fn wake(&self, layers: &Layers, store: &WeakStore) {
        if self.0.swap(true, Ordering::SeqCst) {
            return;
        }
        let (running, layers, store) = (Arc::clone(&self.0), layers.clone(), store.clone());
        let work = move || {
            loop {
                std::thread::sleep(SEAL_AFTER);
                if let Err(error) = seal(&layers, &store) {
                    tracing::warn!(%error, "layers are not sealed: the next pull of them compares their files");
                }
                running.store(false, Ordering::SeqCst);
                // Those that came after the look and before that have nobody.
                if layers.made().is_empty() || running.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        };
        if std::thread::Builder::new().name("layer-seal".to_owned()).spawn(work).is_err() {
            self.0.store(false, Ordering::SeqCst);
        }
    }
}

fn seal(layers: &Layers, store: &WeakStore) -> Result<(), Error> {
    let made = layers.made();
    let mut rows = Vec::new();
    for (layer, _) in &made {
        let tree = layers.path(layer);
        let Some(dir) = tree.parent() else { continue };
        // It may go at any time.
        if let Ok(measure) = measure(dir)
            && layers.exists(layer)
        {
            rows.push((layer.to_string(), measure));
        }
    }
    // The engine ended meanwhile: nothing is sealed.
    let Some(store) = store.upgrade() else { return Ok(()) };
    let written = store.write(|tx| {
        for (key, measure) in &rows {
            let seal = tx.get::<TreeRecord>(key)?.and_then(|row| row.seal);
            let made = Some(measure.seal.clone());
            tx.put(key, &TreeRecord { disk: measure.disk, seal, made })?;
        }
        Ok::<_, Error>(())
    });
    made.iter().for_each(|(layer, number)| layers.seen(layer, *number));
    written
}
