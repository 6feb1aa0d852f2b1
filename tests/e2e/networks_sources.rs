//! Published ports that are for some senders only: how they are asked for, shown and kept.

use knarr_e2e::command::eventually;
use knarr_e2e::lab::Netns;
use knarr_e2e::{Cli, Engine, Options};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const SOURCES: &str = "io.knarr.publish.sources";

/// A machine inside of the lists of these tests, and one outside.
fn machines(e: &Engine) -> (Netns, Netns) {
    let host = e.net.as_ref().expect("private");
    let (inside, outside) = (Netns::new(), Netns::new());
    Netns::wire(host, "up0", "10.77.0.1/24", &inside, "down0", "10.77.0.2/24");
    Netns::wire(host, "up1", "192.0.2.1/24", &outside, "down0", "192.0.2.2/24");
    (inside, outside)
}

fn server(c: &Cli, name: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    let script = format!("mkdir /www; echo page of {name} >/www/index.html; exec httpd -f -p 80 -h /www");
    args.extend(["busybox", "sh", "-c", &script]);
    c.ok(&args);
    eventually(&format!("{name} listens"), LIMIT, || {
        (c.run(&["exec", name, "wget", "-qO-", "http://127.0.0.1/"]).code == 0).then_some(())
    });
}

fn reached(from: &Netns, to: &str) -> bool {
    from.sh(&format!("timeout 5 busybox wget -qO- http://{to}/")).code == 0
}

/// The packets are dropped, so it is not waited long.
fn closed(from: &Netns, to: &str) -> bool {
    from.sh(&format!("timeout 1 busybox wget -qO- http://{to}/")).code != 0
}

#[test]
fn a_port_for_a_list_of_networks() {
    let mut e = Engine::start();
    let (inside, outside) = machines(&e);
    let k = e.knarr();
    server(&k, "web", &["-p", "8080:80,from=10.77.0.0/24+fd00::/8", "-p", "8081:80"]);
    let check = |e: &Engine, when: &str| {
        assert!(reached(&inside, "10.77.0.1:8080"), "{when}");
        assert!(closed(&outside, "192.0.2.1:8080"), "{when}");
        assert!(reached(&outside, "192.0.2.1:8081"), "{when}");
        assert!(reached(e.net.as_ref().unwrap(), "192.0.2.1:8080"), "the host itself, {when}");
        // Not as the first process, which a signal of `timeout` would not end.
        let from_container = format!("timeout 1 wget -qO- http://{}:8080/ || exit 3", e.gateway());
        let o = e.knarr().run(&["run", "--rm", "busybox", "sh", "-c", &from_container]);
        assert_eq!(o.code, 3, "another container, {when}: {o:?}");
    };
    check(&e, "at first");
    let shown = k.ok(&["ps", "--format", "{{.Ports}}"]);
    let four = "0.0.0.0:8080->80/tcp from 10.77.0.0/24+fd00::/8, 0.0.0.0:8081->80/tcp";
    let six = "[::]:8080->80/tcp from 10.77.0.0/24+fd00::/8, [::]:8081->80/tcp";
    assert_eq!(shown, format!("{four}, {six}"));
    for c in e.clients() {
        let document = c.ok(&["inspect", "web"]);
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let ports = &document[0]["NetworkSettings"]["Ports"]["80/tcp"];
        assert_eq!(ports[0]["Sources"], serde_json::json!(["10.77.0.0/24", "fd00::/8"]), "{ports}");
        assert_eq!(ports[1]["Sources"], ports[0]["Sources"], "{ports}");
        assert!(ports[2].get("Sources").is_none() && ports[3].get("Sources").is_none(), "{ports}");
    }
    // The client that knows nothing of lists sees ports as ever.
    let port = e.docker().ok(&["port", "web"]);
    assert_eq!(
        port.lines().filter(|l| l.contains("0.0.0.0")).collect::<Vec<_>>(),
        ["80/tcp -> 0.0.0.0:8080", "80/tcp -> 0.0.0.0:8081"]
    );
    assert_eq!(port.lines().count(), 4, "{port}");
    e.crash_and_restart();
    check(&e, "after the engine died");
    e.on_host("nft flush ruleset");
    eventually("the firewall is back", LIMIT, || reached(&inside, "10.77.0.1:8080").then_some(()));
    check(&e, "after others flushed the firewall");
    e.knarr().ok(&["rm", "-f", "web"]);
    k.fails(125, &["run", "--rm", "-p", "8080:80,from=10.77.0.1/24", "busybox", "true"])
        .says("did you mean 10.77.0.0/24?");
    assert_eq!(e.knarr().ok(&["ps", "-aq"]), "", "nothing is left of a refused list");
}

