//! The default bridge: addresses, reachability, masquerade.
use crate::world::{
    address_of, ask, ask_here, on_both_hosts, on_host, request, serve, serve_both, unreachable,
};
use knarr_netlink::Rtnetlink;
use knarr_network::{CreateNetwork, Namespace};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

#[test]
fn containers_reach_host_each_other_and_the_world() {
    on_both_hosts(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let a = engine.connect(&request("bridge")).unwrap();
        let b = engine.connect(&request("bridge")).unwrap();
        assert_eq!((address_of(&a), address_of(&b)), ("172.17.0.2".into(), "172.17.0.3".into()));
        assert_eq!(a.endpoint.mac.unwrap().to_string(), "02:42:ac:11:00:02");
        assert_eq!(a.endpoint.gateway.unwrap().to_string(), "172.17.0.1");

        serve(b.netns.as_fd(), 80);
        assert_eq!(
            ask(a.netns.as_fd(), "172.17.0.3:80").as_deref(),
            Some("172.17.0.2"),
            "between containers"
        );
        assert_eq!(ask_here("172.17.0.3:80").as_deref(), Some("172.17.0.1"), "from the host");

        serve(outside.netns.as_fd(), 80);
        assert_eq!(ask(a.netns.as_fd(), "203.0.113.9:80").as_deref(), Some("203.0.113.1"), "masqueraded");

        // Another machine with a route to the containers gets nowhere: nothing is published.
        outside.route("172.17.0.0/16", OURS);
        assert!(unreachable(outside.netns.as_fd(), "172.17.0.3:80"));
    });
}

#[test]
fn no_ipv6_on_an_ipv4_network() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let a = engine.connect(&request("bridge")).unwrap();
        let mut inside = Namespace::enter(a.netns.as_fd()).unwrap();
        let index = inside.rtnetlink().link("eth0").unwrap().unwrap().index;
        let addresses = inside.rtnetlink().addresses().unwrap();
        let on_eth0: Vec<String> =
            addresses.iter().filter(|x| x.link == index).map(|x| x.net.to_string()).collect();
        assert_eq!(on_eth0, ["172.17.0.2/16"]);
    });
}

/// A port of a bridge and nothing else: with IPv6 the kernel would go through the routes of all ports whenever one comes or goes.
#[test]
fn the_hosts_end_of_a_container_has_no_ipv6() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let dual = CreateNetwork { name: "dual".into(), ipv6: Some(true), ..CreateNetwork::default() };
        engine.create(&dual).unwrap();
        for network in ["bridge", "dual"] {
            let connected = engine.connect(&request(network)).unwrap();
            let mut host = Rtnetlink::open().unwrap();
            let port = host.link(&connected.endpoint.host_interface).unwrap().unwrap();
            assert!(port.master.is_some() && port.up);
            serve_both(connected.netns.as_fd(), 80);
            assert!(ask_here(&format!("{}:80", connected.endpoint.ipv4.unwrap())).is_some());
            let own = host.addresses().unwrap().into_iter().filter(|a| a.link == port.index).count();
            let routes = host.routes().unwrap().into_iter().filter(|r| r.link == Some(port.index)).count();
            assert_eq!((own, routes), (0, 0), "{network}");
            if let Some(six) = connected.endpoint.ipv6 {
                assert!(ask_here(&format!("[{six}]:80")).is_some(), "the container has");
            }
        }
    });
}

#[test]
fn an_ended_container_leaves_nothing() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let wanted = request("bridge");
        let first = engine.connect(&wanted).unwrap();
        assert_eq!(engine.inspect("bridge").unwrap().containers.len(), 1);
        engine.release(&wanted.container).unwrap();
        engine.release(&wanted.container).unwrap();
        assert_eq!(engine.inspect("bridge").unwrap().containers.len(), 0);
        // Starts again while its former namespace still lives.
        let again = engine.connect(&wanted).unwrap();
        assert_ne!(again.endpoint.ipv4, first.endpoint.ipv4, "an address is not used again at once");
        serve(again.netns.as_fd(), 80);
        assert!(ask_here(&format!("{}:80", address_of(&again))).is_some());
    });
}
