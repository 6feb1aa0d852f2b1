//! Names in containers: the engine's own name server, the servers that it asks, and the files that lead to it.

mod files;
mod harm;
mod upstream;

use knarr_e2e::command::eventually;
use knarr_e2e::dns::{client, said};
use knarr_e2e::{Cli, Engine, Options};
use std::process::Stdio;
use std::time::Duration;

const SLEEP: [&str; 3] = ["busybox", "sleep", "600"];

/// A container that does nothing, on a network.
fn idle(c: &Cli, name: &str, network: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name, "--network", network];
    args.extend(options);
    args.extend(SLEEP);
    c.ok(&args);
}

fn address(c: &Cli, name: &str, network: &str) -> String {
    c.field(name, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"))
}

#[test]
fn containers_find_each_other() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["network", "create", "front"]);
        c.ok(&["network", "create", "back"]);
        idle(&c, "web", "front", &["--network-alias", "www", "--hostname", "h1"]);
        idle(&c, "db", "front", &["--link", "web:store"]);
        idle(&c, "other", "back", &[]);
        let (web, db) = (address(&c, "web", "front"), address(&c, "db", "front"));
        let id = c.field("web", "{{.Id}}");
        let reversed = web.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa";
        let found = format!("0 {web}");
        let mut wanted = vec![
            (["web", "A", ""], found.as_str()),
            (["web", "A", "tcp"], &found),
            (["WWW", "A", ""], &found),
            ([&id[..12], "A", ""], &found),
            (["web.front", "A", ""], &found),
            (["h1", "A", ""], &found),
            (["store", "A", ""], &found),
            ([&reversed, "PTR", ""], "0 web.front"),
        ];
        // There is no such record, but there is the name.
        wanted.extend(["AAAA", "MX", "TXT"].map(|kind| (["web", kind, ""], "0")));
        let mut words = vec!["ask"];
        wanted.iter().for_each(|(question, _)| {
            words.extend(question);
            words.push(",");
        });
        let answers = said(&e, "db", &words);
        for ((question, wanted), answer) in wanted.iter().zip(answers.lines()) {
            assert_eq!(answer, *wanted, "{question:?} in {answers}");
        }
        assert_eq!(answers.lines().count(), wanted.len());
        let ask = |words: &[&str]| said(&e, "db", &[&["ask"], words].concat());
        assert_eq!(said(&e, "web", &["ask", "store", "A"]).split(' ').count(), 1, "links are one's own");
        let hidden = said(&e, "other", &["ask", "web.front", "A"]);
        assert!(!hidden.contains(&web), "names of another network: {hidden}");
        // What programs use: busybox' and glibc's resolvers.
        assert!(c.ok(&["exec", "db", "nslookup", "web"]).contains(&web));
        c.ok(&["exec", "db", "ping", "-c", "1", "-W", "5", "www"]);
        c.ok(&["rename", "web", "site"]);
        let renamed = ask(&["site", "A", ",", "web", "A"]);
        assert!(renamed.starts_with(&format!("{found}\n")), "{renamed}");
        assert_eq!(renamed.matches(&web).count(), 1, "the former name is nobody's: {renamed}");
        c.ok(&["network", "connect", "--alias", "late", "back", "db"]);
        assert_eq!(said(&e, "other", &["ask", "late", "A"]), format!("0 {}", address(&c, "db", "back")));
        assert_eq!(ask(&["other", "A"]), format!("0 {}", address(&c, "other", "back")));
        c.ok(&["network", "disconnect", "back", "db"]);
        assert!(!ask(&["other", "A"]).starts_with("0 "));
        // Who shares a network shares its names.
        idle(&c, "guest", "container:db", &[]);
        assert_eq!(said(&e, "guest", &["ask", "db", "A"]), format!("0 {db}"));
        c.ok(&["rm", "-f", "guest", "site", "db", "other"]);
        c.ok(&["network", "rm", "front", "back"]);
    }
}

