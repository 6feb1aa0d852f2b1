//! Published ports, from everywhere.
use crate::world::{
    address_of, ask, ask_here, give_up_loopback, on_both_hosts, on_host, publish, request, serve, unreachable,
};
use knarr_network::{EndpointRequest, ExposedPort, PortBinding, PortRange, Protocol};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn with_ports(ports: Vec<PortBinding>) -> EndpointRequest {
    EndpointRequest { ports: ports.into(), ..request("bridge") }
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_both_hosts(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let web = engine.connect(&with_ports(vec![publish(None, 8080, 80)])).unwrap();
        let other = engine.connect(&request("bridge")).unwrap();
        serve(web.netns.as_fd(), 80);
        serve(web.netns.as_fd(), 81);
        let published = &web.endpoint.ports[0];
        assert_eq!((published.host_ip.to_string().as_str(), published.host_port), ("0.0.0.0", 8080));

        assert_eq!(
            ask(outside.netns.as_fd(), "203.0.113.1:8080").as_deref(),
            Some("203.0.113.9"),
            "from another machine, under its own address"
        );
        assert_eq!(ask_here("203.0.113.1:8080").as_deref(), Some("203.0.113.1"), "from the host");
        assert_eq!(ask_here("127.0.0.1:8080").as_deref(), Some("172.17.0.1"), "from the host's loopback");
        assert_eq!(
            ask(other.netns.as_fd(), "203.0.113.1:8080").as_deref(),
            Some("172.17.0.1"),
            "from a neighbour"
        );
        assert_eq!(
            ask(other.netns.as_fd(), "172.17.0.1:8080").as_deref(),
            Some("172.17.0.1"),
            "by the gateway"
        );
        assert_eq!(ask(web.netns.as_fd(), "172.17.0.1:8080").as_deref(), Some("172.17.0.1"), "from itself");

        // Not published, or not by the host's address.
        outside.route("172.17.0.0/16", OURS);
        assert!(unreachable(outside.netns.as_fd(), "203.0.113.1:81"));
        assert!(unreachable(outside.netns.as_fd(), "172.17.0.2:80"));
        assert!(unreachable(outside.netns.as_fd(), "172.17.0.2:8080"));

        engine.release(&web.endpoint.container).unwrap();
        assert!(unreachable(outside.netns.as_fd(), "203.0.113.1:8080"), "gone with the container");
        TcpListener::bind("0.0.0.0:8080").expect("the port is free again");
    });
}

#[test]
fn a_port_on_loopback_stays_there() {
    on_both_hosts(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let web = engine.connect(&with_ports(vec![publish(Some("127.0.0.1"), 8080, 80)])).unwrap();
        let other = engine.connect(&request("bridge")).unwrap();
        serve(web.netns.as_fd(), 80);
        assert!(ask_here("127.0.0.1:8080").is_some());
        assert!(unreachable(outside.netns.as_fd(), "203.0.113.1:8080"));
        assert!(unreachable(other.netns.as_fd(), "172.17.0.1:8080"));
        // Other programs (kube-proxy) turn this on for all of the host's interfaces.
        std::fs::write("/proc/sys/net/ipv4/conf/uplink/route_localnet", "1").unwrap();
        give_up_loopback(outside.netns.as_fd(), OURS);
        assert!(unreachable(outside.netns.as_fd(), "127.0.0.1:8080"));
    });
}

/// CVE-2020-8558: with `route_localnet`, neighbours could reach services on the host's loopback.
#[test]
fn containers_do_not_reach_the_hosts_loopback() {
    on_both_hosts(|world| {
        let engine = world.engine("aaaa");
        engine.connect(&with_ports(vec![publish(Some("127.0.0.1"), 8080, 80)])).unwrap();
        let evil = engine.connect(&request("bridge")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:9000").unwrap();
        std::thread::spawn(move || while listener.accept().is_ok() {});
        give_up_loopback(evil.netns.as_fd(), [172, 17, 0, 1].into());
        assert!(unreachable(evil.netns.as_fd(), "127.0.0.1:9000"));
        assert!(unreachable(evil.netns.as_fd(), "127.0.0.1:8080"));
    });
}

#[test]
fn a_taken_port_fails_with_dockers_words_and_leaves_nothing() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let _foreign = TcpListener::bind("0.0.0.0:8080").unwrap();
        let mut wanted = with_ports(vec![publish(None, 8081, 81), publish(None, 8080, 80)]);
        wanted.container_name = "web".into();
        let text = engine.connect(&wanted).unwrap_err().to_string();
        let (head, tail) = text.split_once('(').unwrap();
        assert_eq!(head, "driver failed programming external connectivity on endpoint web ");
        let (id, reason) = tail.split_once("): ").unwrap();
        assert_eq!(id.len(), 64);
        assert_eq!(
            reason,
            "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use"
        );
        assert!(engine.inspect("bridge").unwrap().containers.is_empty());
        TcpListener::bind("0.0.0.0:8081").expect("nothing is held after a failure");

        let first = engine.connect(&with_ports(vec![publish(None, 8081, 80)])).unwrap();
        let text =
            engine.connect(&with_ports(vec![publish(Some("127.0.0.1"), 8081, 80)])).unwrap_err().to_string();
        assert!(text.ends_with("Bind for 127.0.0.1:8081 failed: port is already allocated"), "{text}");
        assert!(TcpListener::bind("0.0.0.0:8081").is_err(), "held while the container runs");
        let other = world.engine("bbbb");
        let text = other.connect(&with_ports(vec![publish(None, 8081, 80)])).unwrap_err().to_string();
        assert!(text.ends_with("address already in use"), "another engine: {text}");
        engine.release(&first.endpoint.container).unwrap();
        other.connect(&with_ports(vec![publish(None, 8081, 80)])).unwrap();
    });
}

