//! Networks with more containers than a bridge has ports: several bridges, one network.
use crate::world::{
    address_of, ask, ask_here, on_both_hosts, on_host, publish, request, serve, serve_both, unreachable,
};
use knarr_netlink::{Rtnetlink, link};
use knarr_network::{Connected, CreateNetwork, EndpointRequest, NetworkConfig, Networks};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// More than the ports of a bridge in the kernel.
const MANY: u16 = 1100;

/// Two containers a bridge.
fn config() -> NetworkConfig {
    NetworkConfig { engine_id: "aaaa".into(), bridge_capacity: 2, ..NetworkConfig::default() }
}

fn links() -> Vec<String> {
    let mut names: Vec<String> =
        Rtnetlink::open().unwrap().links().unwrap().into_iter().map(|l| l.name).collect();
    names.sort();
    names
}

fn masters() -> usize {
    let links = Rtnetlink::open().unwrap().links().unwrap();
    let containers = links.iter().filter(|l| l.name.starts_with("kv"));
    containers.map(|l| l.master).collect::<std::collections::BTreeSet<_>>().len()
}

fn named(network: &str, name: &str, port: u16) -> EndpointRequest {
    EndpointRequest {
        container_name: name.into(),
        ports: vec![publish(None, port, 80)].into(),
        ..request(network)
    }
}

#[test]
fn containers_on_different_bridges_are_on_one_network() {
    on_both_hosts(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine_with(config());
        let before = links();
        let create = CreateNetwork { name: "wide".into(), ipv6: Some(true), ..CreateNetwork::default() };
        engine.create(&create).unwrap();
        let all: Vec<Connected> =
            (0..5u16).map(|n| engine.connect(&named("wide", &format!("c{n}"), 8080 + n)).unwrap()).collect();
        assert_eq!(masters(), 3, "{:?}", links());
        all.iter().for_each(|c| serve_both(c.netns.as_fd(), 80));
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip", "ip6"]);
        for from in &all {
            for to in &all {
                let own: IpAddr = from.endpoint.ipv4.unwrap().into();
                let name = &to.endpoint.container_name;
                let found = engine
                    .with_names(|names| names.addresses(&from.endpoint.container, name).unwrap().to_vec());
                assert_eq!(found.len(), 2, "{name}");
                let answer = ask(from.netns.as_fd(), &format!("{}:80", found[0]));
                assert_eq!(answer, Some(own.to_string()), "{name} sees its peer's own address");
                if from.endpoint.id != to.endpoint.id {
                    let answer = ask(from.netns.as_fd(), &format!("[{}]:80", found[1]));
                    assert_eq!(answer, Some(from.endpoint.ipv6.unwrap().to_string()), "{name}");
                }
                // By the host, to itself and to neighbours on the same bridge, too.
                let port = to.endpoint.ports[0].host_port;
                let by_host = ask(from.netns.as_fd(), &format!("203.0.113.1:{port}"));
                assert!(by_host.is_some(), "{} to {name}, port {port}", from.endpoint.container_name);
            }
            let port = from.endpoint.ports[0].host_port;
            assert_eq!(
                ask(outside.netns.as_fd(), &format!("203.0.113.1:{port}")).as_deref(),
                Some("203.0.113.9")
            );
            assert!(ask_here(&format!("127.0.0.1:{port}")).is_some());
            let out = ask_outside(from, &outside);
            assert_eq!(out.as_deref(), Some("203.0.113.1"), "masqueraded");
        }
        // Nobody is reached by what is no port of the network's bridge.
        let evil = &all[4];
        assert!(unreachable(evil.netns.as_fd(), "203.0.113.1:81"));
        for connected in &all {
            engine.release(&connected.endpoint.container).unwrap();
        }
        drop(all);
        engine.remove("wide").unwrap();
        eventually("nothing is left", || links() == before);
        assert!(!engine.firewall_text().contains("segments"), "{}", engine.firewall_text());
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
    });
}

fn ask_outside(from: &Connected, outside: &crate::world::Machine) -> Option<String> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static PORT: AtomicU16 = AtomicU16::new(9000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    serve(outside.netns.as_fd(), port);
    ask(from.netns.as_fd(), &format!("203.0.113.9:{port}"))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {:?}", links());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn containers_that_shall_not_talk_do_not_from_other_bridges_either() {
    on_both_hosts(|world| {
        let engine = world.engine_with(config());
        let options =
            BTreeMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())]);
        engine.create(&CreateNetwork { name: "apart".into(), options, ..CreateNetwork::default() }).unwrap();
        let all: Vec<Connected> = (0..5).map(|_| engine.connect(&request("apart")).unwrap()).collect();
        all.iter().for_each(|c| serve(c.netns.as_fd(), 80));
        let outside = world.machine("uplink", OURS, THEIRS);
        for from in &all {
            for to in all.iter().filter(|to| to.endpoint.id != from.endpoint.id) {
                let to = format!("{}:80", address_of(to));
                assert!(unreachable(from.netns.as_fd(), &to), "{} reaches {to}", address_of(from));
            }
            assert!(ask_outside(from, &outside).is_some(), "it gets out");
        }
    });
}

