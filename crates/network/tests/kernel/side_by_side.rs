//! Several engines on one host.
use crate::world::{address_of, ask, ask_here, on_host, publish, request, serve, unreachable};
use knarr_network::{EndpointRequest, NetworkConfig};
use std::os::fd::AsFd;

#[test]
fn engines_do_not_touch_each_other() {
    on_host(|world| {
        let (one, two) = (world.engine("aaaa"), world.engine("bbbb"));
        let bridge = |engine: &knarr_network::Networks| engine.inspect("bridge").unwrap().bridge;
        assert_eq!((bridge(&one).as_str(), bridge(&two).as_str()), ("knarr0", "knarr-bbbb"));
        let a = one
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") })
            .unwrap();
        let b = two
            .connect(&EndpointRequest { ports: vec![publish(None, 8081, 80)].into(), ..request("bridge") })
            .unwrap();
        assert_eq!((address_of(&a), address_of(&b)), ("172.17.0.2".into(), "172.18.0.2".into()));
        serve(a.netns.as_fd(), 80);
        serve(b.netns.as_fd(), 80);
        assert!(ask_here("127.0.0.1:8080").is_some() && ask_here("127.0.0.1:8081").is_some());
        assert!(unreachable(a.netns.as_fd(), "172.18.0.2:80"));
        assert!(ask(a.netns.as_fd(), "172.17.0.1:8081").is_some(), "by the published port");
        // A port that another engine has is taken.
        let taken = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") };
        let text = two.connect(&taken).unwrap_err().to_string();
        assert!(text.ends_with("address already in use"), "{text}");

        one.release(&a.endpoint.container).unwrap();
        one.shutdown().unwrap();
        assert!(ask_here("127.0.0.1:8081").is_some(), "the end of one is nothing to the other");
    });
}

#[test]
fn bip_fixed_cidr_and_bridge_are_obeyed() {
    on_host(|world| {
        let engine = world.engine_with(NetworkConfig {
            engine_id: "aaaa".into(),
            bridge: Some("br-test".into()),
            bip: Some("10.200.0.1/24".parse().unwrap()),
            fixed_cidr: Some("10.200.0.128/25".parse().unwrap()),
            mtu: 1400,
            ..NetworkConfig::default()
        });
        let a = engine.connect(&request("bridge")).unwrap();
        assert_eq!((address_of(&a).as_str(), a.endpoint.prefix), ("10.200.0.128", 24));
        let network = engine.inspect("bridge").unwrap();
        assert_eq!(network.options["com.docker.network.bridge.name"], "br-test");
        assert_eq!(network.options["com.docker.network.driver.mtu"], "1400");
        serve(a.netns.as_fd(), 80);
        assert_eq!(ask_here("10.200.0.128:80").as_deref(), Some("10.200.0.1"));
    });
}

/// Many starts and ends at once: no address twice, nothing left.
#[test]
fn parallel_starts_and_ends() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 12;
    on_host(|world| {
        let engine = world.engine("aaaa");
        let before = knarr_netlink::Rtnetlink::open().unwrap().links().unwrap().len();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let port = u16::try_from(10_000 + thread * ROUNDS + round).unwrap();
                        let wanted = EndpointRequest {
                            ports: vec![publish(None, port, 80)].into(),
                            ..request("bridge")
                        };
                        let connected = engine.connect(&wanted).unwrap();
                        serve(connected.netns.as_fd(), 80);
                        let heard = ask_here(&format!("127.0.0.1:{port}"));
                        assert_eq!(heard.as_deref(), Some("172.17.0.1"), "port {port}");
                        if round % 2 == 0 {
                            engine.release(&wanted.container).unwrap();
                        }
                    }
                });
            }
        });
        let network = engine.inspect("bridge").unwrap();
        assert_eq!(network.containers.len(), THREADS * ROUNDS / 2);
        let addresses: std::collections::BTreeSet<_> = network.containers.values().map(|c| c.ipv4).collect();
        assert_eq!(addresses.len(), THREADS * ROUNDS / 2);
        for container in network.containers.keys() {
            engine.release(container).unwrap();
        }
        assert!(!engine.firewall_text().contains("tcp . 1"), "{}", engine.firewall_text());
        engine.restore(&[]).unwrap();
        assert_eq!(knarr_netlink::Rtnetlink::open().unwrap().links().unwrap().len(), before);
    });
}
