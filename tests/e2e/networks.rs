//! Networks: container to container, to the host, out by masquerade, published ports, `--network`'s modes.

use knarr_e2e::command::eventually;
use knarr_e2e::lab::Netns;
use knarr_e2e::{Cli, Engine, Options};
use std::time::Duration;

/// A web server in a container; gives its address.
fn server(c: &Cli, name: &str, options: &[&str]) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    let script = format!("mkdir /www; echo page of {name} >/www/index.html; exec httpd -f -p 80 -h /www");
    args.extend(["busybox", "sh", "-c", &script]);
    c.ok(&args);
    let ip = c.field(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    eventually(&format!("{name} listens"), Duration::from_secs(10), || {
        (c.run(&["exec", name, "wget", "-qO-", "http://127.0.0.1/"]).code == 0).then_some(())
    });
    ip
}

/// In a container, or on the host below `busybox`.
const WGET: &str = "timeout 5 busybox wget -qO- http://";

#[test]
fn containers_reach_each_other_and_the_host() {
    let e = Engine::start();
    for c in e.clients() {
        let ip = server(&c, "web", &[]);
        assert!(ip.starts_with(&e.subnet_prefix()), "{ip}");
        assert_eq!(
            c.ok(&["run", "--rm", "busybox", "timeout", "5", "wget", "-qO-", &format!("http://{ip}/")]),
            "page of web"
        );
        assert_eq!(e.on_host(&format!("{WGET}{ip}/")), "page of web", "from the host");
        c.ok(&["exec", "web", "ping", "-c", "1", "-W", "5", &e.gateway()]);
        let routes = c.ok(&["run", "--rm", "busybox", "ip", "route"]);
        assert!(routes.contains(&format!("default via {} dev eth0", e.gateway())), "{routes}");
        c.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn addresses_are_given_back() {
    let e = Engine::start();
    let c = e.docker();
    let address = || {
        c.ok(&["run", "--rm", "busybox", "sh", "-c", "ip -4 addr show eth0 | grep -o 'inet [0-9.]*/[0-9]*'"])
    };
    for _ in 0..6 {
        assert!(address().starts_with(&format!("inet {}", e.subnet_prefix())));
    }
    std::thread::scope(|s| {
        let jobs: Vec<_> = (0..8)
            .map(|i| {
                let c = &c;
                s.spawn(move || {
                    c.ok(&["run", "-d", "--name", &format!("n{i}"), "busybox", "sleep", "600"]);
                    c.field(
                        &format!("n{i}"),
                        "{{.NetworkSettings.Networks.bridge.IPAddress}} {{.NetworkSettings.Networks.bridge.MacAddress}}",
                    )
                })
            })
            .collect();
        let mut seen: Vec<String> = jobs.into_iter().map(|j| j.join().expect("a container")).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8, "addresses are unique: {seen:?}");
    });
}

#[test]
fn addresses_used_up_are_an_error_and_come_back() {
    let e = Options::new().arg("--fixed-cidr").arg("10.99.0.0/30").bip("10.99.0.1/24").start();
    let c = e.docker();
    // 10.99.0.0 is the network, .1 the gateway: .2 and .3 are left.
    c.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "two", "busybox", "sleep", "600"]);
    let o = c.run(&["run", "-d", "--name", "toomuch", "busybox", "sleep", "600"]);
    assert_eq!(o.code, 125, "{o:?}");
    assert!(o.stderr.contains("no available IPv4 addresses"), "{}", o.stderr);
    c.ok(&["rm", "-f", "one", "two", "toomuch"]);
    c.ok(&["run", "--rm", "busybox", "true"]);
}

#[test]
fn masquerade_through_a_router() {
    let e = Engine::start();
    let host = e.net.as_ref().expect("private");
    let outside = Netns::new();
    Netns::wire(host, "up0", "192.0.2.1/24", &outside, "down0", "192.0.2.2/24");
    let mut web = outside.command("busybox");
    let dir = e.fresh_dir("www");
    std::fs::write(dir.join("index.html"), "outside").unwrap();
    let log = dir.join("log");
    web.args(["httpd", "-f", "-vv", "-p", "192.0.2.2:80", "-h"])
        .arg(&dir)
        .stderr(std::fs::File::create(&log).unwrap());
    let mut web = web.spawn().unwrap();
    for c in e.clients() {
        let out = eventually("an answer from outside", Duration::from_secs(10), || {
            let o = c.run(&["run", "--rm", "busybox", "sh", "-c", &format!("{WGET}192.0.2.2/")]);
            (o.code == 0).then_some(o.stdout)
        });
        assert_eq!(out, "outside");
    }
    let seen = std::fs::read_to_string(&log).unwrap();
    assert!(seen.contains("192.0.2.1:"), "the source is the host's address: {seen}");
    assert!(!seen.contains(&e.subnet_prefix()), "never the container's own: {seen}");
    drop(web.kill());
    drop(web.wait());
}

