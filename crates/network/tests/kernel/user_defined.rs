//! User-defined networks: isolation, internal, options, errors.
use crate::world::{address_of, ask, ask_here, on_both_hosts, on_host, publish, request, serve, unreachable};
use knarr_base::{ErrorKind, Kind};
use knarr_network::{AddressConfig, CreateNetwork, EndpointRequest, Error, Namespace, Networks};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

fn create(engine: &Networks, name: &str) -> knarr_network::Network {
    engine.create(&CreateNetwork { name: name.into(), ..Default::default() }).unwrap()
}

#[test]
fn networks_are_apart_but_published_ports_serve_all() {
    on_both_hosts(|world| {
        let engine = world.engine("aaaa");
        let (red, blue) = (create(&engine, "red"), create(&engine, "blue"));
        assert_eq!(red.subnets[0].subnet.to_string(), "172.18.0.0/16");
        assert_eq!(blue.subnets[0].subnet.to_string(), "172.19.0.0/16");
        let a = engine.connect(&request("red")).unwrap();
        let b = engine
            .connect(&EndpointRequest {
                ports: vec![publish(None, 8080, 80)].into(),
                ..request(blue.id.short())
            })
            .unwrap();
        serve(b.netns.as_fd(), 80);
        assert!(unreachable(a.netns.as_fd(), "172.19.0.2:80"));
        assert_eq!(
            ask(a.netns.as_fd(), "172.18.0.1:8080").as_deref(),
            Some("172.18.0.2"),
            "under its own address"
        );

        // One container on both.
        let wanted = EndpointRequest {
            network: "blue".into(),
            default4: false,
            default6: false,
            ..EndpointRequest::new(a.endpoint.container.clone(), "a", "")
        };
        let second = engine.connect_in(&wanted, a.netns.as_fd()).unwrap();
        assert_eq!(
            (second.interface.as_str(), second.ipv4.unwrap().to_string().as_str()),
            ("eth1", "172.19.0.3")
        );
        assert_eq!(ask(a.netns.as_fd(), "172.19.0.2:80").as_deref(), Some("172.19.0.3"));
        assert_eq!(engine.endpoints(&a.endpoint.container).unwrap().len(), 2);
        let text = engine.connect_in(&wanted, a.netns.as_fd()).unwrap_err().to_string();
        assert_eq!(text, "endpoint with name a already exists in network blue");
        engine.disconnect(&a.endpoint.container, "blue", a.netns.as_fd()).unwrap();
        assert!(unreachable(a.netns.as_fd(), "172.19.0.2:80"));
        assert!(matches!(
            engine.disconnect(&a.endpoint.container, "blue", a.netns.as_fd()),
            Err(Error::NotConnected { .. })
        ));
    });
}

#[test]
fn an_internal_network_has_no_way_out_nor_in() {
    on_both_hosts(|world| {
        let outside = world.machine("uplink", Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 9));
        serve(outside.netns.as_fd(), 80);
        let engine = world.engine("aaaa");
        engine.create(&CreateNetwork { name: "vault".into(), internal: true, ..Default::default() }).unwrap();
        let a = engine
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("vault") })
            .unwrap();
        let b = engine.connect(&request("vault")).unwrap();
        assert_eq!((a.endpoint.gateway, a.endpoint.ports.len()), (None, 0));
        serve(a.netns.as_fd(), 80);
        assert!(ask(b.netns.as_fd(), &format!("{}:80", address_of(&a))).is_some());
        assert!(unreachable(b.netns.as_fd(), "203.0.113.9:80"));
        // Even with a route that the container's root added, and one back.
        outside.route("172.18.0.0/16", Ipv4Addr::new(203, 0, 113, 1));
        let mut inside = Namespace::enter(b.netns.as_fd()).unwrap();
        let index = inside.rtnetlink().link("eth0").unwrap().unwrap().index;
        let gateway = engine.inspect("vault").unwrap().subnets[0].gateway;
        inside.rtnetlink().change(vec![knarr_netlink::route::add_default(gateway, index)]).unwrap();
        assert!(unreachable(b.netns.as_fd(), "203.0.113.9:80"));
    });
}

#[test]
fn without_icc_containers_are_apart_on_one_bridge() {
    on_both_hosts(|world| {
        let engine = world.engine("aaaa");
        let options = [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into();
        engine.create(&CreateNetwork { name: "apart".into(), options, ..Default::default() }).unwrap();
        let a = engine
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("apart") })
            .unwrap();
        let b = engine.connect(&request("apart")).unwrap();
        serve(a.netns.as_fd(), 80);
        assert!(unreachable(b.netns.as_fd(), &format!("{}:80", address_of(&a))));
        assert!(ask_here(&format!("{}:80", address_of(&a))).is_some(), "the host reaches it");
    });
}

