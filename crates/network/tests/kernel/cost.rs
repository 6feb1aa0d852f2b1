//! What a start costs here: `cargo test --release -p knarr-network --test kernel -- --ignored --nocapture cost`.
use crate::world::{on_host, publish, request};
use knarr_netlink::link::Veth;
use knarr_netlink::nft::{Batch, Element, Family, Nftables};
use knarr_netlink::{Rtnetlink, address, link, route};
use knarr_network::{EndpointRequest, Namespace};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const ROUNDS: usize = 50;

fn median(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let p95 = times[times.len() * 95 / 100];
    println!("{name:32} median {:8.3} ms   p95 {:8.3} ms", ms(times[times.len() / 2]), ms(p95));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn timed<T>(times: &mut Vec<Duration>, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = f();
    times.push(start.elapsed());
    value
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_start() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        for (name, ports) in [("connect", vec![]), ("connect, one port", vec![publish(None, 8080, 80)])] {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let wanted = EndpointRequest { ports: ports.clone().into(), ..request("bridge") };
                let connected = timed(&mut up, || engine.connect(&wanted).unwrap());
                timed(&mut down, || engine.release(&wanted.container).unwrap());
                drop(connected);
                // As long as it takes between two starts that a person makes.
                std::thread::sleep(Duration::from_millis(40));
            }
            median(name, up);
            median(&format!("{name}: release"), down);
        }
        let many: Vec<_> = (20_000..32_000).map(|p| publish(None, p, p)).collect();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let wanted = EndpointRequest { ports: many.clone().into(), ..request("bridge") };
            timed(&mut up, || engine.connect(&wanted).unwrap());
            timed(&mut down, || engine.release(&wanted.container).unwrap());
        }
        median("connect, 12,000 ports", up);
        median("connect, 12,000 ports: release", down);
        steps();
        ports();
        let store = world.store("alone");
        let mut writes = Vec::new();
        let endpoint = engine.connect(&request("bridge")).unwrap().endpoint;
        for n in 0..ROUNDS {
            timed(&mut writes, || {
                store.write::<_, knarr_state::Error>(|tx| tx.put(&n.to_string(), &endpoint)).unwrap();
            });
        }
        median("  store write", writes);
    });
}

fn ports() {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    let mut connection = Nftables::open().unwrap();
    let element = Element {
        key: vec![vec![6], vec![0x23, 0x45]],
        key_end: None,
        data: vec![vec![172, 17, 9, 9], vec![0, 80]],
        comment: String::new(),
    };
    for _ in 0..ROUNDS {
        let mut batch = Batch::new(Family::Ipv4, "knarr-aaaa");
        batch.add_elements("published_any", std::slice::from_ref(&element));
        timed(&mut add, || connection.commit(batch).unwrap());
        let mut batch = Batch::new(Family::Ipv4, "knarr-aaaa");
        batch.delete_elements("published_any", std::slice::from_ref(&element));
        timed(&mut remove, || connection.commit(batch).unwrap());
    }
    median("  add a port's element", add);
    median("  remove it", remove);
}

fn steps() {
    let mut host = Rtnetlink::open().unwrap();
    let bridge = host.link("knarr0").unwrap().unwrap().index;
    let (mut make, mut pair, mut inside, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let name = format!("t{n}");
        let mut netns = timed(&mut make, || Namespace::create().unwrap());
        timed(&mut pair, || {
            let veth = Veth {
                name: &name,
                master: bridge,
                mtu: 1500,
                peer_name: "eth0",
                peer_mac: [2, 0, 0, 0, 0, 9],
                peer_netns: netns.as_fd(),
            };
            host.change(vec![link::add_veth(&veth)]).unwrap();
        });
        timed(&mut inside, || {
            let rt = netns.rtnetlink();
            let index = rt.link("eth0").unwrap().unwrap().index;
            rt.change(vec![
                link::set_up(index),
                address::add(index, "172.17.9.9/16".parse().unwrap()),
                route::add_default([172, 17, 0, 1].into(), index),
            ])
            .unwrap();
        });
        timed(&mut gone, || host.change(vec![link::delete(&name)]).unwrap());
    }
    median("  new namespace", make);
    median("  veth pair", pair);
    median("  address and route", inside);
    median("  delete a veth", gone);
}
