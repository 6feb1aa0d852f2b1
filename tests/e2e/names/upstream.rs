//! Servers that others run: dead, slow, failing, cutting, lying; and networks that nothing leaves.
use super::idle;
use knarr_e2e::command::eventually;
use knarr_e2e::dns::{NameServer, said};
use knarr_e2e::lab::Netns;
use knarr_e2e::{Engine, Options};
use std::time::{Duration, Instant};

const SERVERS: &str = "nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";

/// An engine whose host asks three servers in another network namespace, and a container.
fn lab(options: &[&str]) -> (Engine, Netns) {
    let e = Options::new().resolv_conf(SERVERS).start();
    let host = e.net.as_ref().expect("private");
    let outside = Netns::new();
    Netns::wire(host, "up0", "192.0.2.1/24", &outside, "down0", "192.0.2.2/24");
    outside.ok("ip addr add 192.0.2.3/24 dev down0; ip addr add 192.0.2.4/24 dev down0");
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", options);
    (e, outside)
}

#[test]
fn other_names_are_asked_for_at_the_hosts_servers() {
    let (e, outside) = lab(&[]);
    let first = NameServer::start(&e, &outside, "192.0.2.2", "good", "203.0.113.1");
    let ask = |name: &str, more: &[&str]| said(&e, "web", &[&["ask", name, "A"], more].concat());
    assert_eq!(ask("example.test", &[]), "0 203.0.113.1");
    assert_eq!(ask("example.test", &["tcp"]), "0 203.0.113.1");
    assert_eq!(ask("example.test", &["plain"]), "0 203.0.113.1", "without EDNS");
    ask("web", &[]);
    let asked = first.queries();
    assert!(
        asked.iter().all(|q| q.ends_with("example.test")),
        "names of containers are nobody's business: {asked:?}"
    );
    drop(first);
    // The machine moves: the next query goes elsewhere, without a restart of anything.
    let other = NameServer::start(&e, &outside, "192.0.2.4", "good", "203.0.113.4");
    std::fs::write(e.dir.join("resolv.conf"), "nameserver 192.0.2.4\n").unwrap();
    eventually("the new server is asked", Duration::from_secs(10), || {
        (ask("other.test", &[]) == "0 203.0.113.4").then_some(())
    });
    drop(other);
}

