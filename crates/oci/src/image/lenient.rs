//! Leniencies of Go's JSON decoder that real documents rely on: `null` for an empty list, a string for a list.
use serde::{Deserialize, Deserializer};

/// `null` is the default value.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A list, or one string that stands for a list of one; `null` is none.
pub(crate) fn list_or_string<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        One(String),
    }
    Ok(Option::<Either>::deserialize(d)?.map(|either| match either {
        Either::List(list) => list,
        Either::One(one) => vec![one],
    }))
}

/// Keys of a set written as a JSON object with empty values.
pub(crate) fn key_set<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<std::collections::BTreeSet<String>, D::Error> {
    let map = Option::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>::deserialize(d)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

/// Writes a set as a JSON object with empty values.
pub(crate) fn write_key_set<S: serde::Serializer>(
    set: &std::collections::BTreeSet<String>,
    s: S,
) -> Result<S::Ok, S::Error> {
    #[derive(serde::Serialize)]
    struct Empty {}
    s.collect_map(set.iter().map(|key| (key, Empty {})))
}
