//! Networks that users make: drivers, options, both families; joining and leaving them; links; what Docker's clients are told.

use knarr_e2e::command::eventually;
use knarr_e2e::lab::Netns;
use knarr_e2e::{Cli, Engine, Options};
use std::time::Duration;

const WGET: &str = "timeout 5 busybox wget -qO- http://";
const LIMIT: Duration = Duration::from_secs(20);

/// A container whose web server says its name.
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

/// The host on a wire to another machine, in both families.
fn outside(e: &Engine) -> Netns {
    let host = e.net.as_ref().expect("private");
    let machine = Netns::new();
    Netns::wire(host, "up0", "192.0.2.1/24", &machine, "down0", "192.0.2.2/24");
    host.ok("ip -6 addr add 2001:db8::1/64 dev up0 nodad");
    machine.ok("ip -6 addr add 2001:db8::2/64 dev down0 nodad");
    machine
}

#[test]
fn both_families_are_published_and_reach_out() {
    let e = Engine::start();
    let machine = outside(&e);
    for c in e.clients() {
        c.ok(&["network", "create", "--ipv6", "dual"]);
        server(&c, "web", &["--network", "dual", "-p", "8080:80", "-p", "[2001:db8::1]:8081:80"]);
        let ports = c.ok(&["port", "web"]);
        for shown in ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "80/tcp -> [2001:db8::1]:8081"] {
            assert!(ports.contains(shown), "{shown} in {ports}");
        }
        for url in ["192.0.2.1:8080", "[2001:db8::1]:8080", "[2001:db8::1]:8081"] {
            assert_eq!(machine.ok(&format!("{WGET}'{url}/'")), "page of web", "{url} from outside");
            assert_eq!(e.on_host(&format!("{WGET}'{url}/'")), "page of web", "{url} from the host");
        }
        let out = c.ok(&["exec", "web", "ping", "-6", "-c", "1", "-W", "5", "2001:db8::2"]);
        assert!(out.contains("1 packets received"), "{out}");
        let six = c.field("web", "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}");
        let listed =
            c.ok(&["network", "inspect", "-f", "{{range .Containers}}{{.IPv6Address}}{{end}}", "dual"]);
        assert!(six.starts_with("fd") && listed == format!("{six}/64"), "{six} {listed}");
        let hosts = c.ok(&["exec", "web", "cat", "/etc/hosts"]);
        assert!(hosts.contains(&format!("{six}\t")), "{hosts}");
        c.ok(&["rm", "-f", "web"]);
        c.ok(&["network", "rm", "dual"]);
    }
}

#[test]
fn published_ports_of_ipv6_survive_a_killed_engine() {
    let mut e = Engine::start();
    let machine = outside(&e);
    let c = e.docker();
    c.ok(&["network", "create", "--ipv6", "--ipv4=false", "six"]);
    server(&c, "web", &["--network", "six", "-p", "8080:80"]);
    e.kill9();
    assert_eq!(
        machine.ok(&format!("{WGET}'[2001:db8::1]:8080/'")),
        "page of web",
        "while no engine is there"
    );
    e.launch();
    let c = e.docker();
    assert_eq!(c.ok(&["port", "web"]), "80/tcp -> [::]:8080");
    assert_eq!(machine.ok(&format!("{WGET}'[2001:db8::1]:8080/'")), "page of web");
    c.fails(125, &["run", "--network", "six", "--name", "two", "-p", "[::]:8080:80", "busybox", "true"])
        .says("port is already allocated");
    c.ok(&["rm", "-f", "web", "two"]);
    c.ok(&["network", "rm", "six"]);
}

/// CVE-2024-32473.
#[test]
fn no_ipv6_where_the_network_has_none() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "four"]);
    for network in ["bridge", "four"] {
        let seen = c.ok(&["run", "--rm", "--network", network, "busybox", "ip", "-6", "-o", "addr"]);
        assert!(!seen.contains("eth0"), "{network}: {seen}");
    }
    c.ok(&["network", "rm", "four"]);
}

