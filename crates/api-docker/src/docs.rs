//! The list of endpoints for `docs/api.md`, made of the table.
use crate::routes::ROUTES;
use knarr_docker_types::ApiVersion;
use std::fmt::Write;

/// The text of `docs/api.md`.
pub fn endpoints() -> String {
    let mut text = format!(
        "# Docker Engine API endpoints\n\n\
         Versions {} to {}. This file is generated from the table in `crates/api-docker/src/routes/table.rs`: \
         `UPDATE_DOCS=1 cargo test -p knarr-api-docker docs`.\n\n\
         | method | path | since | status |\n|---|---|---|---|\n",
        ApiVersion::MINIMUM,
        ApiVersion::CURRENT,
    );
    for route in ROUTES {
        let status = route.status.words();
        let path = route.path.replace("{}", "{name}");
        let _ = writeln!(text, "| {} | `{path}` | 1.{} | {status} |", route.method, route.since);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_in_the_docs_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
        let expected = super::endpoints();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == expected,
            "docs/api.md is out of date: UPDATE_DOCS=1 cargo test -p knarr-api-docker docs"
        );
    }
}
