//! What lists show of all images, kept in memory from one change to the next.
//!
//! Made from one snapshot of the rows alone: no file is read for it. Invariant: an index that is handed out is not older
//! than any change that was reported as done before it was asked for.
use crate::error::Error;
use crate::record::{Facts, ImageRecord};
use crate::service::{Images, all_references};
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, ImageConfig, MAX_CONFIG_LEN};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An image as lists show it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub id: ImageId,
    /// `nginx:latest`, as people write it.
    pub repo_tags: Vec<String>,
    /// `nginx@sha256:...`
    pub repo_digests: Vec<String>,
    /// Nanoseconds since the epoch; none if its configuration does not say.
    pub created_nanos: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub architecture: String,
    pub os: String,
    pub variant: String,
    pub parent: Option<ImageId>,
    /// Whether another image was made from it.
    pub has_children: bool,
    /// Bytes of the unpacked layers.
    pub size: u64,
    pub manifest: Option<Descriptor>,
    /// Bytes of manifest, configuration and layers as they came.
    pub content_size: u64,
}

impl Listed {
    /// No tag names it.
    pub fn is_dangling(&self) -> bool {
        self.repo_tags.is_empty()
    }
}

/// All images, newest first.
pub type Index = Arc<Vec<Arc<Listed>>>;

/// The index of now, if nothing changed since it was made.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Shared>);

#[derive(Default)]
struct Shared {
    changes: AtomicU64,
    made: Mutex<Option<(u64, Index)>>,
    /// Held by who makes one: others wait for it rather than make the same beside it, as after a start.
    making: Mutex<()>,
}

impl Cache {
    /// After each change of a row of images or names.
    pub(crate) fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::SeqCst);
        *self.0.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self, make: impl FnOnce() -> Result<Index, Error>) -> Result<Index, Error> {
        if let Some(index) = self.of_now() {
            return Ok(index);
        }
        let _alone = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = self.of_now() {
            return Ok(index);
        }
        let before = self.0.changes.load(Ordering::SeqCst);
        let index = make()?;
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.changes.load(Ordering::SeqCst) == before {
            *made = Some((before, Arc::clone(&index)));
        }
        Ok(index)
    }

    fn of_now(&self) -> Option<Index> {
        let now = self.0.changes.load(Ordering::SeqCst);
        let made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().filter(|(at, _)| *at == now).map(|(_, index)| Arc::clone(index))
    }
}

impl Images {
    /// All images, newest first; those made at the same time by id.
    pub fn list(&self) -> Result<Index, Error> {
        self.index.get(|| self.make_index())
    }

    fn make_index(&self) -> Result<Index, Error> {
        let (records, references) =
            self.store.read(|tx| Ok((tx.list::<ImageRecord>()?, all_references(tx)?)))?;
        let parents: HashSet<&ImageId> =
            records.iter().filter_map(|(_, record)| record.parent.as_ref()).collect();
        let mut names: HashMap<&ImageId, (Vec<String>, Vec<String>)> = HashMap::new();
        for (name, id) in &references {
            let (tags, digests) = names.entry(id).or_default();
            if name.tag().is_some() { tags } else { digests }.push(name.familiar());
        }
        let mut list = Vec::with_capacity(records.len());
        for (key, record) in &records {
            let Ok(id) = ImageId::parse(key) else { continue };
            let facts = match record.facts.clone().map_or_else(|| self.facts(&id), Ok) {
                Ok(facts) => facts,
                Err(error) => {
                    tracing::warn!(%error, image = key, "damaged image left out");
                    continue;
                }
            };
            let (repo_tags, repo_digests) = names.remove(&id).unwrap_or_default();
            let blobs: u64 = record.layers.iter().map(|layer| layer.blob.size).sum();
            list.push(Arc::new(Listed {
                repo_tags,
                repo_digests,
                created_nanos: facts.created_nanos,
                labels: facts.labels,
                architecture: facts.architecture,
                os: facts.os,
                variant: facts.variant,
                parent: record.parent.clone(),
                has_children: parents.contains(&id),
                size: record.size,
                content_size: blobs + facts.config_size + record.manifest.as_ref().map_or(0, |m| m.size),
                manifest: record.manifest.clone(),
                id,
            }));
        }
        list.sort_by(|a, b| b.created_nanos.cmp(&a.created_nanos).then_with(|| a.id.cmp(&b.id)));
        Ok(Arc::new(list))
    }

    /// What the configuration says, for a row that does not have it.
    pub(crate) fn facts(&self, id: &ImageId) -> Result<Facts, Error> {
        let bytes = self.content.read(&Digest::of_image(id), MAX_CONFIG_LEN)?;
        Ok(Facts::of(&ImageConfig::parse(&bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_come_meanwhile_wait_for_one_index() {
        let (cache, made) = (Cache::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (begun, has_begun) = std::sync::mpsc::channel();
            let (cache, made) = (&cache, &made);
            scope.spawn(move || {
                cache.get(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    made.fetch_add(1, Ordering::SeqCst);
                    Ok(Arc::default())
                })
            });
            has_begun.recv().unwrap();
            cache.get(|| panic!("made twice")).unwrap();
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_index_made_during_a_change_is_not_kept() {
        let cache = Cache::default();
        let made = AtomicU64::new(0);
        let make = || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::default())
        };
        cache.get(make).unwrap();
        cache.get(make).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 1);
        cache.changed();
        cache
            .get(|| {
                cache.changed();
                make()
            })
            .unwrap();
        cache.get(make).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 3);
    }
}