#[test]
fn published_ports_from_outside_host_and_containers() {
    let e = Engine::start();
    let host = e.net.as_ref().expect("private");
    let outside = Netns::new();
    Netns::wire(host, "up0", "192.0.2.1/24", &outside, "down0", "192.0.2.2/24");
    for c in e.clients() {
        server(&c, "web", &["-p", "8080:80"]);
        assert_eq!(outside.ok(&format!("{WGET}192.0.2.1:8080/")), "page of web", "from outside");
        assert_eq!(
            e.on_host(&format!("{WGET}192.0.2.1:8080/")),
            "page of web",
            "from the host by its address"
        );
        assert_eq!(e.on_host(&format!("{WGET}127.0.0.1:8080/")), "page of web", "from the host by loopback");
        let from = |options: &[&str], url: &str| {
            let mut args = vec!["run", "--rm"];
            args.extend(options);
            let script = format!("{WGET}{url}");
            args.extend(["busybox", "sh", "-c", &script]);
            c.ok(&args)
        };
        assert_eq!(
            from(&[], &format!("{}:8080/", e.gateway())),
            "page of web",
            "from another container by the gateway"
        );
        assert_eq!(
            from(&[], "192.0.2.1:8080/"),
            "page of web",
            "from another container by the host's address"
        );
        assert_eq!(
            c.ok(&["exec", "web", "sh", "-c", &format!("{WGET}192.0.2.1:8080/")]),
            "page of web",
            "from itself (hairpin)"
        );
        c.ok(&["rm", "-f", "web"]);
        let gone = outside.sh(&format!("{WGET}192.0.2.1:8080/"));
        assert_ne!(gone.code, 0, "nothing answers after the removal");
    }
}

#[test]
fn a_port_on_loopback_is_not_for_others() {
    let e = Engine::start();
    let host = e.net.as_ref().expect("private");
    let outside = Netns::new();
    Netns::wire(host, "up0", "192.0.2.1/24", &outside, "down0", "192.0.2.2/24");
    outside.ok("ip route add 127.0.0.0/8 via 192.0.2.1 table 9 2>/dev/null; sysctl -qw net.ipv4.conf.all.route_localnet=1 2>/dev/null; true");
    for c in e.clients() {
        let ip = server(&c, "web", &["-p", "127.0.0.1:8081:80"]);
        assert_eq!(e.on_host(&format!("{WGET}127.0.0.1:8081/")), "page of web");
        assert_ne!(outside.sh("timeout 1 busybox wget -qO- http://192.0.2.1:8081/").code, 0);
        outside.ok(&format!("ip route replace {}0/24 via 192.0.2.1", e.subnet_prefix()));
        assert_ne!(
            outside.sh(&format!("timeout 1 busybox wget -qO- http://{ip}/")).code,
            0,
            "unpublished ports are not routed in from outside"
        );
        c.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn udp_is_published() {
    let e = Options::new().images(&["debian-bookworm-slim.tar"]).start();
    let server = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 9999, Proto => 'udp') or die; \
        while (defined $s->recv($m, 99)) { $s->send(\"pong $m\") }";
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "udp",
            "-p",
            "9999:9999/udp",
            "debian:bookworm-slim",
            "perl",
            "-e",
            server,
        ]);
        for to in ["127.0.0.1", &e.gateway()] {
            eventually("a UDP answer", Duration::from_secs(10), || {
                let out = e.on_host(&format!("printf ping | timeout 2 socat -t 1 - UDP:{to}:9999; true"));
                (out == "pong ping").then_some(())
            });
        }
        c.ok(&["rm", "-f", "udp"]);
    }
}

#[test]
fn a_taken_port_is_refused() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "one", "-p", "8080:80", "busybox", "sleep", "600"]);
        let o = c.fails(125, &["run", "-d", "--name", "two", "-p", "8080:80", "busybox", "sleep", "600"]);
        o.says("8080");
        let o = c.run(&["start", "two"]);
        assert!(
            o.code == 1
                && (o.stderr.contains("port is already allocated")
                    || o.stderr.contains("address already in use")),
            "{o:?}"
        );
        c.ok(&["rm", "-f", "one"]);
        c.ok(&["start", "two"]);
        c.ok(&["rm", "-f", "two"]);
        let mut listener =
            e.net.as_ref().unwrap().command("busybox").args(["nc", "-l", "-p", "8082"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let o = c.run(&["run", "-d", "--name", "three", "-p", "8082:80", "busybox", "sleep", "600"]);
        assert_eq!(o.code, 125, "a port that a program on the host holds: {o:?}");
        assert!(o.stderr.contains("8082"), "{}", o.stderr);
        drop(listener.kill());
        drop(listener.wait());
        c.ok(&["rm", "-f", "three"]);
    }
}