/// Docker has a process per port for that.
#[test]
fn ipv6_of_the_host_is_relayed_to_containers_without() {
    let mut e = Engine::start();
    let machine = outside(&e);
    for c in e.clients() {
        server(&c, "web", &["-p", "8080:80", "-p", "[::1]:8081:80"]);
        let ports = c.ok(&["port", "web"]);
        for shown in ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "80/tcp -> [::1]:8081"] {
            assert!(ports.contains(shown), "{shown} in {ports}");
        }
        assert_eq!(machine.ok(&format!("{WGET}'[2001:db8::1]:8080/'")), "page of web");
        for url in ["[::1]:8080", "[::1]:8081", "127.0.0.1:8080"] {
            assert_eq!(e.on_host(&format!("{WGET}'{url}/'")), "page of web", "{url}");
        }
        c.fails(125, &["run", "--rm", "-p", "[::1]:8080:80", "busybox", "true"])
            .says("port is already allocated");
        c.ok(&["rm", "-f", "web"]);
    }
    let c = e.docker();
    server(&c, "web", &["-p", "8080:80"]);
    e.crash_and_restart();
    assert_eq!(e.on_host(&format!("{WGET}'[::1]:8080/'")), "page of web", "the next engine goes on");
    c.ok(&["rm", "-f", "web"]);
    let without = Options::new().arg("--userland-proxy=false").start();
    let o = without.docker().fails(125, &["run", "--rm", "-p", "[::1]:8080:80", "busybox", "true"]);
    o.says("the container has no IPv6 address");
}

#[test]
fn running_containers_join_and_leave() {
    let e = Engine::start();
    let machine = outside(&e);
    for c in e.clients() {
        c.ok(&["network", "create", "--subnet", "10.201.1.0/24", "one"]);
        c.ok(&["network", "create", "--subnet", "10.201.2.0/24", "two"]);
        server(&c, "web", &["--network", "one", "-p", "8080:80"]);
        server(&c, "other", &["--network", "two"]);
        let default = || c.ok(&["exec", "web", "sh", "-c", "ip route | grep default"]);
        assert_eq!(default().trim(), "default via 10.201.1.1 dev eth0");
        c.ok(&[
            "network",
            "connect",
            "--ip",
            "10.201.2.77",
            "--alias",
            "www",
            "--gw-priority",
            "3",
            "two",
            "web",
        ]);
        assert_eq!(default().trim(), "default via 10.201.2.1 dev eth1", "the higher priority");
        assert_eq!(c.ok(&["exec", "other", "wget", "-qO-", "http://10.201.2.77/"]), "page of web");
        assert_eq!(machine.ok(&format!("{WGET}192.0.2.1:8080/")), "page of web", "its port moved with it");
        let names = c.field("web", "{{json .NetworkSettings.Networks.two.DNSNames}}");
        assert!(names.contains("\"web\"") && names.contains("\"www\""), "{names}");
        assert!(c.ok(&["exec", "web", "cat", "/etc/hosts"]).contains("10.201.2.77\t"));
        c.fails(1, &["network", "connect", "two", "web"])
            .says("endpoint with name web already exists in network two");
        c.fails(1, &["network", "rm", "two"]).says("has active endpoints");
        c.ok(&["network", "disconnect", "two", "web"]);
        assert_eq!(default().trim(), "default via 10.201.1.1 dev eth0");
        assert_eq!(machine.ok(&format!("{WGET}192.0.2.1:8080/")), "page of web");
        assert!(!c.ok(&["exec", "web", "cat", "/etc/hosts"]).contains("10.201.2.77"));
        assert!(!c.ok(&["exec", "web", "ls", "/sys/class/net"]).contains("eth1"));
        c.fails(1, &["network", "disconnect", "two", "web"]).says("is not connected to");
        // Off its own network, too: then it is on none, also after its next start.
        c.ok(&["network", "disconnect", "one", "web"]);
        assert_eq!(c.ok(&["exec", "web", "ls", "/sys/class/net"]), "lo");
        c.ok(&["restart", "-t", "0", "web"]);
        assert_eq!(c.ok(&["exec", "web", "ls", "/sys/class/net"]), "lo");
        c.ok(&["network", "connect", "one", "web"]);
        eventually("its port is back", LIMIT, || {
            (machine.sh(&format!("{WGET}192.0.2.1:8080/")).code == 0).then_some(())
        });
        c.ok(&["rm", "-f", "web", "other"]);
        c.ok(&["network", "rm", "one", "two"]);
    }
}

