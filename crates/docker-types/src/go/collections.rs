//! Slices and maps that know whether Go would call them nil.
use super::GoEmpty;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A slice: a vector that prints as `null` when it was never set.
///
/// Changing it through `DerefMut` makes it non-nil, as `append` and `make` do in Go.
#[derive(Clone, PartialEq, Eq)]
pub struct List<T> {
    items: Vec<T>,
    nil: bool,
}

impl<T> List<T> {
    /// The nil slice: prints as `null`.
    pub const fn nil() -> Self {
        Self { items: Vec::new(), nil: true }
    }
    /// An empty slice that is not nil: prints as `[]`.
    pub const fn empty() -> Self {
        Self { items: Vec::new(), nil: false }
    }
    pub fn is_nil(&self) -> bool {
        self.nil
    }
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
    /// The same items; nil becomes `[]`.
    pub fn not_nil(self) -> Self {
        Self { items: self.items, nil: false }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::nil()
    }
}
impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nil { f.write_str("nil") } else { self.items.fmt(f) }
    }
}
impl<T> Deref for List<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}
impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        self.nil = false;
        &mut self.items
    }
}
impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, nil: false }
    }
}
impl<T, const N: usize> From<[T; N]> for List<T> {
    fn from(items: [T; N]) -> Self {
        Vec::from(items).into()
    }
}
impl From<&[&str]> for List<String> {
    fn from(items: &[&str]) -> Self {
        items.iter().map(|item| (*item).to_owned()).collect()
    }
}
impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Self {
        list.items
    }
}
impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}
impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}
impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}
impl<T: PartialEq> PartialEq<Vec<T>> for List<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        &self.items == other
    }
}
impl<T> GoEmpty for List<T> {
    fn is_go_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.nil { serializer.serialize_none() } else { serializer.collect_seq(&self.items) }
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<List<T>, E> {
        Ok(List::nil())
    }
    fn visit_none<E>(self) -> Result<List<T>, E> {
        Ok(List::nil())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<List<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Option<T>>()? {
            items.push(item.unwrap_or_default());
        }
        Ok(items.into())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(ListVisitor(PhantomData))
    }
}

/// A map with text keys, in Go's printing order (sorted), that prints as `null` when it was never set.
#[derive(Clone, PartialEq, Eq)]
pub struct Map<V> {
    entries: BTreeMap<String, V>,
    nil: bool,
}

impl<V> Map<V> {
    /// The nil map: prints as `null`.
    pub const fn nil() -> Self {
        Self { entries: BTreeMap::new(), nil: true }
    }
    /// An empty map that is not nil: prints as `{}`.
    pub const fn empty() -> Self {
        Self { entries: BTreeMap::new(), nil: false }
    }
    pub fn is_nil(&self) -> bool {
        self.nil
    }
    pub fn into_inner(self) -> BTreeMap<String, V> {
        self.entries
    }
    /// The same entries; nil becomes `{}`.
    pub fn not_nil(self) -> Self {
        Self { entries: self.entries, nil: false }
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self::nil()
    }
}
impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nil { f.write_str("nil") } else { self.entries.fmt(f) }
    }
}
impl<V> Deref for Map<V> {
    type Target = BTreeMap<String, V>;
    fn deref(&self) -> &BTreeMap<String, V> {
        &self.entries
    }
}
impl<V> DerefMut for Map<V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<String, V> {
        self.nil = false;
        &mut self.entries
    }
}
impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(entries: BTreeMap<String, V>) -> Self {
        Self { entries, nil: false }
    }
}
impl<V> From<Map<V>> for BTreeMap<String, V> {
    fn from(map: Map<V>) -> Self {
        map.entries
    }
}
impl<K: Into<String>, V> FromIterator<(K, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<BTreeMap<_, _>>().into()
    }
}
impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = std::collections::btree_map::IntoIter<String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}
impl<V> GoEmpty for Map<V> {
    fn is_go_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.nil { serializer.serialize_none() } else { serializer.collect_map(&self.entries) }
    }
}

struct MapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for MapVisitor<V> {
    type Value = Map<V>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E>(self) -> Result<Map<V>, E> {
        Ok(Map::nil())
    }
    fn visit_none<E>(self) -> Result<Map<V>, E> {
        Ok(Map::nil())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Map<V>, D::Error> {
        deserializer.deserialize_map(self)
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Map<V>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, Option<V>>()? {
            entries.insert(key, value.unwrap_or_default());
        }
        Ok(entries.into())
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(MapVisitor(PhantomData))
    }
}

/// Go's `struct{}`: prints as `{}`, accepts any object. The value type of sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}
impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, IgnoredAny>::deserialize(deserializer).map(|_| Self)
    }
}