#[test]
fn servers_that_fail_are_passed_over() {
    for mode in ["servfail", "refused", "dead", "slow"] {
        let (e, outside) = lab(&[]);
        let _first = NameServer::start(&e, &outside, "192.0.2.2", mode, "203.0.113.1");
        let _second = NameServer::start(&e, &outside, "192.0.2.3", "good", "203.0.113.2");
        let begin = Instant::now();
        assert_eq!(said(&e, "web", &["ask", "a.test", "A"]), "0 203.0.113.2", "{mode}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{mode}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_dead_server_costs_nothing_in_the_long_run_and_is_found_again() {
    let (e, outside) = lab(&[]);
    let first = NameServer::start(&e, &outside, "192.0.2.2", "stale", "203.0.113.1");
    let _second = NameServer::start(&e, &outside, "192.0.2.3", "good", "203.0.113.2");
    let ask = || said(&e, "web", &["ask", "a.test", "A"]);
    assert_eq!(ask(), "0 203.0.113.1", "the first in order");
    first.set_alive(false);
    eventually("it is not waited for any more", Duration::from_secs(20), || {
        let before = first.queries().len();
        (ask() == "0 203.0.113.2" && first.queries().len() == before).then_some(())
    });
    first.set_alive(true);
    eventually("it is well again", Duration::from_secs(40), || (ask() == "0 203.0.113.1").then_some(()));
}

#[test]
fn a_denial_of_a_later_server_does_not_hide_a_slow_answer() {
    let (e, outside) = lab(&[]);
    let _first = NameServer::start(&e, &outside, "192.0.2.2", "slow", "203.0.113.1");
    let _second = NameServer::start(&e, &outside, "192.0.2.3", "nxdomain", "");
    assert_eq!(said(&e, "web", &["ask", "inside.test", "A"]), "0 203.0.113.1");
}

#[test]
fn cut_and_forged_answers() {
    let (e, outside) = lab(&[]);
    let cutting = NameServer::start(&e, &outside, "192.0.2.2", "truncated", "203.0.113.1");
    assert_eq!(said(&e, "web", &["ask", "long.test", "A"]), "0 cut", "the client asks again over TCP");
    let whole = said(&e, "web", &["ask", "long.test", "A", "tcp"]);
    assert_eq!(whole.split(' ').count(), 61, "{whole}");
    drop(cutting);
    let _forging = NameServer::start(&e, &outside, "192.0.2.2", "forged", "203.0.113.9");
    assert_eq!(said(&e, "web", &["ask", "forged.test", "A"]), "0 203.0.113.9");
}

#[test]
fn nobody_answers_in_the_end() {
    let (e, outside) = lab(&[]);
    let _servers = ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
        .map(|address| NameServer::start(&e, &outside, address, "dead", "203.0.113.1"));
    assert_eq!(said(&e, "web", &["ask", "a.test", "A"]), "2", "a failure, before the client gives up");
}

/// CVE-2024-29018: nothing of a closed network leaves this machine, not even a name.
#[test]
fn a_closed_network_asks_nobody() {
    let (e, outside) = lab(&[]);
    let c = e.docker();
    let servers = ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
        .map(|address| NameServer::start(&e, &outside, address, "good", "203.0.113.1"));
    c.ok(&["network", "create", "--internal", "closed"]);
    idle(&c, "shut", "closed", &[]);
    idle(&c, "peer", "closed", &[]);
    for way in [
        &["ask", "secret.test", "A"][..],
        &["ask", "secret.test", "A", "tcp"],
        &["ask", "9.9.9.9.in-addr.arpa", "PTR"],
    ] {
        assert_eq!(said(&e, "shut", way), "3", "no such name: {way:?}");
    }
    assert!(
        said(&e, "shut", &["ask", "peer", "A"]).starts_with("0 "),
        "names of the network itself are there"
    );
    // A server that the user chose is asked as the container itself would: it is out of reach.
    idle(&c, "chosen", "closed", &["--dns", "192.0.2.2"]);
    assert!(!said(&e, "chosen", &["ask", "secret.test", "A"]).starts_with('0'));
    // The servers do answer those who may ask; so what they did not see was not sent.
    assert_eq!(said(&e, "web", &["ask", "open.test", "A"]), "0 203.0.113.1");
    let seen: Vec<String> = servers.iter().flat_map(NameServer::queries).collect();
    assert_eq!(seen, ["udp open.test"]);
    // One open network is enough to ask; without it the container is closed again.
    c.ok(&["network", "connect", "front", "shut"]);
    assert_eq!(said(&e, "shut", &["ask", "now.test", "A"]), "0 203.0.113.1");
    c.ok(&["network", "disconnect", "front", "shut"]);
    assert_eq!(said(&e, "shut", &["ask", "again.test", "A"]), "3");
}

/// `--dns` means what it means in the container: its own loopback, or a server on its network.
#[test]
fn a_chosen_server_is_asked_from_inside() {
    let (e, outside) = lab(&["--dns", "127.0.0.1", "--dns-search", "corp.test", "--dns-option", "timeout:2"]);
    let c = e.docker();
    let of_host = NameServer::start(&e, &outside, "192.0.2.2", "good", "203.0.113.1");
    let pid = c.field("web", "{{.State.Pid}}");
    let mut inside = std::process::Command::new("nsenter");
    let log = e.dir.join("inside.log");
    inside.arg(format!("--net=/proc/{pid}/ns/net")).arg("python3").arg(e.dir.join("dns.py"));
    let mut inside = inside.args(["serve", "127.0.0.1", "good", "10.9.9.9"]).arg(&log).spawn().unwrap();
    eventually("the server inside answers", Duration::from_secs(15), || {
        (said(&e, "web", &["ask", "a.test", "A"]) == "0 10.9.9.9").then_some(())
    });
    assert_eq!(said(&e, "web", &["ask", "a.test", "A", "tcp"]), "0 10.9.9.9");
    drop(inside.kill());
    drop(inside.wait());
    assert!(of_host.queries().is_empty());
}
