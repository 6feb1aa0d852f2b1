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

/// The filters of a prune: those of the command line, and those that the configuration file adds to every prune
/// (`pruneFilters`). A label that the command line filters by is the command line's, as in Docker's client.
pub fn for_prune(values: &[String], standing: &[&str]) -> Filters {
    let given = collect(values);
    let mut filters = given.clone();
    for (name, value) in standing.iter().filter_map(|text| text.split_once('=')) {
        let opposite = match name {
            "label" => "label!",
            "label!" => "label",
            _ => "",
        };
        let contradicted = given.get(opposite).any(|other| other == value);
        if !value.is_empty() && !contradicted {
            filters.add(name, value);
        }
    }
    filters
}

pub fn collect(values: &[String]) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in values.iter().filter_map(|v| split(v).ok().flatten()) {
        filters.add(name, value);
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_filters_of_a_prune() {
        let given = ["label!=keep".to_owned(), "label=a".to_owned()];
        let filters = for_prune(&given, &["label=keep", "label!=b", "until=24h", "nothing", "label="]);
        let all = |name| filters.get(name).collect::<Vec<_>>();
        assert_eq!((all("label"), all("label!"), all("until")), (vec!["a"], vec!["b", "keep"], vec!["24h"]));
        assert!(!filters.contains("nothing"));
    }
}
