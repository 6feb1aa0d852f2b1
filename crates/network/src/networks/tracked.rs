//! A map that knows which of its entries may have changed, for those who keep something that is made of them.
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// More changes than this are as well taken as a change of everything.
const MAX_CHANGES: usize = 1024;

/// A `BTreeMap`; every access that could change an entry is remembered.
#[derive(Debug)]
pub(super) struct Tracked<K, V> {
    map: BTreeMap<K, V>,
    changes: Changes<K>,
}

/// What happened since it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changes<K> {
    /// Of these entries; some may come several times, or be as before.
    Some(Vec<K>),
    All,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), changes: Changes::Some(Vec::new()) }
    }
}

impl<K: Ord + Clone, V> Tracked<K, V> {
    pub fn take_changes(&mut self) -> Changes<K> {
        std::mem::replace(&mut self.changes, Changes::Some(Vec::new()))
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.note(&key);
        self.map.insert(key, value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.note(key);
        self.map.remove(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.note(key);
        self.map.get_mut(key)
    }

    fn note(&mut self, key: &K) {
        match &mut self.changes {
            Changes::Some(keys) if keys.len() < MAX_CHANGES => keys.push(key.clone()),
            changes => *changes = Changes::All,
        }
    }
}

impl<K, V> Deref for Tracked<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

/// By any other way anything may change.
impl<K, V> DerefMut for Tracked<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.changes = Changes::All;
        &mut self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_known() {
        let mut map: Tracked<u32, &str> = Tracked::default();
        map.insert(1, "a");
        map.insert(2, "b");
        map.remove(&1);
        if let Some(value) = map.get_mut(&2) {
            *value = "c";
        }
        assert_eq!(map.take_changes(), Changes::Some(vec![1, 2, 1, 2]));
        assert_eq!((map.len(), map.get(&2)), (1, Some(&"c")));
        assert_eq!(map.take_changes(), Changes::Some(vec![]), "reading is no change");
        map.values_mut().for_each(|value| *value = "d");
        map.insert(3, "e");
        assert_eq!(map.take_changes(), Changes::All);
        for key in 0..2000 {
            map.insert(key, "f");
        }
        assert_eq!(map.take_changes(), Changes::All, "what nobody asks for does not grow without end");
    }
}
