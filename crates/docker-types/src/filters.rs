//! The query parameter `filters`: `{"label":{"a=b":true}}` or, as old clients write it, `{"label":["a=b"]}`.
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest text that [`Filters::parse`] reads.
const MAX_TEXT: usize = 64 * 1024;

/// Filter name to its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFilter(pub String);

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for InvalidFilter {}

/// Values as Docker accepts them for booleans.
const TRUE: [&str; 2] = ["1", "true"];
const FALSE: [&str; 2] = ["0", "false"];

impl Filters {
    /// Reads the query parameter; an empty text is no filter.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_TEXT {
            return Err(InvalidFilter("invalid filter: too long".to_owned()));
        }
        serde_json::from_str(text).map_err(|_| InvalidFilter("invalid filter".to_owned()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.add(name, value);
        self
    }
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// The values of one filter; none when it was not given.
    pub fn get<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses filters that the endpoint does not know.
    pub fn validate(&self, known: &[&str]) -> Result<(), InvalidFilter> {
        match self.names().find(|name| !known.contains(name)) {
            Some(name) => Err(InvalidFilter(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// True when the filter was not given or one of its values equals `value`.
    pub fn exact(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(value))
    }

    /// The boolean value of a filter such as `dangling`; `None` when it was not given.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, InvalidFilter> {
        let Some(values) = self.0.get(name) else { return Ok(None) };
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let is = |set: &[&str]| texts.iter().any(|text| set.contains(text));
        match (texts.is_empty(), is(&TRUE), is(&FALSE)) {
            (false, true, false) => Ok(Some(true)),
            (false, false, true) => Ok(Some(false)),
            _ => Err(InvalidFilter(format!("invalid filter '{name}=[{}]'", texts.join(" ")))),
        }
    }

    /// Whether `labels` have every `key` or `key=value` of the filter `name` (`label`).
    pub fn labels_match(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }
}

/// Values of one filter in either form.
struct Values(BTreeSet<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of booleans or an array of strings")
            }
            fn visit_unit<E>(self) -> Result<Values, E> {
                Ok(Values(BTreeSet::new()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some((value, set)) = map.next_entry::<String, bool>()? {
                    // Docker keeps a value whatever its boolean says.
                    let _ = set;
                    values.insert(value);
                }
                Ok(Values(values))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some(value) = seq.next_element::<String>()? {
                    values.insert(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

impl<'de> Deserialize<'de> for Filters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let filters = Option::<BTreeMap<String, Values>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(filters.into_iter().map(|(name, Values(values))| (name, values)).collect()))
    }
}

impl Serialize for Filters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let map = |values: &BTreeSet<String>| -> BTreeMap<String, bool> {
            values.iter().map(|value| (value.clone(), true)).collect()
        };
        serializer.collect_map(self.0.iter().map(|(name, values)| (name, map(values))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let new = Filters::parse(r#"{"label":{"a=b":true,"c":true},"status":{"running":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(
            serde_json::to_string(&new).unwrap(),
            r#"{"label":{"a=b":true,"c":true},"status":{"running":true}}"#
        );
    }

    #[test]
    fn bad_filters_are_refused() {
        for bad in ["[]", "nope", r#"{"a":5}"#, r#"{"a":{"b":"c"}}"#, r#"{"a":[1]}"#, "\"a\""] {
            assert!(Filters::parse(bad).is_err(), "{bad}");
        }
        assert!(Filters::parse("").unwrap().is_empty());
        let unknown = Filters::parse(r#"{"foo":["x"]}"#).unwrap().validate(&["label"]).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid filter 'foo'");
    }

    #[test]
    fn booleans_and_labels() {
        let filters = Filters::default().with("dangling", "1").with("label", "a=b").with("x", "maybe");
        assert_eq!(filters.boolean("dangling"), Ok(Some(true)));
        assert_eq!(filters.boolean("absent"), Ok(None));
        assert!(filters.boolean("x").is_err());
        let labels = |value: &str| BTreeMap::from([("a".to_owned(), value.to_owned())]);
        assert!(filters.labels_match("label", &labels("b")));
        assert!(!filters.labels_match("label", &labels("c")));
        assert!(filters.exact("name", "anything") && !filters.exact("dangling", "0"));
    }
}
