//! `null` read as the type's default: Go writers emit `null` for empty lists and maps.
use serde::{Deserialize, Deserializer};

pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
