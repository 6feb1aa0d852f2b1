//! Collection: blobs and layers that no row names.
//!
//! Invariants: collection sees the rows of one snapshot while nobody brings data in, and never touches what a lease holds.
//! Layers that a container stands on are held by the file `layers.json` in the container's directory, whatever becomes of
//! its image; the hold ends with the directory. A hold that is missing or damaged is unknown, not empty: then no layer goes.
use crate::error::Error;
use crate::record::{ImageRecord, PullRecord, TreeRecord};
use crate::service::{Images, now_nanos};
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Record;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// How long what arrived of a failed pull is kept.
const PULL_TTL_NANOS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// File in a container's directory that names the layers it stands on.
const HOLD_FILE: &str = "layers.json";

impl Images {
    /// Removes all blobs and layers that no image or container needs. While data is being brought in, this is left to
    /// whoever brings it.
    ///
    /// Layers are only renamed here; they are deleted in the background, since callers hold locks.
    pub fn collect(&self) -> Result<(), Error> {
        let Some(_alone) = self.gate.alone() else { return Ok(()) };
        self.unlink_unneeded()
    }

    fn unlink_unneeded(&self) -> Result<(), Error> {
        let images = self.store.list::<ImageRecord>()?;
        if self.store.quarantined()?.iter().any(|row| row.table == ImageRecord::TABLE) {
            tracing::warn!("an image's record is damaged: nothing is collected");
            return Ok(());
        }
        let mut blobs = HashSet::new();
        let mut layers: HashSet<Digest> = HashSet::from([self.base_layer.clone()]);
        for (key, record) in &images {
            let Ok(id) = ImageId::parse(key) else { continue };
            blobs.extend(record.blobs(&id));
            layers.extend(record.layers.iter().map(|layer| layer.diff_id.clone()));
        }
        for (key, pull) in self.store.list::<PullRecord>()? {
            if now_nanos() - pull.started_nanos < PULL_TTL_NANOS {
                blobs.extend(pull.blobs);
                layers.extend(pull.layers);
            } else {
                self.store.write(|tx| tx.delete::<PullRecord>(&key))?;
            }
        }
        self.unlink_blobs(&blobs)?;
        let mut stacks =
            images.iter().map(|(_, record)| record.layers.iter().map(|l| l.diff_id.clone()).collect());
        self.driver.retain(&mut stacks, &self.base_layer)?;
        match self.held() {
            Ok(held) => layers.extend(held),
            Err(error) => {
                // Cut off by a crash, for instance.
                tracing::warn!(%error, "a container's layers are not known: no layer is collected");
                return Ok(());
            }
        }
        let mut gone = Vec::new();
        for diff_id in self.layers.list()? {
            if !layers.contains(&diff_id) {
                self.layers.remove(&diff_id)?;
                gone.push(diff_id.to_string());
            }
        }
        if !gone.is_empty() {
            self.store.write_behind(|tx| {
                for key in &gone {
                    tx.delete::<TreeRecord>(key)?;
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }

    /// Gives up what is held for pulls to come. What pulls under way hold stays.
    pub(crate) fn forget_pulls(&self) -> Result<(), Error> {
        self.store.write(|tx| {
            for (key, _) in tx.list::<PullRecord>()? {
                if !self.running_pulls.has(&key) {
                    tx.delete::<PullRecord>(&key)?;
                }
            }
            Ok(())
        })
    }

    /// Partial blobs stay only for the pull that will go on with them.
    fn unlink_blobs(&self, needed: &HashSet<Digest>) -> Result<(), Error> {
        for (digest, _) in self.content.list()? {
            if !needed.contains(&digest) {
                match self.content.delete(&digest) {
                    Ok(_) | Err(knarr_content::Error::Leased(_)) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        self.content.sweep_ingests(|digest| needed.contains(digest))?;
        Ok(())
    }

    /// Layers that containers stand on.
    pub(crate) fn held(&self) -> Result<HashSet<Digest>, Error> {
        let dir = self.data_root.join("containers");
        let mut held = HashSet::new();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(held),
            Err(e) => return Err(Error::io("read", dir)(e)),
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", &dir))?.path().join(HOLD_FILE);
            match fs::read(&path) {
                Ok(bytes) => {
                    let list: Vec<Digest> =
                        serde_json::from_slice(&bytes).map_err(|e| Error::io("parse", &path)(e.into()))?;
                    held.extend(list);
                }
                // A directory without it, as after a loss of power, may stand on any layer.
                Err(e) => return Err(Error::io("read", path)(e)),
            }
        }
        Ok(held)
    }

    /// Makes a container's directories again if a loss of power took them before they reached the disk. Whether it had.
    pub fn repair_root(&self, rootfs: &RootfsMount) -> Result<bool, Error> {
        Ok(knarr_snapshot::own::remake(rootfs, &self.layers.path(&self.base_layer))?)
    }

    /// Writes a container's hold again from its root file system and its other trees if it was lost: its record is durable, while the file is
    /// not synced. Whether it was lost.
    pub fn repair_hold(&self, container_dir: &Path, trees: &[&RootfsMount]) -> Result<bool, Error> {
        let path = container_dir.join(HOLD_FILE);
        let is_whole = fs::read(&path).is_ok_and(|b| serde_json::from_slice::<Vec<Digest>>(&b).is_ok());
        if is_whole || !container_dir.is_dir() {
            return Ok(false);
        }
        let layers = self.data_root.join("layers");
        let diff_id = |path: &std::path::PathBuf| {
            let hex = path.strip_prefix(&layers).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
            Digest::parse(&format!("sha256:{hex}")).ok()
        };
        let layers_of = |tree: &&RootfsMount| match tree {
            RootfsMount::Overlay { lower, .. } | RootfsMount::Copy { lower, .. } => lower.clone(),
            RootfsMount::Directory { .. } => Vec::new(),
        };
        let held: Vec<Digest> = trees.iter().flat_map(layers_of).filter_map(|path| diff_id(&path)).collect();
        hold(container_dir, &held.iter().collect::<Vec<_>>())?;
        Ok(true)
    }
}

/// The same, and what is held already.
pub(crate) fn hold_more(container_dir: &Path, layers: &[&Digest]) -> Result<(), Error> {
    let path = container_dir.join(HOLD_FILE);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let held: Vec<Digest> =
        serde_json::from_slice(&bytes).map_err(|e| Error::io("parse", &path)(e.into()))?;
    let all: Vec<&Digest> = held.iter().chain(layers.iter().copied()).collect();
    hold(container_dir, &all)
}

/// Holds these layers for as long as the container's directory exists.
pub(crate) fn hold(container_dir: &Path, layers: &[&Digest]) -> Result<(), Error> {
    let path = container_dir.join(HOLD_FILE);
    let bytes = serde_json::to_vec(layers).map_err(|e| Error::io("encode", &path)(e.into()))?;
    let unfinished = container_dir.join(format!("{HOLD_FILE}.new"));
    fs::write(&unfinished, bytes).map_err(Error::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(Error::io("rename", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_pull_holds_is_not_given_up() {
        let root = tempfile::tempdir().unwrap();
        let store = knarr_state::Store::open(&root.path().join("state.redb")).unwrap();
        let images = Images::open(root.path(), store.clone()).unwrap();
        let row = PullRecord { blobs: Vec::new(), layers: Vec::new(), started_nanos: now_nanos() };
        let keys = || store.list::<PullRecord>().unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        store.write(|tx| ["ended", "runs"].iter().try_for_each(|key| tx.put(key, &row))).unwrap();
        let running = images.running_pulls.enter("runs".to_owned());
        images.forget_pulls().unwrap();
        assert_eq!(keys(), ["runs"]);
        drop(running);
        images.forget_pulls().unwrap();
        assert!(keys().is_empty());
    }
}
