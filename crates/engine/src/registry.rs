//! The containers that exist, as their tasks last published them. Written by tasks after a commit; read by everyone.
use crate::error::{Error, Result};
use crate::machine::Phase;
use crate::record::{Container, Health, Status};
use crate::supervisor::ShimHandle;
use crate::task::Inbox;
use knarr_base::ContainerId;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A container at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub container: Arc<Container>,
    pub status: Status,
    /// The supervisor of the running process.
    pub live: Option<ShimHandle>,
    /// Of one with a health check that was started once.
    pub health: Option<Arc<Health>>,
}

impl Snapshot {
    pub fn id(&self) -> &ContainerId {
        &self.container.id
    }
    pub fn is_live(&self) -> bool {
        self.status.phase.is_live()
    }
    /// The supervisor, when the container runs (paused or not).
    pub fn supervisor(&self) -> Option<&ShimHandle> {
        self.live.as_ref().filter(|_| self.is_live())
    }
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub snapshot: Arc<Snapshot>,
    pub inbox: Inbox,
}

#[derive(Default)]
struct Maps {
    by_id: BTreeMap<String, Entry>,
    names: BTreeMap<String, String>,
}

impl Maps {
    /// What containers on the default bridge call each other: id, and the name `container/alias`.
    fn links(&self) -> impl Iterator<Item = (&str, String)> {
        self.by_id.values().flat_map(|entry| {
            let container = &entry.snapshot.container;
            let own = |(id, alias)| (id, format!("{}/{alias}", container.name));
            container.host_config.links.iter().filter_map(|link| link.split_once(':')).map(own)
        })
    }
}

#[derive(Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
}

impl Registry {
    pub fn insert(&self, entry: Entry) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let id = entry.snapshot.id().to_string();
        maps.names.insert(entry.snapshot.container.name.clone(), id.clone());
        maps.by_id.insert(id, entry);
    }

    /// Replaces a container's snapshot. One that was removed stays removed.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let id = snapshot.id().to_string();
        let Some(entry) = maps.by_id.get_mut(&id) else { return };
        let old = std::mem::replace(&mut entry.snapshot, Arc::new(snapshot));
        let new_name = entry.snapshot.container.name.clone();
        if old.container.name != new_name {
            maps.names.remove(&old.container.name);
            maps.names.insert(new_name, id);
        }
    }

    pub fn remove(&self, id: &ContainerId) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = maps.by_id.remove(id.as_str()) {
            maps.names.remove(&entry.snapshot.container.name);
        }
    }

    /// By full id, name, or the beginning of an id.
    pub fn resolve(&self, reference: &str) -> Result<Entry> {
        if reference.is_empty() {
            return Err(Error::Invalid("invalid name or ID supplied: \"\"".to_owned()));
        }
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::NoSuchContainer(reference.to_owned());
        if let Some(entry) = maps.by_id.get(reference) {
            return Ok(entry.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(entry) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
            return Ok(entry.clone());
        }
        if name.contains('/') {
            let linked = maps.links().find_map(|(id, linked)| (linked == name).then_some(id));
            return linked.and_then(|id| maps.by_id.get(id)).cloned().ok_or_else(missing);
        }
        let hex = reference.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Err(missing());
        }
        let mut matches =
            maps.by_id.range(reference.to_owned()..).take_while(|(id, _)| id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (None, _) => Err(missing()),
            (Some((_, entry)), None) => Ok(entry.clone()),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix(reference.to_owned())),
        }
    }

    /// All links on the default bridge: whose id, and how it is called: `container/alias`.
    pub fn links(&self) -> Vec<(String, String)> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.links().map(|(id, name)| (id.to_owned(), name)).collect()
    }

    /// Who has the name.
    pub fn owner(&self, name: &str) -> Option<String> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner).names.get(name).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Snapshot>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.values().map(|entry| Arc::clone(&entry.snapshot)).collect()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect()
    }

    /// Something runs, or will by itself.
    pub fn any_active(&self) -> bool {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.values().any(|entry| {
            matches!(
                entry.snapshot.status.phase,
                Phase::Running | Phase::Paused | Phase::Restarting | Phase::Removing
            )
        })
    }
}
