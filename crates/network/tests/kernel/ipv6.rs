//! Networks with IPv6, alone and beside IPv4.
use crate::world::{World, add_ipv6, ask, ask_here, on_host, publish, request, serve_both, unreachable};
use knarr_netlink::address;
use knarr_netlink::{Rtnetlink, link};
use knarr_network::{AddressConfig, CreateNetwork, EndpointRequest, Namespace, NetworkConfig, Networks};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};

fn dual(engine: &Networks, name: &str) {
    let subnet = |text: &str| AddressConfig { subnet: Some(text.parse().unwrap()), ..Default::default() };
    let subnets = vec![subnet("10.50.0.0/24"), subnet("fd00:50::/64")];
    let request = CreateNetwork { name: name.into(), ipv6: Some(true), subnets, ..Default::default() };
    engine.create(&request).unwrap();
}

fn outside(world: &World) -> crate::world::Machine {
    let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    add_ipv6("up0", "2001:db8::1/64", &machine, "2001:db8::2/64");
    machine
}

/// What a file below /proc says inside.
fn read(netns: BorrowedFd<'_>, path: &str) -> String {
    Namespace::run(netns, || Ok(std::fs::read_to_string(path).unwrap().trim().to_owned())).unwrap()
}

#[test]
fn a_dual_network_is_reached_and_reaches_out_in_both_families() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = outside(world);
        dual(&engine, "dual");
        let web = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("dual") };
        let web = engine.connect(&web).unwrap();
        serve_both(web.netns.as_fd(), 80);
        let shown: Vec<String> =
            web.endpoint.ports.iter().map(|p| format!("{} {}", p.host_ip, p.host_port)).collect();
        assert_eq!(shown, ["0.0.0.0 8080", ":: 8080"]);
        // From outside the client's own address is seen, in both families.
        assert_eq!(ask(machine.netns.as_fd(), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(machine.netns.as_fd(), "[2001:db8::1]:8080").as_deref(), Some("2001:db8::2"));
        assert!(ask_here("[2001:db8::1]:8080").is_some(), "from the host by its own address");
        // Neighbours, and the container itself, by the host's address.
        let other = engine.connect(&request("dual")).unwrap();
        assert_eq!(ask(other.netns.as_fd(), "[fd00:50::2]:80").as_deref(), Some("fd00:50::3"));
        assert!(ask(other.netns.as_fd(), "[2001:db8::1]:8080").is_some());
        assert!(ask(web.netns.as_fd(), "[2001:db8::1]:8080").is_some(), "hairpin");
        // Out under the host's address.
        serve_both(machine.netns.as_fd(), 81);
        assert_eq!(ask(web.netns.as_fd(), "[2001:db8::2]:81").as_deref(), Some("2001:db8::1"));
        assert_eq!(ask(web.netns.as_fd(), "192.0.2.2:81").as_deref(), Some("192.0.2.1"));
        // Nobody gets in but by the published port.
        machine.route("fd00:50::/64", "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        assert!(unreachable(machine.netns.as_fd(), "[fd00:50::2]:80"));
        engine.release(&web.endpoint.container).unwrap();
        assert!(unreachable(machine.netns.as_fd(), "[2001:db8::1]:8080"));
    });
}

#[test]
fn a_network_of_ipv6_alone() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = outside(world);
        let six =
            CreateNetwork { name: "six".into(), ipv4: Some(false), ipv6: Some(true), ..Default::default() };
        engine.create(&six).unwrap();
        let web = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("six") };
        let web = engine.connect(&web).unwrap();
        assert_eq!((web.endpoint.ipv4, web.endpoint.ports.len()), (None, 1));
        assert!(web.endpoint.ipv6.unwrap().is_unique_local());
        serve_both(web.netns.as_fd(), 80);
        assert_eq!(ask(machine.netns.as_fd(), "[2001:db8::1]:8080").as_deref(), Some("2001:db8::2"));
        let four =
            EndpointRequest { ports: vec![publish(Some("0.0.0.0"), 8081, 80)].into(), ..request("six") };
        let text = engine.connect(&four).unwrap_err().to_string();
        assert!(text.ends_with("the container has no IPv4 address on a network with a gateway"), "{text}");
    });
}

