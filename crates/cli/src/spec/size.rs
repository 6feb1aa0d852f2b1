//! `-m 512m`: bytes with binary units.
use knarr_base::units::{Base, size};

pub fn memory(text: &str) -> Result<i64, String> {
    size(text, Base::Binary).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// As memory; -1 is "no limit".
pub fn memory_swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { memory(text) }
}
