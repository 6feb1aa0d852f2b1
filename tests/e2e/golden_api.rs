//! The Engine API's replies beside those of a real Docker daemon (28.5), field by field: `tests/golden/`.

use knarr_e2e::{Engine, Options, golden};

fn check(resource: &str) {
    // Docker's default log driver; Knarr's is another one.
    golden::check(resource, &Engine::with(Options::new().arg("--log-driver=json-file")));
}

#[test]
fn system() {
    check("system");
}

#[test]
fn transport() {
    check("transport");
}

#[test]
fn containers() {
    check("containers");
}

#[test]
fn container_creation() {
    check("container_creation");
}

#[test]
fn container_streams() {
    check("container_streams");
}

#[test]
fn container_filters() {
    check("container_filters");
}

#[test]
fn execs() {
    check("execs");
}

#[test]
fn images() {
    check("images");
}

#[test]
fn networks() {
    check("networks");
}

#[test]
fn volumes() {
    check("volumes");
}

#[test]
fn absent() {
    check("absent");
}