#[test]
fn free_ports_are_found_and_ranges_are_ranges() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let mut wanted = with_ports(vec![publish(None, 0, 80)]);
        wanted.ports.exposed = vec![
            ExposedPort { protocol: Protocol::Tcp, port: 80 },
            ExposedPort { protocol: Protocol::Udp, port: 53 },
        ];
        wanted.ports.publish_all = true;
        let all = engine.connect(&wanted).unwrap();
        assert_eq!(all.endpoint.ports.len(), 4, "80 is bound once, for IPv4 and IPv6");
        assert!(all.endpoint.ports.iter().all(|p| p.host_port >= 32768));
        serve(all.netns.as_fd(), 80);
        let tcp = all.endpoint.ports.iter().find(|p| p.protocol == Protocol::Tcp).unwrap();
        assert!(ask_here(&format!("127.0.0.1:{}", tcp.host_port)).is_some());

        // One port out of a range: the first free one.
        let pick = |binding: PortBinding| engine.connect(&with_ports(vec![binding]));
        let range =
            PortBinding { host_port: Some(PortRange { begin: 7000, end: 7001 }), ..publish(None, 0, 80) };
        let ports: Vec<u16> =
            (0..2).map(|_| pick(range.clone()).unwrap().endpoint.ports[0].host_port).collect();
        assert_eq!(ports, [7000, 7001]);
        let text = pick(range).unwrap_err().to_string();
        assert!(text.ends_with("all ports are allocated in the range 7000-7001"), "{text}");

        let many = engine.connect(&with_ports((9000..9300).map(|p| publish(None, p, p)).collect())).unwrap();
        serve(many.netns.as_fd(), 9123);
        assert!(ask_here("127.0.0.1:9123").is_some());
        assert!(ask_here(&format!("{}:9123", address_of(&many))).is_some());
        engine.release(&many.endpoint.container).unwrap();
        TcpListener::bind("0.0.0.0:9123").unwrap();
    });
}

/// As the engine does for itself.
fn more_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Ranges as wide as FTP or RTP servers want them: one element of the firewall.
#[test]
fn twelve_thousand_ports_are_one_element() {
    on_host(|world| {
        more_descriptors();
        let outsider = TcpListener::bind("0.0.0.0:25000").unwrap();
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let range = || with_ports((20_000..32_000).map(|p| publish(None, p, p)).collect());
        let text = engine.connect(&range()).unwrap_err().to_string();
        assert!(text.contains("0.0.0.0:25000") && text.ends_with("address already in use"), "{text}");
        assert!(!engine.firewall_text().contains("20000"), "nothing is left behind");
        TcpListener::bind("0.0.0.0:20000").expect("nothing is held after a failure");
        drop(outsider);
        let many = engine.connect(&range()).unwrap();
        for port in [20_000, 26_123, 31_999] {
            serve(many.netns.as_fd(), port);
            let to = format!("203.0.113.1:{port}");
            assert_eq!(ask(outside.netns.as_fd(), &to).as_deref(), Some("203.0.113.9"));
        }
        let elements = engine.firewall_text().matches(&address_of(&many)).count();
        assert_eq!(elements, 1, "{}", engine.firewall_text());
        let text = engine.connect(&with_ports(vec![publish(None, 31_999, 80)])).unwrap_err().to_string();
        assert!(text.ends_with("Bind for 0.0.0.0:31999 failed: port is already allocated"), "{text}");
        engine.release(&many.endpoint.container).unwrap();
        TcpListener::bind("0.0.0.0:31999").unwrap();
    });
}

