//! What a container may send to the name server is at its own cost only: CVE-2024-8418, CVE-2026-35406 and floods.
use super::idle;
use knarr_e2e::Engine;
use knarr_e2e::dns::{client, said};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Slowest of a hundred queries beside an attack. Without one it is far below a millisecond; a machine that runs four tests at once
/// may be slow, but a server that waits for an attacker takes seconds.
const LIMIT: Duration = Duration::from_millis(500);

fn lab() -> Engine {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "bad", "front", &[]);
    idle(&c, "good", "front", &[]);
    e
}

fn attack(e: &Engine, words: &[&str]) -> Child {
    client(e, "bad", words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3 runs")
}

#[track_caller]
fn others_are_well(e: &Engine, attack: &mut Child) {
    let p99: u64 = said(e, "good", &["latency", "300", "bad"]).parse().expect("a number");
    assert!(attack.try_wait().expect("wait").is_none(), "the attack still goes on");
    assert!(Duration::from_micros(p99) < LIMIT, "99 of 100 queries beside the attack took up to {p99} us");
    assert!(said(e, "good", &["ask", "bad", "A", "tcp"]).starts_with("0 "), "over TCP");
    assert!(e.api().get("/_ping").is_ok_and(|r| r.status == 200));
    drop(attack.kill());
    drop(attack.wait());
}

#[test]
fn half_open_connections_hold_up_nobody_else() {
    let e = lab();
    let mut attack = attack(&e, &["loris", "10000", "60"]);
    others_are_well(&e, &mut attack);
    // The attacker itself is served again when it stops.
    assert!(said(&e, "bad", &["ask", "good", "A"]).starts_with("0 "));
}

#[test]
fn a_flood_holds_up_nobody_else() {
    let e = lab();
    let mut attack = attack(&e, &["flood", "60"]);
    others_are_well(&e, &mut attack);
}

#[test]
fn what_is_no_query_does_no_harm() {
    let e = lab();
    let status = client(&e, "bad", &["garbage", "2000"]).status().expect("python3 runs");
    assert!(status.success());
    assert!(said(&e, "bad", &["ask", "good", "A"]).starts_with("0 "));
    assert!(said(&e, "bad", &["ask", "good", "A", "tcp"]).starts_with("0 "));
}
