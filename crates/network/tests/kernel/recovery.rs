//! After the engine died, after somebody meddled.
use crate::world::{ask_here, on_host, publish, request, serve, unreachable};
use knarr_netlink::nft::{Batch, Family};
use knarr_netlink::{Rtnetlink, link};
use knarr_network::{EndpointRequest, NetworkConfig, Networks};
use std::net::TcpListener;
use std::os::fd::AsFd;

fn config() -> NetworkConfig {
    NetworkConfig { engine_id: "aaaa".into(), ..NetworkConfig::default() }
}

fn links() -> Vec<String> {
    Rtnetlink::open().unwrap().links().unwrap().into_iter().map(|l| l.name).collect()
}

#[test]
fn a_dead_engines_containers_go_on_and_leftovers_are_swept() {
    on_host(|world| {
        let store = world.store("db");
        let engine = Networks::open(store.clone(), config()).unwrap();
        engine.restore(&[]).unwrap();
        let published =
            |port| EndpointRequest { ports: vec![publish(None, port, 80)].into(), ..request("bridge") };
        let alive = engine.connect(&published(8080)).unwrap();
        let ended = engine.connect(&published(8081)).unwrap();
        serve(alive.netns.as_fd(), 80);
        // As after kill -9: memory and reservations are gone, the kernel's objects and the rows are not.
        drop(engine);
        assert!(ask_here("127.0.0.1:8080").is_some(), "while no engine runs");

        let engine = Networks::open(store, config()).unwrap();
        let warnings = engine.restore(std::slice::from_ref(&alive.endpoint.container)).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert!(ask_here("127.0.0.1:8080").is_some());
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "held again");
        TcpListener::bind("0.0.0.0:8081").expect("the ended container's port is free");
        assert!(!links().contains(&ended.endpoint.host_interface));
        assert!(links().contains(&alive.endpoint.host_interface));
        assert_eq!(
            engine.endpoints(&alive.endpoint.container).unwrap(),
            std::slice::from_ref(&alive.endpoint)
        );
        let next = engine.connect(&request("bridge")).unwrap();
        assert_ne!(next.endpoint.ipv4, alive.endpoint.ipv4);
    });
}

#[test]
fn flushed_rules_and_a_deleted_bridge_are_healed() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let web = engine
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") })
            .unwrap();
        serve(web.netns.as_fd(), 80);
        let mut batch = Batch::new(Family::Ipv4, "knarr-aaaa");
        batch.delete_table();
        knarr_netlink::nft::Nftables::open().unwrap().commit(batch).unwrap();
        engine.heal().unwrap();
        assert!(ask_here("127.0.0.1:8080").is_some());

        Rtnetlink::open().unwrap().change(vec![link::delete("knarr0")]).unwrap();
        engine.heal().unwrap();
        assert!(ask_here("127.0.0.1:8080").is_some());

        // Without `heal`: the next start finds out by itself.
        Rtnetlink::open().unwrap().change(vec![link::delete("knarr0")]).unwrap();
        let mut batch = Batch::new(Family::Ipv4, "knarr-aaaa");
        batch.delete_table();
        knarr_netlink::nft::Nftables::open().unwrap().commit(batch).unwrap();
        let next = engine
            .connect(&EndpointRequest { ports: vec![publish(None, 8082, 80)].into(), ..request("bridge") })
            .unwrap();
        serve(next.netns.as_fd(), 80);
        assert!(ask_here("127.0.0.1:8082").is_some());
        assert!(ask_here("127.0.0.1:8080").is_some(), "the others are back as well");
    });
}

#[test]
fn a_flushed_ruleset_comes_back_by_itself() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let wanted = EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") };
        let web = engine.connect(&wanted).unwrap();
        serve(web.netns.as_fd(), 80);
        let status = std::process::Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert!(status.success());
        let deadline = std::time::Instant::now() + crate::world::TIMEOUT;
        while ask_here("127.0.0.1:8080").is_none() {
            assert!(std::time::Instant::now() < deadline, "the table is not back");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // One rule alone: what it isolated would be open.
        let status = std::process::Command::new("nft")
            .args(["flush", "chain", "ip", "knarr-aaaa", "forward"])
            .status();
        assert!(status.unwrap().success());
        let listing = || {
            let output = std::process::Command::new("nft")
                .args(["list", "chain", "ip", "knarr-aaaa", "forward"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        while !listing().contains("drop") {
            assert!(std::time::Instant::now() < deadline, "the rules are not back");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // Our own end is no reason to put anything back.
        engine.release(&web.endpoint.container).unwrap();
        engine.shutdown().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(150));
        assert_eq!(
            knarr_netlink::nft::Nftables::open().unwrap().tables(Family::Ipv4).unwrap(),
            Vec::<String>::new()
        );
    });
}

#[test]
fn shutdown_leaves_the_host_as_it_was() {
    on_host(|world| {
        let before = links();
        let engine = world.engine("aaaa");
        let web = engine.connect(&request("bridge")).unwrap();
        engine.shutdown().unwrap();
        assert!(links().contains(&"knarr0".to_owned()), "not while a container is there");
        engine.release(&web.endpoint.container).unwrap();
        drop(web);
        engine.shutdown().unwrap();
        let tables = knarr_netlink::nft::Nftables::open().unwrap().tables(Family::Ipv4).unwrap();
        assert_eq!(tables, Vec::<String>::new());
        // The veth goes with its namespace, in the kernel's own time.
        let deadline = std::time::Instant::now() + crate::world::TIMEOUT;
        while links() != before && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(links(), before);
        // And it comes back with the next container.
        let web = engine
            .connect(&EndpointRequest { ports: vec![publish(None, 8080, 80)].into(), ..request("bridge") })
            .unwrap();
        serve(web.netns.as_fd(), 80);
        assert!(ask_here("127.0.0.1:8080").is_some());
    });
}

#[test]
fn a_veth_in_a_namespace_that_somebody_holds_goes_in_the_end() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let web = engine.connect(&request("bridge")).unwrap();
        serve(web.netns.as_fd(), 80);
        engine.release(&web.endpoint.container).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2300));
        assert!(!links().contains(&web.endpoint.host_interface));
        assert!(unreachable(web.netns.as_fd(), "172.17.0.1:80"));
    });
}

#[test]
fn a_foreign_firewall_that_drops_is_named() {
    use knarr_netlink::nft::{ChainKind, ChainSpec, Hook, HookSpec, Policy};
    on_host(|world| {
        let engine = world.engine("aaaa");
        assert_eq!(engine.warnings(), Vec::<String>::new());
        let mut batch = Batch::new(Family::Ipv4, "filter");
        batch.replace_table();
        let hook =
            HookSpec { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0, policy: Policy::Drop };
        batch.add_chain(&ChainSpec { name: "FORWARD", hook: Some(hook) });
        knarr_netlink::nft::Nftables::open().unwrap().commit(batch).unwrap();
        let warnings = engine.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("ip filter FORWARD"), "{warnings:?}");
    });
}