/// Whatever another program has: an address of its own, datagrams, IPv6.
#[test]
fn ports_of_other_programs_are_taken() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let refused = |port: PortBinding| {
            let text = engine.connect(&with_ports(vec![port])).unwrap_err().to_string();
            assert!(text.ends_with("address already in use"), "{text}");
            assert!(engine.inspect("bridge").unwrap().containers.is_empty());
            assert!(!engine.firewall_text().contains("comment"), "nothing is left behind");
        };
        let udp = |port: PortBinding| PortBinding { protocol: Protocol::Udp, ..port };
        let _one = TcpListener::bind("127.0.0.1:7001").unwrap();
        refused(publish(None, 7001, 80));
        refused(publish(Some("127.0.0.1"), 7001, 80));
        let _two = UdpSocket::bind("0.0.0.0:7002").unwrap();
        refused(udp(publish(None, 7002, 53)));
        refused(udp(publish(Some("127.0.0.1"), 7002, 53)));
        // As most servers do it: one socket for both families.
        let _three = TcpListener::bind("[::]:7003").unwrap();
        refused(publish(None, 7003, 80));
        // Another protocol's is no matter.
        engine.connect(&with_ports(vec![publish(None, 7002, 53)])).unwrap();
    });
}

/// The kernel may be without SCTP; the firewall translates it anyway.
#[test]
fn sctp_is_published() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let sctp = |port| PortBinding { protocol: Protocol::Sctp, ..publish(None, port, port) };
        let one = engine.connect(&with_ports(vec![sctp(3868)])).unwrap();
        assert!(engine.firewall_text().contains("sctp . 3868 comment"), "{}", engine.firewall_text());
        let text = engine.connect(&with_ports(vec![sctp(3868)])).unwrap_err().to_string();
        assert!(text.ends_with("Bind for 0.0.0.0:3868 failed: port is already allocated"), "{text}");
        engine.connect(&with_ports(vec![publish(None, 3868, 3868)])).expect("TCP has ports of its own");
        engine.release(&one.endpoint.container).unwrap();
        engine.connect(&with_ports(vec![sctp(3868)])).unwrap();
    });
}

#[test]
fn udp_goes_both_ways() {
    on_host(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let udp = PortBinding { protocol: Protocol::Udp, ..publish(None, 5353, 53) };
        let dns = engine.connect(&with_ports(vec![udp])).unwrap();
        let bind = |netns, address: &'static str| {
            knarr_network::Namespace::run(netns, move || Ok(UdpSocket::bind(address).unwrap())).unwrap()
        };
        let server = bind(dns.netns.as_fd(), "0.0.0.0:53");
        let client = bind(outside.netns.as_fd(), "0.0.0.0:0");
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(crate::world::TIMEOUT)).unwrap();
        }
        client.send_to(b"question", "203.0.113.1:5353").unwrap();
        let mut buffer = [0; 32];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.ip().to_string().as_str()), (&b"question"[..], "203.0.113.9"));
        server.send_to(b"answer", from).unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.to_string().as_str()), (&b"answer"[..], "203.0.113.1:5353"));
    });
}

/// A sender that never stops must reach the container when it comes, and its successor when it goes.
#[test]
fn a_stream_of_datagrams_follows_the_port() {
    on_host(|world| {
        let outside = world.machine("uplink", OURS, THEIRS);
        let engine = world.engine("aaaa");
        let udp = || with_ports(vec![PortBinding { protocol: Protocol::Udp, ..publish(None, 5353, 53) }]);
        let bind = |netns: std::os::fd::BorrowedFd<'_>, address: &'static str| {
            let socket =
                knarr_network::Namespace::run(netns, move || Ok(UdpSocket::bind(address).unwrap())).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
            socket
        };
        let client = bind(outside.netns.as_fd(), "0.0.0.0:0");
        let mut buffer = [0; 8];
        // Before there is a container: the host's kernel tracks this already.
        let before = UdpSocket::bind("0.0.0.0:5353").unwrap();
        client.send_to(b"0", "203.0.113.1:5353").unwrap();
        before.set_read_timeout(Some(crate::world::TIMEOUT)).unwrap();
        before.recv_from(&mut buffer).unwrap();
        drop(before);
        for _ in 0..2 {
            let dns = engine.connect(&udp()).unwrap();
            let server = bind(dns.netns.as_fd(), "0.0.0.0:53");
            client.send_to(b"1", "203.0.113.1:5353").unwrap();
            server.recv_from(&mut buffer).expect("the datagram follows the port");
            engine.release(&dns.endpoint.container).unwrap();
        }
    });
}