#[test]
fn several_networks_from_the_start() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["network", "create", "--subnet", "10.202.1.0/24", "one"]);
        c.ok(&["network", "create", "--subnet", "10.202.2.0/24", "two"]);
        c.ok(&["network", "create", "--subnet", "10.202.3.0/24", "--internal", "inner"]);
        // Made with one, joined to another before its start.
        c.ok(&["create", "--name", "early", "--network", "name=two,alias=e", "busybox", "sleep", "600"]);
        c.ok(&["network", "connect", "--ip", "10.202.1.9", "one", "early"]);
        c.ok(&["start", "early"]);
        let addresses = c.ok(&["exec", "early", "sh", "-c", "ip -4 -o addr | awk '{print $2, $4}'"]);
        assert!(
            addresses.contains("eth0 10.202.2.") && addresses.contains("eth1 10.202.1.9/24"),
            "{addresses}"
        );
        let route = |name: &str| c.ok(&["exec", name, "sh", "-c", "ip route | grep default || true"]);
        assert!(route("early").contains("via 10.202.1.1"), "by name: {}", route("early"));
        c.ok(&[
            "run",
            "-d",
            "--name",
            "first",
            "--network",
            "name=one",
            "--network",
            "name=two,gw-priority=1,mac-address=02:00:00:00:00:07,driver-opt=com.docker.network.endpoint.ifname=lan0",
            "--network",
            "inner",
            "busybox",
            "sleep",
            "600",
        ]);
        assert!(route("first").contains("via 10.202.2.1 dev lan0"), "{}", route("first"));
        let mac = c.ok(&["exec", "first", "cat", "/sys/class/net/lan0/address"]);
        assert_eq!(mac, "02:00:00:00:00:07");
        c.ok(&["run", "-d", "--name", "shut", "--network", "inner", "busybox", "sleep", "600"]);
        assert_eq!(route("shut"), "", "an internal network leads nowhere");
        c.ok(&["rm", "-f", "early", "first", "shut"]);
        c.ok(&["network", "rm", "one", "two", "inner"]);
    }
}

#[test]
fn containers_on_the_hosts_wire() {
    let e = Engine::start();
    let machine = outside(&e);
    for c in e.clients() {
        c.ok(&[
            "network",
            "create",
            "-d",
            "macvlan",
            "--subnet",
            "192.0.2.0/24",
            "--gateway",
            "192.0.2.2",
            "--ip-range",
            "192.0.2.128/25",
            "-o",
            "parent=up0",
            "wire",
        ]);
        server(&c, "web", &["--network", "wire", "--ip", "192.0.2.200"]);
        assert_eq!(machine.ok(&format!("{WGET}192.0.2.200/")), "page of web");
        let ping = c.ok(&["exec", "web", "ping", "-c", "1", "-W", "5", "192.0.2.2"]);
        assert!(ping.contains("1 packets received"), "{ping}");
        assert_eq!(
            c.ok(&["network", "inspect", "-f", "{{.Driver}} {{.Options.parent}}", "wire"]),
            "macvlan up0"
        );
        c.ok(&["rm", "-f", "web"]);
        c.ok(&["network", "rm", "wire"]);
        // Where the kernel has it, else a clear word.
        let o = c.run(&[
            "network",
            "create",
            "-d",
            "ipvlan",
            "-o",
            "parent=up0",
            "--subnet",
            "192.0.2.0/24",
            "ip",
        ]);
        if o.code == 0 {
            server(&c, "web", &["--network", "ip", "--ip", "192.0.2.201"]);
            assert_eq!(machine.ok(&format!("{WGET}192.0.2.201/")), "page of web");
            c.ok(&["rm", "-f", "web"]);
            c.ok(&["network", "rm", "ip"]);
        } else {
            assert!(o.stderr.contains("the kernel has no ipvlan interfaces"), "{o:?}");
        }
    }
}

