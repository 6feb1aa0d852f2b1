//! The server in real network namespaces, without an engine. Needs root.
use knarr_base::ContainerId;
use knarr_dns::{Client, Server, Sockets};
use knarr_network::{Endpoint, Names, Namespace, Network};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

const HERE: (&str, u16) = ("127.0.0.11", 53);
/// A query for A of `web`, number 7.
const QUERY: [u8; 21] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'e', b'b', 0, 0, 1, 0, 1];
const WAIT: Duration = Duration::from_secs(10);

fn container() -> ContainerId {
    ContainerId::parse(&"a".repeat(64)).unwrap()
}

fn names(containers: u32) -> Names {
    let (network, endpoints) = rows(containers);
    Names::new([&network].into_iter(), endpoints.iter())
}

fn rows(containers: u32) -> (Network, Vec<Endpoint>) {
    let network: Network = serde_json::from_value(json!({"id": "1".repeat(64), "name": "front", "driver": "bridge",
        "created_nanos": 0, "predefined": false, "internal": false, "attachable": false, "subnets": [], "options": {},
        "labels": {}}))
    .unwrap();
    let endpoints: Vec<Endpoint> = (0..containers)
        .map(|n| {
            let (id, name) = if n == 0 {
                ("a".repeat(64), "web".to_owned())
            } else {
                (format!("{n:064x}"), format!("c{n}"))
            };
            let row = json!({"id": "", "container": id, "container_name": name, "network": "1".repeat(64), "network_name":
                "front", "interface": "eth0", "host_interface": "", "ipv4": std::net::Ipv4Addr::from(0x0a00_0002 + n),
                "prefix": 16, "aliases": [], "dns_names": [name, &id[..12]], "ports": []});
            serde_json::from_value(row).unwrap()
        })
        .collect();
    (network, endpoints)
}

fn over_udp(namespace: BorrowedFd<'_>) -> std::io::Result<Vec<u8>> {
    let asked = Namespace::run(namespace, || {
        let ask = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(HERE)?;
            socket.set_read_timeout(Some(WAIT))?;
            socket.send(&QUERY)?;
            let mut answer = vec![0; 512];
            let length = socket.recv(&mut answer)?;
            answer.truncate(length);
            Ok(answer)
        };
        Ok(ask())
    });
    asked.unwrap()
}

fn over_tcp(namespace: BorrowedFd<'_>) -> std::io::Result<Vec<u8>> {
    let asked = Namespace::run(namespace, || {
        let ask = || {
            let mut stream = TcpStream::connect(HERE)?;
            stream.set_read_timeout(Some(WAIT))?;
            stream.write_all(&[&[0, QUERY.len() as u8], &QUERY[..]].concat())?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        Ok(ask())
    });
    asked.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_wait_for_the_next_server() {
    let namespace = Namespace::create().unwrap();
    let all = Arc::new(names(1));
    let server = || {
        let all = Arc::clone(&all);
        Server::new("/nonexistent", move |look| look(&all))
    };
    let client = Client { container: container(), servers: vec![], ndots_set: false };
    let sockets = Sockets::open(namespace.as_fd()).unwrap();
    let kept = sockets.descriptors().unwrap();
    assert_eq!(kept.len(), 3, "with nftables there are rules to keep");
    let first = server();
    first.serve(client.clone(), &sockets).unwrap();
    let wanted = [10, 0, 0, 2];
    let ask = |how: fn(BorrowedFd<'_>) -> std::io::Result<Vec<u8>>| {
        let fd = namespace.as_fd().try_clone_to_owned().unwrap();
        tokio::task::spawn_blocking(move || how(fd.as_fd()))
    };
    assert!(ask(over_udp).await.unwrap().unwrap().ends_with(&wanted));
    assert!(ask(over_tcp).await.unwrap().unwrap().ends_with(&wanted));
    // The engine dies; the sockets live on with whoever keeps them.
    first.forget(&client.container);
    drop((first, sockets));
    let waiting = [ask(over_udp), ask(over_tcp)];
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(waiting.iter().all(|w| !w.is_finished()), "neither answered nor refused");
    let second = server();
    // The rules last as long as their connection, which the keeper has.
    let kept = Sockets::from_descriptors(kept).unwrap();
    second.serve(client, &kept).unwrap();
    for waiting in waiting {
        assert!(waiting.await.unwrap().unwrap().ends_with(&wanted));
    }
}

/// `cargo test --release -p knarr-dns --test served -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test"]
fn cost() {
    const ROUNDS: usize = 200;
    let median = |what: &str, mut times: Vec<Duration>| {
        times.sort();
        println!(
            "{what:44} median {:?}, 95 of 100 below {:?}",
            times[times.len() / 2],
            times[times.len() * 95 / 100]
        );
    };
    let timed = |f: &mut dyn FnMut()| {
        let begin = Instant::now();
        f();
        begin.elapsed()
    };
    let (mut made, mut opened, mut entered, mut closed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut namespace = None;
        made.push(timed(&mut || namespace = Some(Namespace::create().unwrap())));
        let namespace = namespace.unwrap();
        entered.push(timed(&mut || Namespace::run(namespace.as_fd(), || Ok(())).unwrap()));
        let mut sockets = None;
        opened.push(timed(&mut || sockets = Some(Sockets::open(namespace.as_fd()).unwrap())));
        closed.push(timed(&mut || drop(sockets.take())));
    }
    median("a new namespace", made);
    median("a thread in it", entered);
    median("the sockets and rules in it", opened);
    median("their end", closed);
    for containers in [10, 500, 3000] {
        let (network, endpoints) = rows(containers);
        let mut index = || drop(std::hint::black_box(Names::new([&network].into_iter(), endpoints.iter())));
        let times = (0..50).map(|_| timed(&mut index)).collect();
        median(&format!("index of names, {containers} containers"), times);
    }
}
