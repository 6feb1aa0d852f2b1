//! Running containers: every command and the options that people use, through both clients.

use knarr_e2e::Engine;

#[test]
fn run_prints_and_returns_zero() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "hello"]), "hello");
    }
}
