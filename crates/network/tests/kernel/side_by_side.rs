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
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)], ..request("bridge") })
            .unwrap();
        let b = two
            .connect(&EndpointRequest { ports: vec![publish(None, 8081, 80)], ..request("bridge") })
            .unwrap();
        assert_eq!((address_of(&a), address_of(&b)), ("172.17.0.2".into(), "172.18.0.2".into()));
        serve(a.netns.as_fd(), 80);
        serve(b.netns.as_fd(), 80);
        assert!(ask_here("127.0.0.1:8080").is_some() && ask_here("127.0.0.1:8081").is_some());
        assert!(unreachable(a.netns.as_fd(), "172.18.0.2:80"));
        assert!(ask(a.netns.as_fd(), "172.17.0.1:8081").is_some(), "by the published port");
        // A port that another engine has is taken.
        let taken = EndpointRequest { ports: vec![publish(None, 8080, 80)], ..request("bridge") };
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
