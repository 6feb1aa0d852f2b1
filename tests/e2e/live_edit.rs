//! Containers that are edited while they run: ports, networks and labels, at once and for good.

use knarr_e2e::command::eventually;
use knarr_e2e::{Cli, Engine};
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A container whose web server says its name.
fn server(c: &Cli, name: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name, "--stop-signal", "KILL"];
    args.extend(options);
    let script = format!("mkdir -p /www; echo page of {name} >/www/index.html; exec httpd -f -p 80 -h /www");
    args.extend(["busybox", "sh", "-c", &script]);
    c.ok(&args);
    listens(c, name);
}

fn listens(c: &Cli, name: &str) {
    eventually(&format!("{name} listens"), LIMIT, || {
        (c.run(&["exec", name, "wget", "-qO-", "http://127.0.0.1/"]).code == 0).then_some(())
    });
}

fn answers(e: &Engine, port: &str) -> bool {
    e.on_host(&format!("timeout 5 busybox wget -qO- http://127.0.0.1:{port}/ 2>/dev/null || true"))
        == "page of web"
}

#[test]
fn ports_come_and_go_while_others_stay() {
    let mut e = Engine::start();
    let c = e.knarr();
    server(&c, "web", &["-p", "8080:80", "-p", "80"]);
    let free = c.ok(&["port", "web", "80/tcp"]);
    let free = free.lines().find(|line| line.starts_with("0.0.0.0:") && !line.ends_with(":8080")).unwrap();
    let free = free.trim_start_matches("0.0.0.0:").to_owned();
    let pid = c.field("web", "{{.State.Pid}}");
    // A connection that is open the whole time.
    let held = e.on_host("sh -c 'sleep 600 | busybox nc 127.0.0.1 8080; true' >/dev/null 2>&1 & echo $!");
    assert_eq!(c.ok(&["update", "--publish-add", "8081:80", "--publish-add", "8082:80", "web"]), "web");
    for port in ["8080", "8081", "8082", &free] {
        assert!(answers(&e, port), "{port}");
    }
    c.ok(&["update", "--publish-rm", "8081:80", "web"]);
    assert!(!answers(&e, "8081") && answers(&e, "8080") && answers(&e, "8082") && answers(&e, &free));
    assert_eq!(c.field("web", "{{.State.Pid}}"), pid, "it is the same process");
    let established = e.on_host("ss -Htn state established '( dport = :8080 )' | wc -l");
    assert_ne!(established, "0", "what was connected stays so");
    e.on_host(&format!("pkill -P {held}; true"));
    let seen = e.docker().ok(&["port", "web"]);
    assert!(seen.contains("0.0.0.0:8082") && !seen.contains(":8081"), "{seen}");
    let bound = c.field("web", "{{json .HostConfig.PortBindings}}");
    assert!(bound.contains("8082") && !bound.contains("8081"), "{bound}");
    // Another container has the port: all is as before.
    server(&c, "other", &["-p", "8090:80"]);
    let taken = c.fails(1, &["update", "--publish-add", "8091:80", "--publish-add", "8090:80", "web"]);
    taken.says("8090");
    assert!(!answers(&e, "8091") && answers(&e, "8082"));
    c.fails(1, &["update", "--publish-rm", "9999:80", "web"]).says("is not published so");
    c.ok(&["rm", "-f", "other"]);
    // Lasting: over the engine's death, over the container's restart.
    e.crash_and_restart();
    assert!(answers(&e, "8082") && answers(&e, &free) && !answers(&e, "8081"));
    c.ok(&["update", "--publish-rm", "8080:80", "--publish-add", "8083:80", "web"]);
    assert!(!answers(&e, "8080") && answers(&e, "8083"), "after a restart of the engine too");
    c.ok(&["restart", "web"]);
    listens(&c, "web");
    assert!(answers(&e, "8082") && answers(&e, "8083") && !answers(&e, "8080"));
    c.ok(&["update", "--publish-rm", "80", "web"]);
    assert_eq!(c.ok(&["port", "web"]), "");
    assert!(!answers(&e, "8082") && !answers(&e, &free));
}

