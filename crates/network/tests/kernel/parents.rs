//! Networks on an interface of the host: `macvlan`, and what the kernel may not have.
use crate::world::{ask, id, on_host, serve, unreachable};
use knarr_base::{ErrorKind, Kind};
use knarr_netlink::Rtnetlink;
use knarr_network::{AddressConfig, CreateNetwork, EndpointRequest, Error, Namespace, Networks};
use std::os::fd::AsFd;

fn macvlan(name: &str, options: &[(&str, &str)]) -> CreateNetwork {
    let subnet = AddressConfig {
        subnet: Some("192.0.2.0/24".parse().unwrap()),
        ip_range: Some("192.0.2.64/26".parse().unwrap()),
        gateway: Some("192.0.2.2".parse().unwrap()),
        ..Default::default()
    };
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    CreateNetwork {
        name: name.into(),
        driver: "macvlan".into(),
        subnets: vec![subnet],
        options,
        ..Default::default()
    }
}

fn join(engine: &Networks, network: &str) -> knarr_network::Connected {
    engine.connect(&EndpointRequest::new(id(), "c", network)).unwrap()
}

#[test]
fn containers_are_on_the_parents_wire() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        engine.create(&macvlan("wire", &[("parent", "up0")])).unwrap();
        let (a, b) = (join(&engine, "wire"), join(&engine, "wire"));
        assert_eq!(a.endpoint.ipv4.unwrap().to_string(), "192.0.2.64");
        assert_eq!(a.endpoint.gateway.unwrap().to_string(), "192.0.2.2");
        serve(machine.netns.as_fd(), 80);
        assert_eq!(
            ask(a.netns.as_fd(), "192.0.2.2:80").as_deref(),
            Some("192.0.2.64"),
            "under its own address"
        );
        serve(a.netns.as_fd(), 80);
        assert_eq!(ask(machine.netns.as_fd(), "192.0.2.64:80").as_deref(), Some("192.0.2.2"));
        assert!(ask(b.netns.as_fd(), "192.0.2.64:80").is_some(), "mode bridge");
        let container = a.endpoint.container.clone();
        engine.disconnect(&container, "wire", a.netns.as_fd()).unwrap();
        let mut inside = Namespace::enter(a.netns.as_fd()).unwrap();
        assert!(inside.rtnetlink().link("eth0").unwrap().is_none());
        engine.release(&b.endpoint.container).unwrap();
        engine.remove("wire").unwrap();
        assert!(Rtnetlink::open().unwrap().link("up0").unwrap().is_some(), "the parent is not ours");
    });
}

#[test]
fn private_containers_do_not_meet() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        engine.create(&macvlan("alone", &[("parent", "up0"), ("macvlan_mode", "private")])).unwrap();
        let (a, b) = (join(&engine, "alone"), join(&engine, "alone"));
        serve(a.netns.as_fd(), 80);
        assert!(unreachable(b.netns.as_fd(), "192.0.2.64:80"));
        assert!(ask(machine.netns.as_fd(), "192.0.2.64:80").is_some());
    });
}

#[test]
fn passthru_has_the_parent_alone() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        engine.create(&macvlan("whole", &[("parent", "up0"), ("macvlan_mode", "passthru")])).unwrap();
        let other = macvlan("other", &[("parent", "up0")]);
        let other = CreateNetwork { subnets: Vec::new(), ..other };
        let text = engine.create(&other).unwrap_err().to_string();
        assert!(text.starts_with("cannot use mode passthru, macvlan network "), "{text}");
        let a = join(&engine, "whole");
        serve(a.netns.as_fd(), 80);
        assert!(ask(machine.netns.as_fd(), "192.0.2.64:80").is_some());
    });
}

/// Kinds of interfaces that a kernel may lack are a clear error, and leave no network behind.
#[test]
fn what_the_kernel_lacks_is_said() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let _machine = world.machine("up0", [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let before = engine.list().unwrap().len();
        let cases = [
            (
                CreateNetwork { driver: "ipvlan".into(), ..macvlan("a", &[("parent", "up0")]) },
                "ipvlan",
                "up0",
            ),
            (macvlan("b", &[("parent", "up0.50")]), "vlan", "up0.50"),
            (CreateNetwork { subnets: Vec::new(), ..macvlan("c", &[]) }, "dummy", ""),
        ];
        for (request, kind, parent) in cases {
            match engine.create(&request) {
                Ok(made) => {
                    let made_one = Rtnetlink::open().unwrap().link(&made.parent).unwrap().unwrap();
                    assert!(made_one.up || parent == "up0", "{made_one:?}");
                    engine.remove(&made.name).unwrap();
                    let left = Rtnetlink::open().unwrap().link(&made.parent).unwrap();
                    assert_eq!(left.is_some(), parent == "up0", "what was made for it is gone");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotImplemented);
                    let text = error.to_string();
                    assert!(text.starts_with(&format!("the kernel has no {kind} interfaces: ")), "{text}");
                }
            }
            assert_eq!(engine.list().unwrap().len(), before);
        }
        let refuse =
            |options: &[(&str, &str)]| engine.create(&macvlan("d", options)).unwrap_err().to_string();
        let texts = [
            refuse(&[("parent", "nope0")]),
            refuse(&[("parent", "nope0.7")]),
            refuse(&[("parent", "up0.5000")]),
            refuse(&[("parent", "lo")]),
            refuse(&[("parent", "up0"), ("macvlan_mode", "weird")]),
        ];
        insta::assert_snapshot!(texts.join("\n"), @r"
        invalid subinterface vlan name nope0, example formatting is eth0.10
        failed to find master interface nope0 on the host: no such interface
        vlan id must be between 1-4094, received: 5000
        loopback interface is not a valid macvlan parent link
        requested macvlan mode 'weird' is not valid, 'bridge' mode is the macvlan driver default
        ");
        let config_only = CreateNetwork { config_only: true, ..macvlan("plan", &[("parent", "up0")]) };
        engine.create(&config_only).unwrap();
        let error = engine.connect(&EndpointRequest::new(id(), "c", "plan")).unwrap_err();
        assert!(matches!(error, Error::ConfigurationOnly), "{error}");
        let from = |name: &str| CreateNetwork {
            name: name.into(),
            driver: "macvlan".into(),
            config_from: "plan".into(),
            ..Default::default()
        };
        let made = engine.create(&from("real")).unwrap();
        assert_eq!(
            (made.parent.as_str(), made.subnets[0].subnet.to_string().as_str()),
            ("up0", "192.0.2.0/24")
        );
        let text = engine.remove("plan").unwrap_err().to_string();
        assert!(text.contains("configuration network \"plan\" is in use by real"), "{text}");
    });
}