/// CVE-2024-32473: on a network of IPv4 alone nobody has an IPv6 address, not even a link-local one, nor has the host there.
#[test]
fn no_ipv6_on_a_network_without_it() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let four = engine.create(&CreateNetwork { name: "four".into(), ..Default::default() }).unwrap();
        let a = engine.connect(&request("four")).unwrap();
        let b = engine.connect(&request("bridge")).unwrap();
        let addresses = |rt: &mut Rtnetlink| {
            let all = rt.addresses().unwrap();
            all.iter().filter(|a| a.net.addr().is_ipv6() && !a.net.addr().is_loopback()).count()
        };
        for netns in [&a.netns, &b.netns] {
            let mut inside = Namespace::enter(netns.as_fd()).unwrap();
            assert_eq!(addresses(inside.rtnetlink()), 0);
            assert_eq!(read(netns.as_fd(), "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"), "1");
        }
        assert_eq!(addresses(&mut Rtnetlink::open().unwrap()), 0);
        let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", four.bridge);
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "1");
    });
}

/// CVE-2020-13401: a container that says that it is a router is believed by nobody. On a host without our firewall, and that is
/// willing, the same words do work: so it is the firewall that holds.
#[test]
fn a_container_is_no_router() {
    for firewall_v6 in [false, true] {
        on_host(|world| {
            let config = NetworkConfig { engine_id: "aaaa".into(), firewall_v6, ..NetworkConfig::default() };
            let engine = world.engine_with(config);
            dual(&engine, "dual");
            let attacker = engine.connect(&request("dual")).unwrap();
            let victim = engine.connect(&request("dual")).unwrap();
            let bridge = engine.inspect("dual").unwrap().bridge;
            let willing = format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra");
            assert_eq!(std::fs::read_to_string(&willing).unwrap().trim(), "0");
            assert_eq!(read(victim.netns.as_fd(), "/proc/sys/net/ipv6/conf/eth0/accept_ra"), "0");
            std::fs::write(&willing, "2").unwrap();
            let (mut host, mut tries) = (Rtnetlink::open().unwrap(), 0);
            while defaults(&mut host) == 0 && tries < if firewall_v6 { 5 } else { 100 } {
                tries += 1;
                Namespace::run(attacker.netns.as_fd(), || {
                    advertise("eth0");
                    Ok(())
                })
                .unwrap();
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            assert_eq!(defaults(&mut host), usize::from(!firewall_v6), "routes of the host by a container");
            let mut inside = Namespace::enter(victim.netns.as_fd()).unwrap();
            assert_eq!(defaults(inside.rtnetlink()), 1, "the neighbour has its gateway and no other");
        });
    }
}

fn defaults(rt: &mut Rtnetlink) -> usize {
    let routes = rt.routes().unwrap();
    routes.iter().filter(|r| r.destination.addr().is_ipv6() && r.destination.prefix_len() == 0).count()
}

/// A router advertisement (RFC 4861) to all nodes, from a link-local address as it has to be.
fn advertise(interface: &str) {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrV6, SocketType, ipproto, sendto, socket, sockopt};
    let mut rt = Rtnetlink::open().unwrap();
    let index = rt.link(interface).unwrap().unwrap().index;
    drop(rt.change(vec![address::add(index, "fe80::bad/64".parse().unwrap()), link::set_up(index)]));
    let raw = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
    sockopt::set_ipv6_multicast_hops(&raw, 255).unwrap();
    let message = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    for _ in 0..3 {
        sendto(&raw, &message, SendFlags::empty(), &all_nodes).unwrap();
    }
}

#[test]
fn the_default_bridge_with_ipv6() {
    on_host(|world| {
        let engine = world.engine_with(NetworkConfig {
            engine_id: "aaaa".into(),
            ipv6: true,
            bip6: Some("fd00:77::1/64".parse().unwrap()),
            fixed_cidr_v6: Some("fd00:77::100/120".parse().unwrap()),
            ..NetworkConfig::default()
        });
        let a = engine.connect(&request("bridge")).unwrap();
        assert_eq!(a.endpoint.ipv6.unwrap().to_string(), "fd00:77::100");
        assert_eq!(a.endpoint.gateway6.unwrap().to_string(), "fd00:77::1");
        serve_both(a.netns.as_fd(), 80);
        assert!(ask_here("[fd00:77::100]:80").is_some());
    });
}

#[test]
fn nft_reads_both_tables_as_we_print_them() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        dual(&engine, "dual");
        let ports = vec![publish(None, 8080, 80), publish(Some("2001:db8::1"), 53, 53)];
        std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0").unwrap();
        Rtnetlink::open().unwrap().change(vec![address::add(1, "2001:db8::1/128".parse().unwrap())]).unwrap();
        let _web = engine.connect(&EndpointRequest { ports: ports.into(), ..request("dual") }).unwrap();
        crate::oracle::agrees(&engine, "knarr-aaaa", &["ip", "ip6"]);
    });
}