/// A container's frames that are for a further bridge itself: the host takes nothing from there.
#[test]
fn a_further_bridge_leads_not_to_the_host() {
    on_both_hosts(|world| {
        let engine = world.engine_with(config());
        engine
            .create(&CreateNetwork { name: "wide".into(), internal: true, ..CreateNetwork::default() })
            .unwrap();
        let all: Vec<Connected> = (0..3).map(|_| engine.connect(&request("wide")).unwrap()).collect();
        let outside = world.machine("uplink", OURS, THEIRS);
        outside.route("0.0.0.0/0", OURS);
        let heard = knarr_network::Namespace::run(outside.netns.as_fd(), || {
            Ok(std::net::UdpSocket::bind("0.0.0.0:7").unwrap())
        })
        .unwrap();
        heard.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let here = std::net::UdpSocket::bind("203.0.113.1:7").unwrap();
        here.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let bridge = Rtnetlink::open()
            .unwrap()
            .links()
            .unwrap()
            .into_iter()
            .find(|l| l.name.starts_with("kb"))
            .unwrap();
        let mac = bridge.mac.unwrap().map(|b| format!("{b:02x}")).join(":");
        let evil = &all[2];
        // The bridge's own address instead of the gateway's.
        let mut inside = knarr_network::Namespace::enter(evil.netns.as_fd()).unwrap();
        let eth0 = inside.rtnetlink().link("eth0").unwrap().unwrap().index;
        let gateway: IpAddr = Ipv4Addr::new(172, 31, 255, 1).into();
        inside
            .rtnetlink()
            .change(vec![
                knarr_netlink::route::add("172.31.255.1/32".parse().unwrap(), None, eth0),
                knarr_netlink::route::add("203.0.113.0/24".parse().unwrap(), Some(gateway), eth0),
            ])
            .unwrap();
        let status = knarr_network::Namespace::run(evil.netns.as_fd(), || {
            let neighbour = ["neigh", "add", "172.31.255.1", "lladdr", &mac, "dev", "eth0"];
            let status = std::process::Command::new("ip").args(neighbour).status();
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", "203.0.113.9:7").unwrap();
            socket.send_to(b"x", "203.0.113.1:7").unwrap();
            Ok(status)
        });
        assert!(status.unwrap().unwrap().success());
        let mut buffer = [0; 8];
        assert!(heard.recv(&mut buffer).is_err(), "it got out of a closed network");
        assert!(here.recv(&mut buffer).is_err(), "it reached the host around its own bridge");
    });
}

#[test]
fn further_bridges_survive_the_engine_and_are_healed() {
    on_host(|world| {
        let store = world.store("db");
        let engine = Networks::open(store.clone(), config()).unwrap();
        engine.restore(&[]).unwrap();
        let before = links();
        let all: Vec<Connected> = (0..5).map(|_| engine.connect(&request("bridge")).unwrap()).collect();
        all.iter().for_each(|c| serve(c.netns.as_fd(), 80));
        let works = |n: usize| ask(all[0].netns.as_fd(), &format!("{}:80", address_of(&all[n]))).is_some();
        assert!(works(4));
        drop(engine);
        assert!(works(4), "while no engine runs");
        let alive: Vec<_> = all.iter().map(|c| c.endpoint.container.clone()).collect();
        let engine = Networks::open(store.clone(), config()).unwrap();
        assert_eq!(engine.restore(&alive).unwrap(), Vec::<String>::new());
        assert!(works(4));
        for name in links().into_iter().filter(|l| l.starts_with("kb") || l.starts_with("kt")) {
            // One end of a trunk goes with the other.
            let _ = Rtnetlink::open().unwrap().change(vec![link::delete(&name)]);
        }
        assert!(!works(4));
        engine.heal().unwrap();
        assert!(works(2) && works(4), "healed");
        Rtnetlink::open().unwrap().change(vec![link::delete("knarr0")]).unwrap();
        engine.heal().unwrap();
        assert!(works(1) && works(4), "healed from the first on");
        drop(engine);
        // The last one's bridge has nobody any more.
        let engine = Networks::open(store, config()).unwrap();
        engine.restore(&alive[..4]).unwrap();
        assert_eq!(links().iter().filter(|l| l.starts_with("kb")).count(), 1, "{:?}", links());
        assert!(works(3));
        alive[..4].iter().for_each(|c| engine.release(c).unwrap());
        drop(all);
        engine.shutdown().unwrap();
        let gone = |l: &String| before.contains(l) && l != "knarr0";
        eventually("the host is as it was", || links().iter().all(gone));
    });
}

/// With the real limit: more containers than the kernel gives ports to a bridge.
#[test]
fn more_containers_than_a_bridge_has_ports() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let mut times = Vec::new();
        let connect = |n: u16| {
            let started = Instant::now();
            let wanted = EndpointRequest {
                ports: vec![publish(Some("127.0.0.1"), 20_000 + n, 80)].into(),
                ..request("bridge")
            };
            let connected = engine.connect(&wanted).unwrap();
            times.push(started.elapsed());
            connected
        };
        let all: Vec<Connected> = (0..MANY).map(connect).collect();
        let sum = |times: &[Duration]| times.iter().sum::<Duration>();
        eprintln!(
            "{MANY}: {:?}; the first hundred {:?}, the last {:?}",
            sum(&times),
            sum(&times[..100]),
            sum(&times[times.len() - 100..])
        );
        assert_eq!(masters(), 2);
        let last = all.last().unwrap();
        serve(last.netns.as_fd(), 80);
        assert!(ask(all[0].netns.as_fd(), &format!("{}:80", address_of(last))).is_some());
        assert!(ask_here(&format!("{}:80", address_of(last))).is_some());
        // Ports come free with those that end, however slowly the kernel takes their namespaces down.
        let first: Vec<_> = all.iter().take(50).map(|c| c.endpoint.container.clone()).collect();
        first.iter().for_each(|c| engine.release(c).unwrap());
        for _ in 0..50 {
            engine.connect(&request("bridge")).unwrap();
        }
    });
}
