//! Published ports where the kernel cannot lead the way.
use crate::world::{add_ipv6, ask, ask_here, on_host, publish, request, serve, serve_both, unreachable};
use knarr_network::{
    AddressConfig, CreateNetwork, EndpointRequest, Namespace, NetworkConfig, Networks, PortBinding, Protocol,
    Scope,
};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

fn with(network: &str, ports: Vec<PortBinding>) -> EndpointRequest {
    EndpointRequest { ports: ports.into(), ..request(network) }
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks
        .filter(|task| {
            std::fs::read_link(task.path().join("ns/net")).ok()
                == std::fs::read_link("/proc/thread-self/ns/net").ok()
        })
        .map(name)
        .filter(|name| name.trim() == "port-relay")
        .count()
}

/// Echoes datagrams with the sender's address in front.
fn echo(netns: BorrowedFd<'_>, port: u16) {
    let socket = Namespace::run(netns, || Ok(UdpSocket::bind(("0.0.0.0", port)).unwrap())).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ =
                socket.send_to(&[from.ip().to_string().as_bytes(), b" ", &buffer[..length]].concat(), from);
        }
    });
}

fn say(socket: &UdpSocket, to: &str, text: &str) -> Option<String> {
    socket.set_read_timeout(Some(crate::world::TIMEOUT)).unwrap();
    socket.send_to(text.as_bytes(), to).unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(from.to_string(), to, "the answer comes from where the question went");
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn ipv6_of_the_host_leads_to_a_container_without() {
    on_host(|world| {
        let outside = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        add_ipv6("up0", "2001:db8::1/64", &outside, "2001:db8::2/64");
        let engine = world.engine("aaaa");
        let udp = PortBinding { protocol: Protocol::Udp, ..publish(None, 5353, 53) };
        engine.connect(&with("bridge", vec![publish(Some("127.0.0.1"), 9090, 80)])).unwrap();
        assert_eq!(threads(), 0, "nothing runs for what the kernel does alone");
        let web = engine.connect(&with("bridge", vec![publish(None, 8080, 80), udp])).unwrap();
        let shown: Vec<String> =
            web.endpoint.ports.iter().map(|p| format!("{}:{}", p.host_ip, p.host_port)).collect();
        assert_eq!(shown, ["0.0.0.0:5353", ":::5353", "0.0.0.0:8080", ":::8080"]);
        serve(web.netns.as_fd(), 80);
        echo(web.netns.as_fd(), 53);
        assert_eq!(ask_here("[::1]:8080").as_deref(), Some("172.17.0.1"));
        assert_eq!(ask_here("127.0.0.1:8080").as_deref(), Some("172.17.0.1"));
        assert_eq!(ask(outside.netns.as_fd(), "[2001:db8::1]:8080").as_deref(), Some("172.17.0.1"));
        assert_eq!(ask(outside.netns.as_fd(), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"), "as before");
        let client =
            Namespace::run(outside.netns.as_fd(), || Ok(UdpSocket::bind("[::]:0").unwrap())).unwrap();
        for text in ["one", "two"] {
            assert_eq!(say(&client, "[2001:db8::1]:5353", text), Some(format!("172.17.0.1 {text}")));
        }
        let local = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(say(&local, "[::1]:5353", "here").as_deref(), Some("172.17.0.1 here"));
        assert_eq!(threads(), 1);
        let text =
            engine.connect(&with("bridge", vec![publish(Some("::1"), 8080, 80)])).unwrap_err().to_string();
        assert!(text.ends_with("Bind for ::1:8080 failed: port is already allocated"), "{text}");

        engine.release(&web.endpoint.container).unwrap();
        TcpListener::bind("[::]:8080").expect("free at once");
        UdpSocket::bind("[::]:5353").expect("free at once");
        assert!(unreachable(outside.netns.as_fd(), "[2001:db8::1]:8080"));
    });
}

/// Long transfers, each side closing on its own.
#[test]
fn bytes_go_both_ways_and_ends_are_passed_on() {
    use std::io::{Read, Write};
    on_host(|world| {
        let engine = world.engine("aaaa");
        let web = engine.connect(&with("bridge", vec![publish(Some("::1"), 8080, 80)])).unwrap();
        let listener =
            Namespace::run(web.netns.as_fd(), || Ok(TcpListener::bind("0.0.0.0:80").unwrap())).unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all.reverse();
                stream.write_all(&all).unwrap();
            }
        });
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut stream = TcpStream::connect("[::1]:8080").unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got.reverse();
        assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    });
}