#[test]
fn links_of_the_default_bridge() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run", "-d", "--name", "db", "-e", "FOO=bar", "--expose", "80", "--expose", "90/udp", "busybox",
            "sleep", "600",
        ]);
        let ip = c.field("db", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let script = "env; cat /etc/hosts; ping -c 1 -W 5 my-sql >/dev/null && echo reached";
        let seen = c.ok(&["run", "--name", "app", "--link", "db:my-sql", "busybox", "sh", "-c", script]);
        for line in [
            format!("MY_SQL_PORT=tcp://{ip}:80"),
            format!("MY_SQL_PORT_90_UDP_ADDR={ip}"),
            "MY_SQL_NAME=/app/my-sql".to_owned(),
            "MY_SQL_ENV_FOO=bar".to_owned(),
            "reached".to_owned(),
        ] {
            assert!(seen.lines().any(|l| l == line), "{line} in {seen}");
        }
        assert!(seen.lines().any(|l| l.starts_with(&format!("{ip}\tmy-sql "))), "{seen}");
        assert_eq!(c.field("app", "{{json .HostConfig.Links}}"), "[\"/db:/app/my-sql\"]");
        c.ok(&["stop", "-t", "0", "db"]);
        c.fails(1, &["start", "app"]).says("Cannot link to a non running container: /db AS /app/my-sql");
        c.fails(125, &["run", "--rm", "--link", "nope:x", "busybox", "true"])
            .says("could not get container for nope: No such container: nope");
        c.ok(&["rm", "-f", "db", "app"]);
    }
}

#[test]
fn a_host_that_may_not_forward_is_told() {
    let e = Options::new().arg("--ip-forward=false").start();
    e.on_host("echo 0 >/proc/sys/net/ipv4/ip_forward");
    for c in e.clients() {
        let o = c.run(&["run", "--rm", "busybox", "echo", "it runs"]);
        assert_eq!((o.code, o.stdout.trim()), (0, "it runs"), "{o:?}");
        assert!(
            o.stderr.contains("WARNING: IPv4 forwarding is disabled. Networking will not work."),
            "{o:?}"
        );
        let o = c.run(&["run", "--rm", "--network", "none", "busybox", "true"]);
        assert!(!o.stderr.contains("forwarding"), "{o:?}");
        let info = c.run(&["info"]);
        assert!(
            format!("{}{}", info.stdout, info.stderr).contains("IPv4 forwarding is disabled"),
            "{info:?}"
        );
    }
}