#[test]
fn chosen_addresses_names_and_sizes() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let options = [
            ("com.docker.network.bridge.name".to_owned(), "mybridge".to_owned()),
            ("com.docker.network.driver.mtu".to_owned(), "1300".to_owned()),
        ];
        let subnet = AddressConfig {
            subnet: Some("10.77.0.0/16".parse().unwrap()),
            gateway: Some("10.77.0.254".parse().unwrap()),
            ip_range: Some("10.77.5.0/24".parse().unwrap()),
            ..Default::default()
        };
        let wanted = CreateNetwork {
            name: "mine".into(),
            options: options.into(),
            subnets: vec![subnet],
            ..Default::default()
        };
        engine.create(&wanted).unwrap();
        let a = engine.connect(&request("mine")).unwrap();
        assert_eq!(address_of(&a), "10.77.5.0");
        let fixed = EndpointRequest {
            ipv4: Some("10.77.0.7".parse().unwrap()),
            mac: Some("02:11:22:33:44:55".parse().unwrap()),
            ..request("mine")
        };
        let b = engine.connect(&fixed).unwrap();
        let mut inside = Namespace::enter(b.netns.as_fd()).unwrap();
        let link = inside.rtnetlink().link("eth0").unwrap().unwrap();
        assert_eq!((link.mtu, link.mac), (1300, Some([2, 0x11, 0x22, 0x33, 0x44, 0x55])));
        assert!(knarr_netlink::Rtnetlink::open().unwrap().link("mybridge").unwrap().is_some());
        let text =
            engine.connect(&EndpointRequest { ipv4: fixed.ipv4, ..request("mine") }).unwrap_err().to_string();
        assert_eq!(text, "Address already in use");
    });
}

#[test]
fn what_is_wrong_is_said_and_leaves_nothing() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let made = create(&engine, "net");
        let refuse = |request: CreateNetwork| engine.create(&request).unwrap_err();
        let named = |name: &str| CreateNetwork { name: name.into(), ..Default::default() };
        let cases = [
            (refuse(named("net")), ErrorKind::Conflict, "network with name net already exists"),
            (
                refuse(named("bridge")),
                ErrorKind::Forbidden,
                "operation is not permitted on predefined bridge network ",
            ),
            (
                refuse(CreateNetwork { driver: "overlay2".into(), ..named("x") }),
                ErrorKind::NotFound,
                "plugin \"overlay2\" not found",
            ),
            (
                engine.remove("none").unwrap_err(),
                ErrorKind::Forbidden,
                "none is a pre-defined network and cannot be removed",
            ),
            (engine.remove("nowhere").unwrap_err(), ErrorKind::NotFound, "network nowhere not found"),
            (
                engine.connect(&request("nowhere")).unwrap_err(),
                ErrorKind::NotFound,
                "network nowhere not found",
            ),
        ];
        for (error, kind, text) in cases {
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
        let mut wanted = request("bridge");
        wanted.ipv4 = Some("172.17.0.9".parse().unwrap());
        assert_eq!(
            engine.connect(&wanted).unwrap_err().to_string(),
            "invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"
        );
        let optioned = |name: &str, value: &str| {
            refuse(CreateNetwork { options: [(name.to_owned(), value.to_owned())].into(), ..named("o") })
        };
        let error = optioned("com.docker.network.driver.mtu", "abc");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.to_string().starts_with("failed to parse com.docker.network.driver.mtu value: abc ("),
            "{error}"
        );
        let error = optioned("com.docker.network.bridge.name", "knarr0").to_string();
        assert!(error.ends_with("(knarr0): networks have same bridge name"), "{error}");
        let overlapping =
            AddressConfig { subnet: Some("172.18.4.0/24".parse().unwrap()), ..Default::default() };
        let error = refuse(CreateNetwork { subnets: vec![overlapping], ..named("y") });
        assert_eq!(
            error.to_string(),
            "invalid pool request: Pool overlaps with other one on this address space"
        );

        let user = engine.connect(&request("net")).unwrap();
        let error = engine.remove("net").unwrap_err();
        assert!(
            error.to_string().starts_with("error while removing network: network net has active endpoints ("),
            "{error}"
        );
        engine.release(&user.endpoint.container).unwrap();
        engine.remove("net").unwrap();
        let links = knarr_netlink::Rtnetlink::open().unwrap().links().unwrap();
        assert!(!links.iter().any(|l| l.name == made.bridge));
        let names: Vec<String> = engine.list().unwrap().into_iter().map(|n| n.name).collect();
        assert_eq!(names.len(), 3, "{names:?}");

        create(&engine, "keep");
        create(&engine, "drop");
        assert_eq!(engine.prune(&|n| n.name != "keep").unwrap(), ["drop"]);
    });
}

#[test]
fn none_has_loopback_only_and_names_are_found() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let none = engine.connect(&request("none")).unwrap();
        let links = Namespace::enter(none.netns.as_fd()).unwrap().rtnetlink().links().unwrap();
        assert!(links.iter().all(|l| l.name == "lo" || !l.up), "{links:?}");
        assert_eq!(none.endpoint.ipv4, None);

        create(&engine, "net");
        let a = engine.connect(&EndpointRequest { aliases: vec!["db".into()], ..request("net") }).unwrap();
        let b = engine.connect(&request("net")).unwrap();
        let find = |name: &str| {
            engine.with_names(|n| n.addresses(&b.endpoint.container, name).map(<[IpAddr]>::to_vec))
        };
        let found = Some(a.endpoint.addresses().collect());
        assert_eq!(find("db"), found);
        engine.rename(&a.endpoint.container, "fresh").unwrap();
        assert_eq!(find("fresh"), found);
        engine.release(&a.endpoint.container).unwrap();
        assert_eq!(find("fresh"), None);
    });
}