/// The kernel leads everybody but `::1`.
#[test]
fn the_hosts_loopback_leads_to_a_container_with_ipv6() {
    on_host(|world| {
        let outside = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        add_ipv6("up0", "2001:db8::1/64", &outside, "2001:db8::2/64");
        let engine = world.engine("aaaa");
        let subnet = |text: &str| AddressConfig { subnet: Some(text.parse().unwrap()), ..Default::default() };
        let subnets = vec![subnet("10.50.0.0/24"), subnet("fd00:50::/64")];
        engine
            .create(&CreateNetwork { name: "dual".into(), ipv6: Some(true), subnets, ..Default::default() })
            .unwrap();
        let web = engine
            .connect(&with("dual", vec![publish(None, 8080, 80), publish(Some("::1"), 8081, 80)]))
            .unwrap();
        serve_both(web.netns.as_fd(), 80);
        assert_eq!(ask_here("[::1]:8080").as_deref(), Some("fd00:50::1"));
        assert_eq!(ask_here("[::1]:8081").as_deref(), Some("fd00:50::1"));
        assert_eq!(ask(outside.netns.as_fd(), "[2001:db8::1]:8080").as_deref(), Some("2001:db8::2"));
        assert!(unreachable(outside.netns.as_fd(), "[2001:db8::1]:8081"));
    });
}

#[test]
fn who_may_not_is_turned_away() {
    on_host(|world| {
        let outside = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        add_ipv6("up0", "2001:db8::1/64", &outside, "2001:db8::2/64");
        let other = world.machine("up1", [192, 0, 3, 1].into(), [192, 0, 3, 2].into());
        add_ipv6("up1", "2001:db8:1::1/64", &other, "2001:db8:1::2/64");
        let engine = world.engine("aaaa");
        let only = |sources: &str, port| PortBinding {
            scope: Some(Scope::parse(sources.split('+')).unwrap()),
            ..publish(Some("::"), port, 80)
        };
        let ports = vec![only("2001:db8::/64", 8080), only("loopback", 8081), publish(Some("::"), 8082, 80)];
        let web = engine.connect(&with("bridge", ports)).unwrap();
        serve(web.netns.as_fd(), 80);
        let refused = |answer: Option<String>| answer.is_none_or(|text| text.is_empty());
        assert!(ask_here("[::1]:8080").is_some_and(|a| !a.is_empty()), "the host always may");
        assert!(ask_here("[2001:db8::1]:8081").is_some_and(|a| !a.is_empty()), "the host always may");
        assert!(!refused(ask(outside.netns.as_fd(), "[2001:db8::1]:8080")));
        assert!(refused(ask(other.netns.as_fd(), "[2001:db8:1::1]:8080")));
        assert!(refused(ask(outside.netns.as_fd(), "[2001:db8::1]:8081")));
        // A closed network is closed.
        let subnet = AddressConfig { subnet: Some("fd00:66::/64".parse().unwrap()), ..Default::default() };
        let closed = CreateNetwork {
            name: "closed".into(),
            internal: true,
            ipv6: Some(true),
            subnets: vec![subnet],
            ..Default::default()
        };
        engine.create(&closed).unwrap();
        let captive = engine.connect(&request("closed")).unwrap();
        assert!(refused(ask(captive.netns.as_fd(), "[fd00:66::1]:8082")));
        assert!(!refused(ask_here("[::1]:8082")));
    });
}

#[test]
fn the_next_engine_goes_on_and_one_without_relays_has_none() {
    on_host(|world| {
        let store = world.store("db");
        let config = || NetworkConfig { engine_id: "aaaa".into(), ..NetworkConfig::default() };
        let engine = Networks::open(store.clone(), config()).unwrap();
        engine.restore(&[]).unwrap();
        let web = engine.connect(&with("bridge", vec![publish(None, 8080, 80)])).unwrap();
        serve(web.netns.as_fd(), 80);
        assert!(ask_here("[::1]:8080").is_some());
        drop(engine);
        assert!(ask_here("127.0.0.1:8080").is_some(), "the kernel goes on");
        let alive = std::slice::from_ref(&web.endpoint.container);
        let engine = Networks::open(store.clone(), config()).unwrap();
        assert_eq!(engine.restore(alive).unwrap(), Vec::<String>::new());
        assert_eq!(ask_here("[::1]:8080").as_deref(), Some("172.17.0.1"));
        engine.release(&alive[0]).unwrap();
        drop(engine);
        let without = Networks::open(store, NetworkConfig { relays: false, ..config() }).unwrap();
        without.restore(&[]).unwrap();
        let plain = without.connect(&with("bridge", vec![publish(None, 8080, 80)])).unwrap();
        assert_eq!(plain.endpoint.ports.len(), 1);
        let text =
            without.connect(&with("bridge", vec![publish(Some("::1"), 8081, 80)])).unwrap_err().to_string();
        assert!(text.contains("the container has no IPv6 address"), "{text}");
    });
}