#[test]
fn all_exposed_ports_and_ranges() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "pp",
            "-P",
            "--expose",
            "80",
            "--expose",
            "90-91/udp",
            "busybox",
            "sleep",
            "600",
        ]);
        let ports = c.ok(&["port", "pp"]);
        for p in ["80/tcp -> 0.0.0.0:", "90/udp -> 0.0.0.0:", "91/udp -> 0.0.0.0:"] {
            assert!(ports.contains(p), "{p} in {ports}");
        }
        c.ok(&["rm", "-f", "pp"]);
        c.ok(&["run", "-d", "--name", "rr", "-p", "127.0.0.1:7000-7002:80-82", "busybox", "sleep", "600"]);
        assert_eq!(c.ok(&["port", "rr", "82"]), "127.0.0.1:7002");
        let shown = c.ok(&["ps", "--format", "{{.Ports}}"]);
        assert_eq!(shown, "127.0.0.1:7000->80/tcp, 127.0.0.1:7001->81/tcp, 127.0.0.1:7002->82/tcp");
        c.ok(&["rm", "-f", "rr"]);
        c.ok(&["run", "-d", "--name", "any", "-p", "80", "busybox", "sleep", "600"]);
        let p: u16 =
            c.ok(&["port", "any", "80"]).lines().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert!(p >= 1024, "{p}");
        c.ok(&["rm", "-f", "any"]);
    }
}

#[test]
fn published_over_ipv6_loopback_or_not_at_all() {
    let e = Engine::start();
    let c = e.docker();
    server(&c, "web", &["-p", "8080:80"]);
    let bindings = c.ok(&["port", "web"]);
    if bindings.contains("[::]:8080") {
        assert_eq!(
            e.on_host("timeout 5 busybox wget -qO- 'http://[::1]:8080/'"),
            "page of web",
            "what `port` shows is true"
        );
    }
}

#[test]
fn modes_none_host_container() {
    let e = Engine::start();
    for c in e.clients() {
        let links = |net: &str| {
            c.ok(&["run", "--rm", "--network", net, "busybox", "ls", "/sys/class/net"]).replace('\n', " ")
        };
        assert_eq!(links("none"), "lo");
        assert_eq!(
            c.ok(&[
                "run",
                "--rm",
                "--network",
                "none",
                "busybox",
                "sh",
                "-c",
                "ip -4 addr show lo | grep -o 'inet [^ ]*'"
            ]),
            "inet 127.0.0.1/8"
        );
        let host = c.ok(&["run", "--rm", "--network", "host", "busybox", "ip", "-o", "link"]);
        assert!(host.contains(" lo:") && !host.contains("eth0@"), "the host's links: {host}");
        let ip = server(&c, "web", &[]);
        let joined = c.ok(&[
            "run",
            "--rm",
            "--network",
            "container:web",
            "busybox",
            "sh",
            "-c",
            &format!("{WGET}127.0.0.1/; ip addr"),
        ]);
        assert!(joined.starts_with("page of web") && joined.contains(&ip), "{joined}");
        assert_eq!(
            c.ok(&["run", "--rm", "--network", "container:web", "busybox", "hostname"]),
            c.ok(&["exec", "web", "hostname"])
        );
        c.fails(125, &["run", "--rm", "--network", "container:nosuch", "busybox", "true"])
            .says("No such container: nosuch");
        c.fails(125, &["run", "--rm", "--network", "nosuch", "busybox", "true"])
            .says("network nosuch not found");
        c.fails(125, &["run", "--rm", "--network", "container:web", "-p", "1:1", "busybox", "true"])
            .says("conflicting options");
        c.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn the_default_networks_are_listed() {
    let e = Engine::start();
    for c in e.clients() {
        let mut names: Vec<_> = c
            .ok(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        assert_eq!(names, ["bridge bridge", "host host", "none null"]);
        let v = c.ok(&[
            "network",
            "inspect",
            "-f",
            "{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}",
            "bridge",
        ]);
        assert_eq!(v, format!("{}0/24 {}", e.subnet_prefix(), e.gateway()));
        c.fails(1, &["network", "rm", "bridge"]).says("pre-defined network");
    }
}

#[test]
fn engines_side_by_side_do_not_touch_each_other() {
    let a = Engine::start();
    let b = Engine::start();
    let (ca, cb) = (a.docker(), b.docker());
    let ip_a = server(&ca, "web", &["-p", "8080:80"]);
    let ip_b = server(&cb, "web", &["-p", "8080:80"]);
    assert_ne!(ip_a, ip_b);
    cb.ok(&["rm", "-f", "web"]);
    assert_eq!(a.on_host(&format!("{WGET}127.0.0.1:8080/")), "page of web");
    assert_eq!(ca.ok(&["ps", "-q"]).lines().count(), 1);
}
