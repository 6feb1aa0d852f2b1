//! What images take on the disk.
//!
//! Invariant: blocks, as `du` counts them, so that the sum is what the file system gives back. A layer's tree never changes, so
//! it is measured once and the result kept in the table `layer_trees`.
use crate::error::Error;
use crate::record::{ImageRecord, LayerRecord, TreeRecord};
use crate::service::Images;
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_snapshot::{disk_usage, measure};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Disk usage of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk of all unpacked layers and of all blobs.
    pub total: u64,
    /// Of these, what no image in use needs.
    pub reclaimable: u64,
    /// Per image: bytes of its layers' files, and of those that others use as well.
    pub images: HashMap<ImageId, (u64, u64)>,
}

impl Images {
    /// Bytes of the layers' files, without a look at the disk.
    pub fn shared_sizes(&self) -> Result<HashMap<ImageId, (u64, u64)>, Error> {
        let (images, layers) =
            self.store.read(|tx| Ok((tx.list::<ImageRecord>()?, tx.list::<LayerRecord>()?)))?;
        let layers: HashMap<String, LayerRecord> = layers.into_iter().collect();
        let per_image = images.iter().filter_map(|(key, record)| {
            let id = ImageId::parse(key).ok()?;
            let used = record.layers.iter().filter_map(|l| layers.get(&l.diff_id.to_string()));
            let shared = used.filter(|layer| layer.images > 1).map(|layer| layer.size).sum();
            Some((id, (record.size, shared)))
        });
        Ok(per_image.collect())
    }

    /// What images take on the disk. `in_use`: those that containers are made of.
    pub fn usage(&self, in_use: &HashSet<ImageId>) -> Result<Usage, Error> {
        let images = self.store.list::<ImageRecord>()?;
        let (mut needed, mut kept) = (HashSet::new(), HashSet::from([self.base_layer.clone()]));
        for (key, record) in &images {
            let Ok(id) = ImageId::parse(key) else { continue };
            if in_use.contains(&id) {
                needed.extend(record.blobs(&id));
                kept.extend(record.layers.iter().map(|layer| layer.diff_id.clone()));
            }
        }
        kept.extend(self.held().unwrap_or_default());
        let (mut total, mut used) = (0, 0);
        for (layer, disk) in self.layers_on_disk()? {
            total += disk;
            used += if kept.contains(&layer) { disk } else { 0 };
        }
        for dir in ["layers", "content"] {
            let dir = self.data_root.join(dir);
            let own = if dir.ends_with("layers") {
                std::fs::symlink_metadata(&dir).map_or(0, |meta| meta.blocks() * 512)
            } else {
                disk_usage(&dir)?
            };
            total += own;
        }
        for digest in needed {
            used += disk_usage(&self.content.blob_path(&digest))?;
        }
        Ok(Usage { total, reclaimable: total.saturating_sub(used), images: self.shared_sizes()? })
    }

    /// All unpacked layers with the bytes of their blocks.
    pub(crate) fn layers_on_disk(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let known: HashMap<String, TreeRecord> = self.store.list::<TreeRecord>()?.into_iter().collect();
        let mut list = Vec::new();
        let mut measured = Vec::new();
        for layer in self.layers.list()? {
            let disk = match known.get(&layer.to_string()) {
                Some(row) => row.disk,
                None => {
                    let disk = disk_usage(&self.layer_dir(&layer))?;
                    measured.push((layer.to_string(), TreeRecord { disk, seal: None, made: None }));
                    disk
                }
            };
            list.push((layer, disk));
        }
        if !measured.is_empty() {
            self.store.write_behind(|tx| {
                for (key, row) in &measured {
                    // Somebody may have compared it meanwhile.
                    if tx.get::<TreeRecord>(key)?.is_none() {
                        tx.put(key, row)?;
                    }
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(list)
    }

    /// The layer's directory: its tree and its facts.
    pub(crate) fn layer_dir(&self, layer: &Digest) -> PathBuf {
        let tree = self.layers.path(layer);
        tree.parent().map_or_else(|| tree.clone(), PathBuf::from)
    }

    /// Measures a layer anew.
    pub(crate) fn measure_layer(&self, layer: &Digest) -> Result<knarr_snapshot::Measure, Error> {
        Ok(measure(&self.layer_dir(layer))?)
    }
}