#[test]
fn the_c_library_finds_them() {
    let e = Options::new().images(&["busybox.tar", "debian-bookworm-slim.tar"]).start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    let web = address(&c, "web", "front");
    let image = "debian:bookworm-slim";
    for name in ["web", "web.front"] {
        let out = c.ok(&["run", "--rm", "--network", "front", image, "getent", "hosts", name]);
        assert!(out.starts_with(&web), "{name}: {out}");
    }
    let out = c.ok(&["run", "--rm", "--network", "front", image, "getent", "hosts", &web]);
    assert!(out.ends_with(" web.front"), "{out}");
}

#[test]
fn containers_with_one_alias_take_turns() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    let mut all = Vec::new();
    for name in ["w1", "w2", "w3"] {
        idle(&c, name, "front", &["--network-alias", "web"]);
        all.push(address(&c, name, "front"));
    }
    all.sort();
    let mut first = std::collections::BTreeSet::new();
    eventually("each comes first once", Duration::from_secs(20), || {
        let out = said(&e, "w1", &["ask", "web", "A", "raw"]);
        let mut found: Vec<String> = out.split(' ').skip(1).map(str::to_owned).collect();
        first.insert(found[0].clone());
        found.sort();
        assert_eq!(found, all);
        (first.len() == 3).then_some(())
    });
    c.ok(&["rm", "-f", "w2"]);
    assert_eq!(said(&e, "w1", &["ask", "web", "A"]).split(' ').count(), 3, "the code and two addresses");
}

#[test]
fn a_running_container_joins_a_network_with_names() {
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    idle(&c, "late", "bridge", &[]);
    assert_eq!(said(&e, "late", &["ask", "web", "A"]), "silence", "the default network has no names");
    c.ok(&["network", "connect", "front", "late"]);
    let wanted = format!("0 {}", address(&c, "web", "front"));
    assert_eq!(said(&e, "late", &["ask", "web", "A"]), wanted);
    c.ok(&["exec", "late", "ping", "-c", "1", "-W", "5", "web"]);
    e.crash_and_restart();
    assert_eq!(said(&e, "late", &["ask", "web", "A"]), wanted);
    c.ok(&["restart", "-t", "0", "late"]);
    assert_eq!(said(&e, "late", &["ask", "web", "A"]), wanted);
}

#[test]
fn the_engine_dies_amid_queries() {
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    idle(&c, "asking", "front", &[]);
    let progress = e.dir.join("progress");
    let mut stream = client(&e, "asking", &["stream", "100000", "web", progress.to_str().unwrap()]);
    let stream = stream.stdout(Stdio::piped()).spawn().unwrap();
    let done = || std::fs::read_to_string(&progress).ok().and_then(|t| t.parse::<u32>().ok()).unwrap_or(0);
    for _ in 0..3 {
        let before = done();
        eventually("queries are answered", Duration::from_secs(10), || (done() > before + 20).then_some(()));
        e.crash_and_restart();
    }
    let before = done();
    eventually("queries are answered again", Duration::from_secs(10), || {
        (done() > before + 20).then_some(())
    });
    std::fs::write(e.dir.join("progress.end"), "").unwrap();
    let out = String::from_utf8(stream.wait_with_output().unwrap().stdout).unwrap();
    let numbers: Vec<u64> = out.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers[0] > 60 && numbers[1] == 0, "asked, failed, longest wait in ms: {out}");
}

