//! Ports that are published for some senders only.
use crate::oracle::agrees;
use crate::world::{
    Machine, World, add_ipv6, address_of, ask, ask_here, on_both_hosts, on_host, publish, request, serve,
    serve_both, unreachable,
};
use knarr_network::{
    AddressConfig, CreateNetwork, EndpointRequest, NetworkConfig, Networks, PortBinding, Ports, Scope,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

fn scope(text: &str) -> Scope {
    Scope::parse(text.split('+')).unwrap()
}

fn only(sources: &str, port: PortBinding) -> PortBinding {
    PortBinding { scope: Some(scope(sources)), ..port }
}

/// A machine inside of the lists of these tests, and one outside.
fn machines(world: &World) -> (Machine, Machine) {
    let inside = world.machine("up0", [10, 9, 0, 1].into(), [10, 9, 0, 2].into());
    let outside = world.machine("up1", [203, 0, 113, 1].into(), [203, 0, 113, 9].into());
    (inside, outside)
}

fn on(network: &str, ports: Vec<PortBinding>) -> EndpointRequest {
    EndpointRequest { ports: ports.into(), ..request(network) }
}

fn dual(engine: &Networks, options: &[(&str, &str)]) {
    let subnet = |text: &str| AddressConfig { subnet: Some(text.parse().unwrap()), ..Default::default() };
    let subnets = vec![subnet("10.50.0.0/24"), subnet("fd00:50::/64")];
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let request =
        CreateNetwork { name: "dual".into(), ipv6: Some(true), subnets, options, ..Default::default() };
    engine.create(&request).unwrap();
}

#[test]
fn a_port_for_some_is_not_there_for_others() {
    on_both_hosts(|world| {
        let (inside, outside) = machines(world);
        let engine = world.engine("aaaa");
        let web = engine
            .connect(&on(
                "bridge",
                vec![only("10.0.0.0/8", publish(None, 8080, 80)), publish(None, 8081, 80)],
            ))
            .unwrap();
        let neighbour = engine.connect(&request("bridge")).unwrap();
        serve(web.netns.as_fd(), 80);
        assert_eq!(ask(inside.netns.as_fd(), "10.9.0.1:8080").as_deref(), Some("10.9.0.2"));
        assert!(unreachable(outside.netns.as_fd(), "203.0.113.1:8080"));
        assert!(unreachable(neighbour.netns.as_fd(), "172.17.0.1:8080"), "hairpin from a neighbour");
        assert!(unreachable(web.netns.as_fd(), "172.17.0.1:8080"), "hairpin from itself");
        assert!(
            ask(neighbour.netns.as_fd(), &format!("{}:80", address_of(&web))).is_some(),
            "by its address"
        );
        // The host itself, and the port for everybody.
        for to in ["127.0.0.1:8080", "203.0.113.1:8080", "172.17.0.1:8080", "127.0.0.1:8081"] {
            assert!(ask_here(to).is_some(), "{to} from the host");
        }
        assert!(ask(outside.netns.as_fd(), "203.0.113.1:8081").is_some());
        assert!(ask(neighbour.netns.as_fd(), "172.17.0.1:8081").is_some());
        agrees(&engine, "knarr-aaaa", &["ip"]);
        // Nothing of it is left for the next one at the same port.
        engine.release(&web.endpoint.container).unwrap();
        let next = engine.connect(&on("bridge", vec![publish(None, 8080, 80)])).unwrap();
        serve(next.netns.as_fd(), 80);
        assert!(ask(outside.netns.as_fd(), "203.0.113.1:8080").is_some());
    });
}

/// A free port of the kernel's choice is held by a listening socket: an outsider gets no answer from it either.
#[test]
fn a_limited_port_that_the_kernel_chose_is_closed_for_others() {
    on_host(|world| {
        let (inside, outside) = machines(world);
        let engine = world.engine("aaaa");
        let web = engine.connect(&on("bridge", vec![only("10.0.0.0/8", publish(None, 0, 80))])).unwrap();
        serve(web.netns.as_fd(), 80);
        let port = web.endpoint.ports[0].host_port;
        assert!(ask(inside.netns.as_fd(), &format!("10.9.0.1:{port}")).is_some());
        assert!(unreachable(outside.netns.as_fd(), &format!("203.0.113.1:{port}")));
    });
}

#[test]
fn lists_hold_in_both_families() {
    on_host(|world| {
        let (inside, outside) = machines(world);
        add_ipv6("up0", "2001:db8:1::1/64", &inside, "2001:db8:1::2/64");
        add_ipv6("up1", "2001:db8:2::1/64", &outside, "2001:db8:2::2/64");
        let engine = world.engine("aaaa");
        dual(&engine, &[]);
        let ports = vec![
            only("10.0.0.0/8+2001:db8:1::/64", publish(None, 8080, 80)),
            only("10.0.0.0/8", publish(None, 8081, 80)),
        ];
        let web = engine.connect(&on("dual", ports)).unwrap();
        serve_both(web.netns.as_fd(), 80);
        assert!(ask(inside.netns.as_fd(), "10.9.0.1:8080").is_some());
        assert!(ask(inside.netns.as_fd(), "[2001:db8:1::1]:8080").is_some());
        assert!(unreachable(outside.netns.as_fd(), "203.0.113.1:8080"));
        assert!(unreachable(outside.netns.as_fd(), "[2001:db8:2::1]:8080"));
        // A list of IPv4 alone is for nobody of IPv6 but the host.
        assert!(unreachable(inside.netns.as_fd(), "[2001:db8:1::1]:8081"));
        assert!(ask_here("[2001:db8:1::1]:8081").is_some());
        agrees(&engine, "knarr-aaaa", &["ip", "ip6"]);
    });
}

#[test]
fn opened_ports_obey_their_list_too() {
    on_host(|world| {
        let (inside, outside) = machines(world);
        let engine = world.engine("aaaa");
        dual(&engine, &[("com.docker.network.bridge.gateway_mode_ipv4", "routed")]);
        let web = engine.connect(&on("dual", vec![only("10.9.0.0/24", publish(None, 80, 80))])).unwrap();
        serve_both(web.netns.as_fd(), 80);
        inside.route("10.50.0.0/24", std::net::Ipv4Addr::new(10, 9, 0, 1));
        outside.route("10.50.0.0/24", std::net::Ipv4Addr::new(203, 0, 113, 1));
        assert!(ask(inside.netns.as_fd(), "10.50.0.2:80").is_some());
        assert!(unreachable(outside.netns.as_fd(), "10.50.0.2:80"));
        agrees(&engine, "knarr-aaaa", &["ip", "ip6"]);
    });
}

/// A port's own list, then the container's, the network's, the daemon's.
#[test]
fn whose_word_counts() {
    on_host(|world| {
        let config = NetworkConfig {
            engine_id: "aaaa".into(),
            publish_scope: Scope::Only(Vec::new()),
            ..NetworkConfig::default()
        };
        let engine = world.engine_with(config);
        dual(&engine, &[("io.knarr.publish.sources", "10.9.0.0/24")]);
        let of = |network: &str, own: Option<&str>, container: Option<&str>| {
            let binding = PortBinding { scope: own.map(scope), ..publish(Some("127.0.0.1"), 0, 80) };
            let ports = Ports { bindings: vec![binding], scope: container.map(scope), ..Ports::default() };
            let connected = engine.connect(&EndpointRequest { ports, ..request(network) }).unwrap();
            connected.endpoint.ports[0].scope.words().join(" ")
        };
        assert_eq!(of("bridge", None, None), "loopback");
        assert_eq!(of("dual", None, None), "10.9.0.0/24");
        assert_eq!(of("dual", None, Some("192.0.2.0/24")), "192.0.2.0/24");
        assert_eq!(of("dual", Some("192.0.2.7"), Some("any")), "192.0.2.7/32");
        assert_eq!(of("bridge", Some("any"), None), "");
    });
}

/// Connections outlive everything that happens to the ports of others, and to the table.
#[test]
fn connections_of_others_go_on() {
    on_host(|world| {
        let (inside, outside) = machines(world);
        let engine = world.engine("aaaa");
        let web = engine.connect(&on("bridge", vec![publish(None, 8080, 80)])).unwrap();
        let listener = knarr_network::Namespace::run(web.netns.as_fd(), || {
            Ok(std::net::TcpListener::bind("0.0.0.0:80").unwrap())
        })
        .unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
        let to = "203.0.113.1:8080".parse().unwrap();
        let mut stream = knarr_network::Namespace::run(outside.netns.as_fd(), || {
            Ok(TcpStream::connect_timeout(&to, crate::world::TIMEOUT).unwrap())
        })
        .unwrap();
        stream.set_read_timeout(Some(crate::world::TIMEOUT)).unwrap();
        let mut alive = || {
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).expect("the connection goes on");
        };
        alive();
        let limited =
            engine.connect(&on("bridge", vec![only("10.0.0.0/8", publish(None, 9090, 80))])).unwrap();
        alive();
        serve(limited.netns.as_fd(), 80);
        assert!(ask(inside.netns.as_fd(), "10.9.0.1:9090").is_some());
        engine.release(&limited.endpoint.container).unwrap();
        alive();
        engine.heal().unwrap();
        alive();
        drop(stream);
        echo.join().unwrap();
    });
}
