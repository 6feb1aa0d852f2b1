//! Links between containers that otherwise do not talk.
use crate::world::{address_of, ask, on_both_hosts, request, serve, unreachable};
use knarr_network::{Connected, EndpointRequest, NetworkConfig, Networks, Protocol, Reach};
use std::os::fd::AsFd;

#[test]
fn a_link_opens_the_ports_that_the_other_exposes_and_no_more() {
    on_both_hosts(|world| {
        // Also across bridges.
        let config = || NetworkConfig {
            engine_id: "aaaa".into(),
            icc: false,
            bridge_capacity: 2,
            ..NetworkConfig::default()
        };
        let store = world.store("db");
        let engine = Networks::open(store.clone(), config()).unwrap();
        engine.restore(&[]).unwrap();
        let first = request("bridge");
        let db = engine.connect(&first).unwrap();
        let reaches = vec![Reach { container: first.container.clone(), protocol: Protocol::Tcp, port: 80 }];
        let linked =
            |_| engine.connect(&EndpointRequest { reaches: reaches.clone(), ..request("bridge") }).unwrap();
        let linking: Vec<Connected> = (0..2).map(linked).collect();
        let other = engine.connect(&request("bridge")).unwrap();
        serve(db.netns.as_fd(), 80);
        serve(db.netns.as_fd(), 81);
        let (open, closed) = (format!("{}:80", address_of(&db)), format!("{}:81", address_of(&db)));
        let holds = || {
            for one in &linking {
                assert_eq!(ask(one.netns.as_fd(), &open), Some(address_of(one)));
                assert!(unreachable(one.netns.as_fd(), &closed));
                serve(one.netns.as_fd(), 80);
                assert!(unreachable(db.netns.as_fd(), &format!("{}:80", address_of(one))), "one way only");
                assert!(unreachable(other.netns.as_fd(), &format!("{}:80", address_of(one))));
            }
            assert!(unreachable(other.netns.as_fd(), &open));
        };
        holds();
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
        let alive: Vec<_> =
            linking.iter().chain([&db, &other]).map(|c| c.endpoint.container.clone()).collect();
        drop(engine);
        let engine = Networks::open(store, config()).unwrap();
        engine.restore(&alive).unwrap();
        assert_eq!(ask(linking[1].netns.as_fd(), &open), Some(address_of(&linking[1])), "after a restart");
        // Whoever gets the address next was not linked to.
        engine.release(&first.container).unwrap();
        assert!(!engine.firewall_text().contains("linked"), "{}", engine.firewall_text());
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
        let proxied = std::fs::read_to_string("/proc/sys/net/ipv4/conf/knarr0/proxy_arp_pvlan").unwrap();
        assert_eq!(proxied.trim(), "0");
    });
}
