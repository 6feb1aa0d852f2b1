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
    /// In the database a name is free before it is here: another container may have it by now.
    fn give_up(&mut self, name: &str, id: &str) {
        if self.names.get(name).is_some_and(|owner| owner == id) {
            self.names.remove(name);
        }
    }

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
            maps.give_up(&old.container.name, &id);
            maps.names.insert(new_name, id);
        }
    }

    pub fn remove(&self, id: &ContainerId) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = maps.by_id.remove(id.as_str()) {
            maps.give_up(&entry.snapshot.container.name, id.as_str());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(letter: char, name: &str) -> Entry {
        let mut container = crate::spec::test_container();
        container.id = ContainerId::parse(&letter.to_string().repeat(64)).unwrap();
        name.clone_into(&mut container.name);
        let (inbox, _) = Inbox::new(&container.id);
        let snapshot =
            Snapshot { container: Arc::new(container), status: Status::default(), live: None, health: None };
        Entry { snapshot: Arc::new(snapshot), inbox }
    }

    /// A removal, or a renaming, frees the name in the database first; who takes it then keeps it.
    #[test]
    fn a_name_that_another_has_by_now_is_not_taken_from_it() {
        let registry = Registry::default();
        let of = |name: &str| registry.resolve(name).map(|entry| entry.snapshot.id().to_string()).ok();
        let (a, b, c) = (entry('a', "web"), entry('b', "web"), entry('c', "web"));
        registry.insert(a.clone());
        registry.insert(b.clone());
        registry.remove(a.snapshot.id());
        assert_eq!(of("web"), Some("b".repeat(64)));
        registry.insert(c);
        registry.publish(Snapshot::clone(&entry('b', "old-web").snapshot));
        assert_eq!((of("web"), of("old-web")), (Some("c".repeat(64)), Some("b".repeat(64))));
        registry.remove(b.snapshot.id());
        assert_eq!((of("old-web"), registry.owner("old-web")), (None, None));
    }
}