/// Programs that serve names themselves, as dnsmasq does, are not disturbed by ours.
#[test]
fn port_53_is_the_containers_own() {
    let e = Options::new().images(&["busybox.tar", "debian-bookworm-slim.tar"]).start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    // Perl is in every Debian; neither socket sets an option that would let two share a port.
    let script = r#"use Socket; my $any = sockaddr_in(53, INADDR_ANY);
        socket(U, PF_INET, SOCK_DGRAM, 17) && bind(U, $any) or die "udp $!";
        socket(T, PF_INET, SOCK_STREAM, 6) && bind(T, $any) && listen(T, 5) or die "tcp $!";
        $| = 1; print "bound\n";
        while (my $from = recv(U, my $q, 4096, 0)) { send(U, "own:$q", 0, $from) }"#;
    c.ok(&["run", "-d", "--name", "dns", "--network", "front", "debian:bookworm-slim", "perl", "-e", script]);
    eventually("both ports are bound", Duration::from_secs(10), || {
        let log = c.run(&["logs", "dns"]);
        assert!(!log.stderr.contains("in use"), "{log:?}");
        log.stdout.contains("bound").then_some(())
    });
    let own = address(&c, "dns", "front");
    assert_eq!(said(&e, "dns", &["ask", "dns", "A"]), format!("0 {own}"), "ours still answers");
    idle(&c, "user", "front", &[]);
    assert_eq!(said(&e, "user", &["send", &own, "hello"]), "own:hello", "theirs answers on its address");
}

/// Whoever may change the firewall in the container cannot take the names away.
#[test]
fn a_flushed_firewall_inside_changes_nothing() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    let pid = c.field("web", "{{.State.Pid}}");
    e.on_host(&format!("nsenter --net=/proc/{pid}/ns/net nft flush ruleset"));
    assert_eq!(said(&e, "web", &["ask", "web", "A"]), format!("0 {}", address(&c, "web", "front")));
}

/// The number of a container's supervisor.
fn supervisor(e: &Engine, c: &Cli, name: &str) -> String {
    let record = e.run_dir().join("containers").join(c.field(name, "{{.Id}}")).join("shim.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    record["shim_pid"].to_string()
}

/// The sockets could not be kept for engines to come, so the container is not on the network.
#[test]
fn a_connection_that_fails_at_its_end_is_undone() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    idle(&c, "late", "bridge", &[]);
    let pid = supervisor(&e, &c, "late");
    e.on_host(&format!("kill -STOP {pid}"));
    let failed = c.run(&["network", "connect", "front", "late"]);
    e.on_host(&format!("kill -CONT {pid}"));
    assert_ne!(failed.code, 0, "{failed:?}");
    let names = "{{range .Containers}}{{.Name}} {{end}}";
    assert_eq!(c.ok(&["network", "inspect", "-f", names, "front"]).trim(), "web");
    assert_eq!(c.ok(&["exec", "late", "ls", "/sys/class/net"]), "eth0\nlo");
    c.ok(&["network", "connect", "front", "late"]);
    assert_eq!(said(&e, "late", &["ask", "web", "A"]), format!("0 {}", address(&c, "web", "front")));
}

/// An engine that starts while a supervisor does not answer takes its sockets over later.
#[test]
fn a_supervisor_that_is_slow_gives_the_sockets_back_later() {
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "front"]);
    idle(&c, "web", "front", &[]);
    let wanted = format!("0 {}", address(&c, "web", "front"));
    let pid = supervisor(&e, &c, "web");
    e.on_host(&format!("kill -STOP {pid}"));
    e.crash_and_restart();
    e.on_host(&format!("kill -CONT {pid}"));
    eventually("names are there again", Duration::from_secs(30), || {
        (said(&e, "web", &["ask", "web", "A"]) == wanted).then_some(())
    });
}

#[test]
fn both_families_are_found() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "--ipv6", "dual"]);
    idle(&c, "web", "dual", &[]);
    let (v4, v6) =
        (address(&c, "web", "dual"), c.field("web", "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}"));
    assert!(v6.contains(':'), "{v6}");
    let reversed: Vec<String> = {
        let bytes = v6.parse::<std::net::Ipv6Addr>().unwrap().octets();
        bytes.iter().rev().flat_map(|b| [b & 15, b >> 4]).map(|digit| format!("{digit:x}")).collect()
    };
    let reversed = reversed.join(".") + ".ip6.arpa";
    let answers = said(&e, "web", &["ask", "web", "A", ",", "web", "AAAA", ",", &reversed, "PTR"]);
    assert_eq!(answers, format!("0 {v4}\n0 {v6}\n0 web.dual"));
}
