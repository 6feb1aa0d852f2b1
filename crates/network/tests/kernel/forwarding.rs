//! Forwarding is a switch of the whole machine: who throws it, and who gains by it.
use crate::world::{add_ipv6, ask, on_host, request, serve, serve_both, unreachable};
use knarr_netlink::{Rtnetlink, address, link};
use knarr_network::{CreateNetwork, NetworkConfig, Networks};
use std::net::Ipv6Addr;
use std::os::fd::AsFd;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
const SWITCH_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

fn is_on(path: &str) -> bool {
    std::fs::read_to_string(path).unwrap().trim() == "1"
}

fn config() -> NetworkConfig {
    NetworkConfig { engine_id: "aaaa".into(), ..NetworkConfig::default() }
}

#[test]
fn the_hosts_other_interfaces_stay_apart_if_the_engine_turned_it_on() {
    on_host(|world| {
        std::fs::write(SWITCH, "0").unwrap();
        let left = world.machine("left0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let right = world.machine("right0", [198, 51, 100, 1].into(), [198, 51, 100, 2].into());
        left.route("0.0.0.0/0", std::net::Ipv4Addr::new(192, 0, 2, 1));
        right.route("0.0.0.0/0", std::net::Ipv4Addr::new(198, 51, 100, 1));
        serve(right.netns.as_fd(), 80);
        assert!(unreachable(left.netns.as_fd(), "198.51.100.2:80"), "no forwarding yet");
        let engine = world.engine_with(config());
        assert!(is_on(SWITCH));
        assert!(unreachable(left.netns.as_fd(), "198.51.100.2:80"));
        let a = engine.connect(&request("bridge")).unwrap();
        assert!(ask(a.netns.as_fd(), "198.51.100.2:80").is_some(), "containers do get out");
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
        drop(engine);
        // The next engine finds it on, and knows by whom.
        let again = Networks::open(world.store("aaaa"), config()).unwrap();
        again.restore(std::slice::from_ref(&a.endpoint.container)).unwrap();
        assert!(unreachable(left.netns.as_fd(), "198.51.100.2:80"));
        drop(again);
        let lax = NetworkConfig { ip_forward_no_drop: true, ..config() };
        let lax = Networks::open(world.store("aaaa"), lax).unwrap();
        lax.restore(&[]).unwrap();
        assert!(ask(left.netns.as_fd(), "198.51.100.2:80").is_some(), "as the user asked");
    });
}

/// A bridge that has nothing to do with us: its machines get out, and nobody gets in who did not before.
#[test]
fn other_programs_bridges_are_not_opened() {
    on_host(|world| {
        std::fs::write(SWITCH, "0").unwrap();
        let outside = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let guest = world.machine("guest0", [198, 51, 100, 7].into(), [198, 51, 100, 2].into());
        let mut host = Rtnetlink::open().unwrap();
        host.change(vec![link::add_bridge("virbr0", [2, 0, 0, 0, 9, 9], 0)]).unwrap();
        let bridge = host.link("virbr0").unwrap().unwrap().index;
        let port = host.link("guest0").unwrap().unwrap().index;
        host.change(vec![
            address::delete(port, "198.51.100.7/24".parse().unwrap()),
            link::set_master(port, bridge),
            address::add(bridge, "198.51.100.1/24".parse().unwrap()),
            link::set_up(bridge),
        ])
        .unwrap();
        let gateway = |ip: [u8; 4]| std::net::Ipv4Addr::from(ip);
        outside.route("0.0.0.0/0", gateway([192, 0, 2, 1]));
        guest.route("0.0.0.0/0", gateway([198, 51, 100, 1]));
        serve(outside.netns.as_fd(), 80);
        serve(guest.netns.as_fd(), 80);
        let _engine = world.engine_with(config());
        assert!(is_on(SWITCH));
        assert!(ask(guest.netns.as_fd(), "192.0.2.2:80").is_some(), "it gets out");
        assert!(unreachable(outside.netns.as_fd(), "198.51.100.2:80"), "nobody gets in");
        // Its owner publishes a port.
        let rules = "table ip theirs { chain pre { type nat hook prerouting priority -100; policy accept; tcp dport 8080 dnat to 198.51.100.2:80; }; }";
        let status = std::process::Command::new("nft").arg(rules).status().unwrap();
        assert!(status.success());
        assert!(ask(outside.netns.as_fd(), "192.0.2.1:8080").is_some(), "but where its owner says so");
    });
}

#[test]
fn a_host_that_forwards_goes_on_forwarding() {
    on_host(|world| {
        std::fs::write(SWITCH, "1").unwrap();
        let left = world.machine("left0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let right = world.machine("right0", [198, 51, 100, 1].into(), [198, 51, 100, 2].into());
        left.route("0.0.0.0/0", std::net::Ipv4Addr::new(192, 0, 2, 1));
        right.route("0.0.0.0/0", std::net::Ipv4Addr::new(198, 51, 100, 1));
        serve(right.netns.as_fd(), 80);
        let _engine = world.engine_with(config());
        assert!(ask(left.netns.as_fd(), "198.51.100.2:80").is_some());
    });
}

#[test]
fn ipv6_is_switched_on_by_the_first_network_that_has_it() {
    on_host(|world| {
        std::fs::write(SWITCH_V6, "0").unwrap();
        let left = world.machine("left0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let right = world.machine("right0", [198, 51, 100, 1].into(), [198, 51, 100, 2].into());
        add_ipv6("left0", "2001:db8:1::1/64", &left, "2001:db8:1::2/64");
        add_ipv6("right0", "2001:db8:2::1/64", &right, "2001:db8:2::2/64");
        left.route("::/0", "2001:db8:1::1".parse::<Ipv6Addr>().unwrap());
        right.route("::/0", "2001:db8:2::1".parse::<Ipv6Addr>().unwrap());
        std::fs::write("/proc/sys/net/ipv6/conf/left0/accept_ra", "1").unwrap();
        serve_both(right.netns.as_fd(), 80);
        let engine = world.engine_with(config());
        assert!(!is_on(SWITCH_V6), "nobody needs it");
        engine.create(&CreateNetwork { name: "six".into(), ipv6: Some(true), ..Default::default() }).unwrap();
        assert!(is_on(SWITCH_V6));
        assert!(unreachable(left.netns.as_fd(), "[2001:db8:2::2]:80"));
        let learns = std::fs::read_to_string("/proc/sys/net/ipv6/conf/left0/accept_ra").unwrap();
        assert_eq!(learns.trim(), "2", "the host goes on learning from its routers");
        let a = engine.connect(&request("six")).unwrap();
        assert!(ask(a.netns.as_fd(), "[2001:db8:2::2]:80").is_some());
    });
}

#[test]
fn without_the_permission_it_stays_off() {
    on_host(|world| {
        std::fs::write(SWITCH, "0").unwrap();
        let engine = world.engine_with(NetworkConfig { ip_forward: false, ..config() });
        assert!(!is_on(SWITCH) && !engine.forwards(true));
        assert!(engine.warnings().contains(&"WARNING: IPv4 forwarding is disabled".to_owned()));
    });
}
