//! Modes of the gateway, and which endpoint of a container has it.
use crate::world::{Machine, World, ask, on_host, publish, request, serve, unreachable};
use knarr_network::{
    AddressConfig, CreateNetwork, EndpointRequest, Namespace, NetworkConfig, Networks, Ports, option,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn create(engine: &Networks, name: &str, subnet: &str, options: &[(&str, &str)]) {
    let subnets = vec![AddressConfig { subnet: Some(subnet.parse().unwrap()), ..Default::default() }];
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    engine.create(&CreateNetwork { name: name.into(), subnets, options, ..Default::default() }).unwrap();
}

/// A machine that knows the way to the containers' own addresses.
fn outside(world: &World, cable: &str) -> Machine {
    let machine = world.machine(cable, HOST, [192, 0, 2, 2].into());
    machine.route("10.0.0.0/8", HOST);
    machine
}

#[test]
fn routed_containers_are_reached_by_their_own_address_at_opened_ports() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = outside(world, "up0");
        create(&engine, "routed", "10.60.0.0/24", &[(option::GATEWAY_MODE_V4, "routed")]);
        let wanted = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("routed") };
        let web = engine.connect(&wanted).unwrap();
        serve(web.netns.as_fd(), 80);
        serve(web.netns.as_fd(), 81);
        assert_eq!(web.endpoint.ports[0].host_port, 0, "no port of the host");
        assert_eq!(ask(machine.netns.as_fd(), "10.60.0.2:80").as_deref(), Some("192.0.2.2"));
        assert!(unreachable(machine.netns.as_fd(), "10.60.0.2:81"));
        assert!(unreachable(machine.netns.as_fd(), "192.0.2.1:8080"));
        serve(machine.netns.as_fd(), 82);
        assert_eq!(ask(web.netns.as_fd(), "192.0.2.2:82").as_deref(), Some("10.60.0.2"), "not masqueraded");
        let other = engine.connect(&request("bridge")).unwrap();
        assert!(ask(other.netns.as_fd(), "10.60.0.2:80").is_some(), "from other networks, too");
        assert!(unreachable(other.netns.as_fd(), "10.60.0.2:81"));
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
        engine.release(&web.endpoint.container).unwrap();
    });
}

#[test]
fn unprotected_trusted_and_direct() {
    on_host(|world| {
        let config = NetworkConfig { engine_id: "aaaa".into(), ..NetworkConfig::default() };
        let engine = world.engine_with(config);
        let machine = outside(world, "up0");
        create(&engine, "open", "10.61.0.0/24", &[(option::GATEWAY_MODE_V4, "nat-unprotected")]);
        create(&engine, "trusting", "10.62.0.0/24", &[(option::TRUSTED, "up0:up1")]);
        create(&engine, "plain", "10.63.0.0/24", &[]);
        let join = |network: &str, port| {
            let wanted = EndpointRequest { ports: vec![publish(None, port, 80)].into(), ..request(network) };
            let made = engine.connect(&wanted).unwrap();
            serve(made.netns.as_fd(), 80);
            serve(made.netns.as_fd(), 81);
            made
        };
        let kept = [join("open", 8081), join("trusting", 8082), join("plain", 8083)];
        let from = machine.netns.as_fd();
        assert!(ask(from, "10.61.0.2:80").is_some() && ask(from, "10.61.0.2:81").is_some());
        assert!(ask(from, "10.62.0.2:80").is_some(), "a published port, from a trusted interface");
        assert!(unreachable(from, "10.62.0.2:81"));
        assert!(unreachable(from, "10.63.0.2:80"), "published, but under the host's address only");
        assert!(unreachable(kept[2].netns.as_fd(), "10.61.0.2:81"), "networks stay apart");
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
        drop(engine);
        let direct =
            NetworkConfig { engine_id: "bbbb".into(), direct_routing: true, ..NetworkConfig::default() };
        let engine = world.engine_with(direct);
        create(&engine, "direct", "10.64.0.0/24", &[]);
        let wanted = EndpointRequest { ports: vec![publish(None, 8084, 80)].into(), ..request("direct") };
        let made = engine.connect(&wanted).unwrap();
        serve(made.netns.as_fd(), 80);
        serve(made.netns.as_fd(), 81);
        assert!(ask(from, "10.64.0.2:80").is_some() && unreachable(from, "10.64.0.2:81"));
    });
}

#[test]
fn packets_leave_under_the_address_that_the_network_names() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = outside(world, "up0");
        let mut host = knarr_netlink::Rtnetlink::open().unwrap();
        let index = host.link("up0").unwrap().unwrap().index;
        host.change(vec![knarr_netlink::address::add(index, "192.0.2.77/24".parse().unwrap())]).unwrap();
        create(&engine, "named", "10.65.0.0/24", &[(option::SOURCE_V4, "192.0.2.77")]);
        let a = engine.connect(&request("named")).unwrap();
        serve(machine.netns.as_fd(), 80);
        assert_eq!(ask(a.netns.as_fd(), "192.0.2.2:80").as_deref(), Some("192.0.2.77"));
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip"]);
    });
}

fn default_gateway(netns: BorrowedFd<'_>) -> Option<String> {
    let mut inside = Namespace::enter(netns).unwrap();
    let routes = inside.rtnetlink().routes().unwrap();
    let default = routes.iter().find(|r| r.destination.prefix_len() == 0 && r.destination.addr().is_ipv4());
    default.and_then(|r| r.gateway).map(|ip| ip.to_string())
}

/// Routes and ports move when a better network is joined, and back when it is left.
#[test]
fn the_gateway_moves_with_its_ports() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = outside(world, "up0");
        create(&engine, "low", "10.66.0.0/24", &[]);
        create(&engine, "high", "10.67.0.0/24", &[]);
        let ports = Ports::from(vec![publish(None, 8080, 80)]);
        let mut requests = vec![request("low")];
        engine.elect(&mut requests, &ports).unwrap();
        let web = engine.connect(&requests[0]).unwrap();
        serve(web.netns.as_fd(), 80);
        let id = web.endpoint.container.clone();
        assert_eq!(default_gateway(web.netns.as_fd()).as_deref(), Some("10.66.0.1"));
        let more = EndpointRequest {
            gw_priority: 1,
            default4: false,
            default6: false,
            ..EndpointRequest::new(id.clone(), "web", "high")
        };
        engine.connect_in(&more, web.netns.as_fd()).unwrap();
        engine.settle(&id, web.netns.as_fd(), &ports).unwrap();
        assert_eq!(default_gateway(web.netns.as_fd()).as_deref(), Some("10.67.0.1"));
        let with_ports = |engine: &Networks| {
            let all = engine.endpoints(&id).unwrap();
            all.into_iter().filter(|e| !e.ports.is_empty()).map(|e| e.network_name).collect::<Vec<_>>()
        };
        assert_eq!(with_ports(&engine), ["high"]);
        assert_eq!(ask(machine.netns.as_fd(), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
        engine.disconnect(&id, "high", web.netns.as_fd()).unwrap();
        engine.settle(&id, web.netns.as_fd(), &ports).unwrap();
        assert_eq!(default_gateway(web.netns.as_fd()).as_deref(), Some("10.66.0.1"));
        assert_eq!(with_ports(&engine), ["low"]);
        assert_eq!(ask(machine.netns.as_fd(), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
    });
}