/// A machine whose forwarding the engine turned on is no router between its other interfaces.
#[test]
fn forwarding_is_for_containers_only() {
    let mut e = Engine::prepare(Options::new());
    // A new namespace has it from the machine.
    e.on_host("echo 0 >/proc/sys/net/ipv4/ip_forward");
    e.launch();
    e.load(&knarr_e2e::workspace::image("busybox.tar"));
    let host = e.net.as_ref().expect("private");
    let (left, right) = (Netns::new(), Netns::new());
    Netns::wire(host, "left0", "192.0.2.1/24", &left, "eth0", "192.0.2.2/24");
    Netns::wire(host, "right0", "198.51.100.1/24", &right, "eth0", "198.51.100.2/24");
    left.ok("ip route add default via 192.0.2.1");
    right.ok("ip route add default via 198.51.100.1");
    assert_eq!(host.ok("cat /proc/sys/net/ipv4/ip_forward"), "1");
    e.docker().ok(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", "198.51.100.2"]);
    assert_ne!(left.sh("busybox ping -c 1 -W 1 198.51.100.2").code, 0, "between others nothing is forwarded");
    left.ok("busybox ping -c 1 -W 5 198.51.100.1");
}

/// Texts and codes of Docker 28.5, as its clients show them.
#[test]
fn what_is_refused_is_refused_in_dockers_words() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["network", "create", "--subnet", "10.203.0.0/24", "net"]);
    c.ok(&["network", "create", "auto"]);
    c.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "none", "--network", "none", "busybox", "sleep", "600"]);
    let option = "com.docker.network.bridge";
    let cases: &[(&[&str], &str)] = &[
        (&["create", "--ipv4=false", "x"], "IPv4 or IPv6 must be enabled"),
        (
            &["create", "--subnet", "10.204.0.0/24", "--subnet", "10.205.0.0/24", "x"],
            "bridge driver doesn't support multiple subnets",
        ),
        (
            &["create", "--subnet", "10.204.0.1/24", "x"],
            "invalid subnet 10.204.0.1/24: it should be 10.204.0.0/24",
        ),
        (
            &["create", "--subnet", "10.203.0.0/25", "x"],
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
        (
            &["create", "-o", &format!("{option}.gateway_mode_ipv4=isolated"), "x"],
            "gateway mode 'isolated' can only be used for an internal network",
        ),
        (
            &["create", "-o", &format!("{option}.enable_icc=maybe"), "x"],
            "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing \"maybe\": invalid syntax)",
        ),
        (&["create", "--config-from", "nope", "x"], "configuration network \"nope\" does not exist"),
        (&["create", "-d", "host", "x"], "only one instance of \"host\" network is allowed"),
        (
            &["connect", "host", "one"],
            "cannot connect container to host network - container must be created in host network mode",
        ),
        (
            &["connect", "none", "one"],
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (
            &["connect", "net", "none"],
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (
            &["connect", "--ip", "10.1.1.1", "net", "one"],
            "no configured subnet or ip-range contain the IP address 10.1.1.1",
        ),
        (
            &["connect", "--ip", "10.1.1.1", "auto", "one"],
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        ),
        (&["disconnect", "net", "one"], "is not connected to"),
    ];
    for (args, text) in cases {
        c.fails(1, &[&["network"], *args].concat()).says(text);
    }
    c.fails(125, &["run", "--rm", "--ip", "10.1.1.1", "busybox", "true"])
        .says("invalid config for network bridge: invalid endpoint settings:");
    let o = c.run(&["run", "--rm", "--network", "host", "-p", "1:1", "busybox", "true"]);
    assert!(
        o.stderr.contains("WARNING: Published ports are discarded when using host network mode"),
        "{o:?}"
    );
    c.ok(&["rm", "-f", "one", "none"]);
    c.ok(&["network", "rm", "net", "auto"]);
}

/// Keys of the configuration that are about the default bridge and the pools.
#[test]
fn the_default_bridge_as_configured() {
    let e = Options::new()
        .bip("10.206.0.1/24")
        .arg("--ipv6")
        .arg("--bip6=fd00:206::1/64")
        .arg("--default-gateway=10.206.0.254")
        .arg("--fixed-cidr-v6=fd00:206::100/120")
        .arg("--default-address-pool=base=10.207.0.0/16,size=24")
        .arg("--default-network-opt=bridge=com.docker.network.driver.mtu=1400")
        .arg("--host-gateway-ip=192.0.2.9")
        .start();
    let c = e.docker();
    let seen = c.ok(&[
        "run",
        "--rm",
        "--add-host",
        "h:host-gateway",
        "busybox",
        "sh",
        "-c",
        "ip route; ip -6 addr; cat /etc/hosts",
    ]);
    assert!(seen.contains("default via 10.206.0.254") && seen.contains("fd00:206::100/64"), "{seen}");
    assert!(seen.contains("192.0.2.9\th"), "{seen}");
    c.ok(&["network", "create", "pool"]);
    let shown = c.ok(&[
        "network",
        "inspect",
        "-f",
        "{{(index .IPAM.Config 0).Subnet}} {{index .Options \"com.docker.network.driver.mtu\"}}",
        "pool",
    ]);
    assert_eq!(shown, "10.207.0.0/24 1400");
    let mtu = c.ok(&["run", "--rm", "--network", "pool", "busybox", "cat", "/sys/class/net/eth0/mtu"]);
    assert_eq!(mtu, "1400");
    c.ok(&["network", "rm", "pool"]);
}
