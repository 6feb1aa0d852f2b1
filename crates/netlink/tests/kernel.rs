//! Against the real kernel, in a network namespace of its own. Needs root; skipped otherwise.
use knarr_netlink::nft::{
    Batch, ChainSpec, Change, Changes, Element, Expression, Family, Field, Nftables, SetSpec, Verdict, Watch,
};
use knarr_netlink::{Rtnetlink, address, link, route};
use std::thread;

/// Runs `f` on a thread in a new network namespace.
fn apart(f: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let inside = || {
        // Deprecated for `CLONE_FILES` only.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        f();
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap());
}

#[test]
fn links_addresses_and_routes_are_what_was_asked_for() {
    apart(|| {
        let mut rt = Rtnetlink::open().unwrap();
        rt.change(vec![link::add_bridge("br0", [2, 0, 0, 0, 0, 1], 1300), link::add_veth_alone("d0", "d9")])
            .unwrap();
        let bridge = rt.link("br0").unwrap().unwrap();
        assert_eq!(
            (bridge.kind.as_str(), bridge.mtu, bridge.mac),
            ("bridge", 1300, Some([2, 0, 0, 0, 0, 1]))
        );
        assert!(!bridge.up);
        let veth = rt.link("d0").unwrap().unwrap();
        rt.change(vec![
            link::set_up(bridge.index),
            link::set_alias(bridge.index, "a note"),
            link::set_master(veth.index, bridge.index),
            link::set_mtu(veth.index, 1200),
            address::add(bridge.index, "10.1.2.1/24".parse().unwrap()),
            route::add("10.9.0.0/16".parse().unwrap(), Some([10, 1, 2, 9].into()), bridge.index),
            route::add_default([10, 1, 2, 254].into(), bridge.index),
        ])
        .unwrap();
        let veth = rt.link("d0").unwrap().unwrap();
        assert_eq!((veth.master, veth.mtu), (Some(bridge.index), 1200));
        let bridge = rt.link("br0").unwrap().unwrap();
        assert!(bridge.up && bridge.alias == "a note");
        let addresses = rt.addresses().unwrap();
        assert!(addresses.iter().any(|a| a.link == bridge.index && a.net.to_string() == "10.1.2.1/24"));
        let routes: Vec<String> = rt
            .routes()
            .unwrap()
            .iter()
            .map(|r| {
                format!("{} via {}", r.destination, r.gateway.map(|g| g.to_string()).unwrap_or_default())
            })
            .collect();
        for wanted in ["0.0.0.0/0 via 10.1.2.254", "10.1.2.0/24 via ", "10.9.0.0/16 via 10.1.2.9"] {
            assert!(routes.iter().any(|r| r == wanted), "{wanted:?} in {routes:?}");
        }
        rt.change(vec![
            route::delete("10.9.0.0/16".parse().unwrap(), Some([10, 1, 2, 9].into()), bridge.index),
            address::delete(bridge.index, "10.1.2.1/24".parse().unwrap()),
            link::set_down(veth.index),
            link::set_name(veth.index, "d1"),
            link::delete("br0"),
        ])
        .unwrap();
        let names: Vec<String> = rt.links().unwrap().into_iter().map(|l| l.name).collect();
        assert!(names.contains(&"d1".to_owned()) && !names.contains(&"br0".to_owned()), "{names:?}");
    });
}

#[test]
fn a_refusal_names_operation_object_and_reason() {
    apart(|| {
        let mut rt = Rtnetlink::open().unwrap();
        let error = rt.change(vec![link::delete("nope")]).unwrap_err();
        assert!(error.to_string().starts_with("delete link nope: no such device"), "{error}");
        assert!(error.is(rustix::io::Errno::NODEV));
        let changes = vec![address::add(1, "10.0.0.1/8".parse().unwrap()), link::add_bridge("lo", [2; 6], 0)];
        let text = rt.change(changes).unwrap_err().to_string();
        assert!(text.starts_with("create bridge lo: file exists"), "{text}");
        assert!(
            rt.addresses().unwrap().iter().any(|a| a.net.to_string() == "10.0.0.1/8"),
            "the first was carried out"
        );
        let text =
            rt.change(vec![link::add_bridge("a name that is too long", [2; 6], 0)]).unwrap_err().to_string();
        assert!(text.starts_with("create bridge a name that is too long: ") && text.contains('('), "{text}");
    });
}

const TABLE: &str = "t";

fn table(batch: &mut Batch) {
    batch.replace_table();
    batch.add_set(&SetSpec { name: "s", key: vec![Field::IfName], data: vec![], interval: false });
    batch.add_chain(&ChainSpec { name: "c", hook: None });
    batch.add_rule("c", &[Expression::Counter, Expression::Verdict(Verdict::Drop)], "a note");
}

#[test]
fn a_batch_happens_as_a_whole_or_not_at_all() {
    apart(|| {
        let mut nft = Nftables::open().unwrap();
        let mut batch = Batch::new(Family::Ipv4, TABLE);
        table(&mut batch);
        batch.add_rule("nowhere", &[Expression::Verdict(Verdict::Accept)], "");
        let error = nft.commit(batch).unwrap_err();
        assert!(
            error.to_string().starts_with("add rule to chain nowhere in table ip t: no such file"),
            "{error}"
        );
        assert!(!nft.has_table(Family::Ipv4, TABLE).unwrap());

        let mut batch = Batch::new(Family::Ipv4, TABLE);
        table(&mut batch);
        nft.commit(batch).unwrap();
        // Thousands of elements in one transaction, more than a default send buffer takes.
        let names: Vec<String> = (0..8000).map(|n| format!("if{n}")).collect();
        let elements: Vec<Element> = names.iter().map(|n| Element::interfaces(&[n])).collect();
        let mut batch = Batch::new(Family::Ipv4, TABLE);
        batch.add_elements("s", &elements);
        nft.commit(batch).unwrap();
        let mut batch = Batch::new(Family::Ipv4, TABLE);
        batch.delete_elements("s", &elements);
        nft.commit(batch).unwrap();
        let mut batch = Batch::new(Family::Ipv4, TABLE);
        batch.delete_elements("s", &elements[..1]);
        assert!(nft.commit(batch).unwrap_err().is(rustix::io::Errno::NOENT));
    });
}

#[test]
fn changes_of_others_are_told_from_ours() {
    apart(|| {
        let mut watch = Watch::open().unwrap();
        let (mut one, mut two) = (Nftables::open().unwrap(), Nftables::open().unwrap());
        for nft in [&mut one, &mut two] {
            let mut batch = Batch::new(Family::Ipv4, TABLE);
            table(&mut batch);
            nft.commit(batch).unwrap();
        }
        let mut seen: Vec<u32> = Vec::new();
        while !seen.contains(&two.port()) {
            let Changes::Some(changes) = watch.changes().unwrap() else { panic!("lost") };
            assert!(changes.iter().all(|c: &Change| c.table == TABLE && c.family == Family::Ipv4));
            seen.extend(changes.iter().map(|c| c.port));
        }
        seen.dedup();
        assert_eq!(seen, [one.port(), two.port()]);
    });
}
