//! Golden replies of the Engine API: a script of requests per resource (`tests/golden/*.http`), and beside each the replies that a real
//! Docker daemon gave (`*.json`, taken by `scripts/golden-api`). A test sends the same requests to Knarr and compares.
//!
//! What differs between any two runs (ids, times, sizes, addresses) is masked on both sides (`mask`); what Knarr answers otherwise on purpose
//! is said in the script, with the reason.

mod compare;
mod mask;
mod run;
mod script;

use crate::{Engine, workspace};
use serde_json::Value;
use std::path::PathBuf;

fn file(resource: &str, extension: &str) -> PathBuf {
    workspace::top().join("tests/golden").join(format!("{resource}.{extension}"))
}

/// Sends the script of a resource; compares the replies with Docker's, or takes them for the file (`UPDATE_GOLDEN`, with a Docker daemon as peer).
///
/// # Panics
/// Where a reply differs, with all differences.
pub fn check(resource: &str, engine: &Engine) {
    let text = std::fs::read_to_string(file(resource, "http")).expect("the script of requests");
    let script = script::parse(&text).unwrap_or_else(|e| panic!("tests/golden/{resource}.http: {e}"));
    let replies = run::all(&script, engine);
    let golden = file(resource, "json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        assert!(workspace::peer().is_some(), "goldens are taken of a Docker daemon: set KNARR_E2E_PEER");
        let text =
            serde_json::to_string_pretty(&Value::Array(replies.iter().map(run::Reply::to_json).collect()));
        std::fs::write(&golden, text.expect("JSON") + "\n").expect("the golden file");
        return;
    }
    let text = std::fs::read_to_string(&golden).expect("the golden file: scripts/golden-api makes it");
    let expected: Vec<Value> = serde_json::from_str(&text).expect("the golden file is JSON");
    let found = compare::all(&script, &expected, &replies);
    assert!(
        found.is_empty(),
        "{resource}: {} replies differ from Docker's\n{}",
        found.len(),
        found.join("\n")
    );
}