/// Not one process, and not one line of output, more.
#[test]
fn twelve_thousand_ports() {
    let e = Engine::start();
    let (_, outside) = machines(&e);
    for c in e.clients() {
        let script = "mkdir /www; echo yes >/www/index.html; exec httpd -f -p 31000 -h /www";
        c.ok(&[
            "run",
            "-d",
            "--name",
            "wide",
            "-p",
            "20000-31999:20000-31999",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        eventually("an answer", LIMIT, || reached(&outside, "192.0.2.1:31000").then_some(()));
        let shown = c.ok(&["ps", "--format", "{{.Ports}}"]);
        assert_eq!(shown, "0.0.0.0:20000-31999->20000-31999/tcp");
        c.fails(125, &["run", "--rm", "-p", "31999:80", "busybox", "true"]).says("port is already allocated");
        c.ok(&["rm", "-f", "wide"]);
    }
    assert_eq!(e.docker().ok(&["ps", "-aq"]), "", "a refused port leaves nothing");
}

/// Docker's client parses `-p` itself: an annotation or the network says it.
#[test]
fn lists_for_other_clients() {
    let e = Engine::start();
    let (inside, outside) = machines(&e);
    let d = e.docker();
    let annotation = format!("{SOURCES}=10.77.0.0/24");
    server(&d, "noted", &["-p", "8080:80", "--annotation", &annotation]);
    assert!(reached(&inside, "10.77.0.1:8080") && closed(&outside, "192.0.2.1:8080"));
    d.ok(&["network", "create", "-o", &annotation, "lan"]);
    server(&d, "web", &["-p", "8081:80", "--network", "lan"]);
    assert!(reached(&inside, "10.77.0.1:8081") && closed(&outside, "192.0.2.1:8081"));
    d.fails(1, &["network", "create", "-o", &format!("{SOURCES}=everywhere"), "bad"]).says("everywhere");
    // An image's author has no say: labels come with images.
    server(&d, "labelled", &["-p", "8082:80", "--network", "lan", "--label", &format!("{SOURCES}=any")]);
    assert!(reached(&inside, "10.77.0.1:8082") && closed(&outside, "192.0.2.1:8082"));
    d.ok(&["rm", "-f", "noted", "web", "labelled"]);
    d.ok(&["network", "rm", "lan"]);
}

#[test]
fn the_daemons_scope_holds_for_ports_that_do_not_say() {
    let e = Options::new().args(&["--publish-scope", "loopback"]).start();
    let (inside, outside) = machines(&e);
    let k = e.knarr();
    server(
        &k,
        "web",
        &["-p", "8080:80", "-p", "8081:80,from=10.77.0.0/24", "-p", "0.0.0.0:8082:80,from=any"],
    );
    let host = e.net.as_ref().unwrap();
    assert!(reached(host, "127.0.0.1:8080") && reached(host, "192.0.2.1:8080"));
    assert!(closed(&inside, "10.77.0.1:8080") && closed(&outside, "192.0.2.1:8080"));
    assert!(reached(&inside, "10.77.0.1:8081") && closed(&outside, "192.0.2.1:8081"));
    assert!(reached(&outside, "192.0.2.1:8082"));
    let shown = k.ok(&["ps", "--format", "{{.Ports}}"]);
    assert!(shown.contains("0.0.0.0:8080->80/tcp from loopback,"), "{shown}");
    k.ok(&["rm", "-f", "web"]);
}