#[test]
fn networks_and_labels() {
    let mut e = Engine::start();
    let c = e.knarr();
    for network in ["one", "two"] {
        c.ok(&["network", "create", network]);
    }
    server(&c, "web", &["--network", "one", "-p", "8080:80", "--label", "old=1"]);
    server(&c, "peer", &["--network", "two"]);
    let changes = ["--network-add", "name=two,alias=shop", "--label-add", "tier=front", "--label-rm", "old"];
    c.ok(&[&["update"], &changes[..], &["web"]].concat());
    assert_eq!(c.ok(&["exec", "peer", "wget", "-qO-", "http://shop/"]), "page of web");
    assert_eq!(c.ok(&["exec", "web", "wget", "-qO-", "http://peer/"]), "page of peer");
    assert_eq!(e.docker().field("web", "{{json .Config.Labels}}"), r#"{"tier":"front"}"#);
    assert_eq!(e.docker().ok(&["ps", "-q", "--filter", "label=tier=front"]).lines().count(), 1);
    assert!(answers(&e, "8080"));
    // The one that its ports were published on goes: they move.
    c.ok(&["update", "--network-rm", "one", "--publish-add", "8081:80", "web"]);
    let networks = c.field("web", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}");
    assert_eq!(networks.trim(), "two");
    assert!(answers(&e, "8080") && answers(&e, "8081"));
    e.crash_and_restart();
    c.ok(&["restart", "web"]);
    listens(&c, "web");
    let networks = c.field("web", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}");
    assert_eq!(networks.trim(), "two");
    assert!(answers(&e, "8081"));
    let events = e.docker().ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "-1s",
        "--filter",
        "container=web",
        "--filter",
        "event=update",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(events, "update\nupdate");
    // What cannot be leaves all as it was.
    c.fails(1, &["update", "--network-add", "one", "--network-add", "nosuch", "web"]).says("nosuch");
    c.fails(1, &["update", "--network-rm", "one", "web"]).says("is not connected to");
    let networks = c.field("web", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}");
    assert_eq!(networks.trim(), "two");
}

#[test]
fn a_container_that_does_not_run_is_edited_too() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "net"]);
    let script = "mkdir /www; echo page of web >/www/index.html; exec httpd -f -p 80 -h /www";
    c.ok(&["create", "--name", "web", "--stop-signal", "KILL", "busybox", "sh", "-c", script]);
    let body = json!({
        "LabelsAdd": {"a": "b"},
        "PortsAdd": {"80": [{"HostPort": "8080"}], "81/udp": null},
        "NetworksAdd": {"net": {"Aliases": ["other"]}},
        "Memory": 64 << 20, "MemorySwap": 64 << 20
    });
    e.api().post("/containers/web/update", &body.to_string()).expect(200);
    let seen = c.inspect("web");
    assert_eq!(seen["Config"]["Labels"], json!({"a": "b"}));
    assert_eq!(seen["HostConfig"]["Memory"], 64 << 20);
    assert!(seen["Config"]["ExposedPorts"].get("81/udp").is_some());
    c.ok(&["start", "web"]);
    listens(&c, "web");
    assert!(answers(&e, "8080"));
    assert_eq!(c.inspect("web")["NetworkSettings"]["Networks"].as_object().unwrap().len(), 2);
    // Docker's own client knows nothing of it, and takes nothing away.
    c.ok(&["update", "--memory", "80m", "--memory-swap", "80m", "web"]);
    assert_eq!(c.inspect("web")["Config"]["Labels"], json!({"a": "b"}));
    assert!(answers(&e, "8080"));
    let refused = |body: serde_json::Value| e.api().post("/containers/web/update", &body.to_string());
    refused(json!({"PortsAdd": {"x": null}})).expect(400);
    refused(json!({"LabelsAdd": {"": "x"}})).expect(400);
}
