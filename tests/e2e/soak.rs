//! A short soak: containers in churn, the engine killed again and again, nothing left or lost. The long one is `bench/soak`.

use knarr_e2e::workspace;
use std::process::Command;

/// Says what took long, but does not judge it: other tests run beside it.
#[test]
fn churn_under_kills_leaves_and_loses_nothing() {
    if workspace::peer().is_some() {
        return;
    }
    let mut soak = Command::new("python3");
    soak.arg(workspace::top().join("bench/soak"));
    soak.args(["--seconds", "20", "--containers", "30", "--workers", "3", "--no-latency"]);
    let out = soak
        .env("KNARR_BIN", workspace::knarr())
        .env("KNARR_E2E_CACHE", workspace::cache())
        .output()
        .expect("python3 runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("no leak, no event lost"), "{said}");
}
