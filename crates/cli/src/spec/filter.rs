//! `-f name=value`.
use knarr_docker_types::Filters;

/// Name and value; None for an empty text.
pub fn split(value: &str) -> Result<Option<(String, String)>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    match value.split_once('=') {
        Some((name, value)) => Ok(Some((name.trim().to_lowercase(), value.trim().to_owned()))),
        None => Err("bad format of filter (expected name=value)".into()),
    }
}

pub fn collect(values: &[String]) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in values.iter().filter_map(|v| split(v).ok().flatten()) {
        filters.add(name, value);
    }
    filters
}
