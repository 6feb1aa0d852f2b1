//! Beside other firewalls: what they flush comes back, what they have stays theirs.
use crate::world::{add_ipv6, ask, ask_here, on_host, publish, request, serve, serve_both, unreachable};
use knarr_network::{AddressConfig, CreateNetwork, EndpointRequest};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is promised. It takes a tenth of that; on a machine that has much else to do most of several times hold it.
const PROMISED: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

fn nft(script: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
}

fn listing(what: &[&str]) -> String {
    let output = Command::new("nft").arg("list").args(what).output().expect("nft");
    String::from_utf8(output.stdout).unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `firewall-cmd --reload` does: everything goes, and its own comes anew in one transaction.
const RELOAD: &str = "flush ruleset
table inet firewalld {
	set blocked { type ipv4_addr; elements = { 192.0.2.66 } }
	chain filter_INPUT { type filter hook input priority 10; policy accept; ip saddr @blocked drop; }
	chain filter_FORWARD { type filter hook forward priority 10; policy accept; }
}
table ip nat {
	chain POSTROUTING { type nat hook postrouting priority 100; policy accept; }
}
";

#[test]
fn what_others_flush_comes_back_in_both_families_and_theirs_stays_theirs() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        add_ipv6("up0", "2001:db8::1/64", &machine, "2001:db8::2/64");
        let subnet = |text: &str| AddressConfig { subnet: Some(text.parse().unwrap()), ..Default::default() };
        let subnets = vec![subnet("10.50.0.0/24"), subnet("fd00:50::/64")];
        let dual = CreateNetwork { name: "dual".into(), ipv6: Some(true), subnets, ..Default::default() };
        engine.create(&dual).unwrap();
        let web = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("dual") };
        let web = engine.connect(&web).unwrap();
        serve_both(web.netns.as_fd(), 80);
        let whole = |family: &str| {
            let text = listing(&["table", family, "knarr-aaaa"]);
            // The last chain, and the port.
            text.contains("chain postrouting") && text.contains("8080")
        };
        let well = || {
            whole("ip")
                && whole("ip6")
                && ask(machine.netns.as_fd(), "192.0.2.1:8080").is_some()
                && ask(machine.netns.as_fd(), "[2001:db8::1]:8080").is_some()
        };
        assert!(well());
        let mut times = Vec::new();
        for disturbance in [
            "flush ruleset",
            "delete table ip knarr-aaaa",
            "delete table ip6 knarr-aaaa",
            "flush table ip6 knarr-aaaa",
            "flush map ip6 knarr-aaaa published_any",
            RELOAD,
        ] {
            nft(disturbance);
            let flushed = Instant::now();
            eventually(disturbance, || whole("ip") && whole("ip6"));
            times.push(flushed.elapsed());
            eventually(disturbance, well);
        }
        times.sort();
        assert!(times[times.len() / 2] < PROMISED, "{times:?}");
        let theirs = || listing(&["table", "inet", "firewalld"]) + &listing(&["table", "ip", "nat"]);
        let before = theirs();
        assert!(before.contains("192.0.2.66"), "{before}");
        let next = engine.connect(&request("dual")).unwrap();
        engine.release(&next.endpoint.container).unwrap();
        engine.heal().unwrap();
        engine.release(&web.endpoint.container).unwrap();
        engine.remove("dual").unwrap();
        engine.shutdown().unwrap();
        assert_eq!(theirs(), before);
        assert_eq!(listing(&["tables"]).lines().count(), 2, "ours are gone: {}", listing(&["tables"]));
    });
}

#[test]
fn a_firewall_that_drops_ipv6_is_named_where_there_is_any() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        nft("table ip6 filter {
	chain FORWARD { type filter hook forward priority 0; policy drop; }
}
");
        assert_eq!(engine.warnings(), Vec::<String>::new());
        let dual = CreateNetwork { name: "dual".into(), ipv6: Some(true), ..Default::default() };
        engine.create(&dual).unwrap();
        let warnings = engine.warnings().join("\n");
        assert!(warnings.contains("ip6 filter FORWARD"), "{warnings}");
    });
}

/// A packet has to be accepted by every firewall of the host. So one that forwards nothing stops containers too; it is named,
/// and left as it is.
#[test]
fn iptables_that_forward_nothing_are_obeyed_and_named() {
    for program in ["iptables-nft", "iptables-legacy"] {
        on_host(|world| {
            let iptables = |line: &str| {
                Command::new(program)
                    .args(line.split(' '))
                    .stderr(Stdio::null())
                    .status()
                    .is_ok_and(|s| s.success())
            };
            if !iptables("-P FORWARD DROP") {
                eprintln!("{program} is not there, or the kernel has nothing for it");
                return;
            }
            let rules = || {
                let output = Command::new(program).arg("-S").output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
            let before = rules();
            let engine = world.engine("aaaa");
            let web = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") };
            let web = engine.connect(&web).unwrap();
            serve(web.netns.as_fd(), 80);
            assert!(ask_here("127.0.0.1:8080").is_some(), "the host's own is not forwarded");
            assert!(unreachable(machine.netns.as_fd(), "192.0.2.1:8080"), "{program}");
            if program == "iptables-nft" {
                let warnings = engine.warnings().join("\n");
                assert!(warnings.contains("ip filter FORWARD"), "{warnings}");
            }
            assert_eq!(rules(), before, "{program}: not touched");
            assert!(iptables("-A FORWARD -i knarr0 -j ACCEPT") && iptables("-A FORWARD -o knarr0 -j ACCEPT"));
            assert!(ask(machine.netns.as_fd(), "192.0.2.1:8080").is_some(), "{program}: as the user said");
            machine.route("172.17.0.0/16", Ipv4Addr::new(192, 0, 2, 1));
            assert!(unreachable(machine.netns.as_fd(), "172.17.0.2:80"), "{program}: ours holds, too");
        });
    }
}
