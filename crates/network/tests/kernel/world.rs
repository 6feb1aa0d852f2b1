//! Topologies: a host in a namespace of its own, other machines beside it.
use knarr_base::ContainerId;
use knarr_netlink::{Rtnetlink, address, link, route};
use knarr_network::{
    Connected, EndpointRequest, Namespace, NetworkConfig, Networks, PortBinding, PortRange, Protocol,
};
use knarr_state::Store;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const OPENING: Duration = Duration::from_secs(10);
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Runs `f` on a thread in a new namespace that plays the host. The thread's whole life is there.
pub fn on_host(f: impl FnOnce(&World) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let host = Namespace::create().unwrap().into_fd();
    Namespace::run(host.as_fd(), || {
        f(&World { directory: TempDir::new().unwrap() });
        Ok(())
    })
    .unwrap();
}

/// Once on a host whose bridges call the firewall for what they forward (`br_netfilter`), once on one whose do not.
pub fn on_both_hosts(f: impl Fn(&World) + Sync + Send) {
    for value in ["1", "0"] {
        on_host(|world| {
            let set = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", value);
            if set.is_ok() || value == "0" {
                f(world);
            }
        });
    }
}

pub struct World {
    directory: TempDir,
}

impl World {
    pub fn store(&self, name: &str) -> Store {
        // A store that an engine before had is closed when its last write in the background is done.
        let deadline = Instant::now() + OPENING;
        loop {
            match Store::open(&self.directory.path().join(name)) {
                Err(knarr_state::Error::InUse { .. }) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// An engine with its bridges in place.
    pub fn engine(&self, id: &str) -> Networks {
        self.engine_with(NetworkConfig { engine_id: id.to_owned(), ..NetworkConfig::default() })
    }

    pub fn engine_with(&self, config: NetworkConfig) -> Networks {
        let networks = Networks::open(self.store(&config.engine_id), config).unwrap();
        networks.restore(&[]).unwrap();
        networks
    }

    /// Another machine, on a cable to the host: it has `theirs`, the host `ours`, both in one /24.
    pub fn machine(&self, cable: &str, ours: Ipv4Addr, theirs: Ipv4Addr) -> Machine {
        let mut inside = Namespace::create().unwrap();
        let mut host = Rtnetlink::open().unwrap();
        host.change(vec![link::add_veth_pair(cable, "eth0", inside.as_fd())]).unwrap();
        let net = |ip| ipnet::IpNet::new(std::net::IpAddr::V4(ip), 24).unwrap();
        let index = host.link(cable).unwrap().unwrap().index;
        host.change(vec![address::add(index, net(ours)), link::set_up(index)]).unwrap();
        let rt = inside.rtnetlink();
        let index = rt.link("eth0").unwrap().unwrap().index;
        rt.change(vec![address::add(index, net(theirs)), link::set_up(index)]).unwrap();
        Machine { netns: inside.into_fd() }
    }
}

/// Gives both ends of a cable an IPv6 address, of one /64.
pub fn add_ipv6(cable: &str, ours: &str, machine: &Machine, theirs: &str) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{cable}/disable_ipv6"), "0").unwrap();
    Namespace::run(machine.netns.as_fd(), || {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
        Ok(())
    })
    .unwrap();
    let mut host = Rtnetlink::open().unwrap();
    let index = host.link(cable).unwrap().unwrap().index;
    host.change(vec![address::add(index, ours.parse().unwrap())]).unwrap();
    let mut inside = Namespace::enter(machine.netns.as_fd()).unwrap();
    let rt = inside.rtnetlink();
    let index = rt.link("eth0").unwrap().unwrap().index;
    rt.change(vec![address::add(index, theirs.parse().unwrap())]).unwrap();
}

pub struct Machine {
    pub netns: OwnedFd,
}

impl Machine {
    /// Sends everything for `net` through `gateway`.
    pub fn route(&self, net: &str, gateway: impl Into<IpAddr>) {
        let mut inside = Namespace::enter(self.netns.as_fd()).unwrap();
        let index = inside.rtnetlink().link("eth0").unwrap().unwrap().index;
        inside
            .rtnetlink()
            .change(vec![route::add(net.parse().unwrap(), Some(gateway.into()), index)])
            .unwrap();
    }
}

/// The namespace's root gives up its own loopback and sends 127.0.0.0/8 to `gateway`.
pub fn give_up_loopback(netns: BorrowedFd<'_>, gateway: Ipv4Addr) {
    let mut inside = Namespace::enter(netns).unwrap();
    Namespace::run(netns, || {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        Ok(())
    })
    .unwrap();
    let rt = inside.rtnetlink();
    let eth0 = rt.link("eth0").unwrap().unwrap().index;
    rt.change(vec![address::delete(1, "127.0.0.1/8".parse().unwrap()), link::set_down(1)]).unwrap();
    rt.change(vec![route::add("127.0.0.0/8".parse().unwrap(), Some(gateway.into()), eth0)]).unwrap();
}

pub fn id() -> ContainerId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 32];
    let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ContainerId::from_bytes(&bytes)
}

pub fn request(network: &str) -> EndpointRequest {
    let id = id();
    let name = format!("c-{}", id.short());
    EndpointRequest::new(id, name, network)
}

pub fn publish(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PortBinding {
    PortBinding {
        protocol: Protocol::Tcp,
        container_port,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: (host_port != 0).then(|| PortRange::one(host_port)),
        scope: None,
    }
}

/// A server that tells every client the address that it sees the client under.
pub fn serve(netns: BorrowedFd<'_>, port: u16) {
    serve_on(netns, Ipv4Addr::UNSPECIFIED.into(), port);
}

/// The same for both families.
pub fn serve_both(netns: BorrowedFd<'_>, port: u16) {
    serve_on(netns, Ipv6Addr::UNSPECIFIED.into(), port);
}

fn serve_on(netns: BorrowedFd<'_>, address: IpAddr, port: u16) {
    let listener = Namespace::run(netns, || Ok(TcpListener::bind((address, port)).unwrap())).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{}", peer.ip().to_canonical());
        }
    });
}

/// What the server at `to` says to a client in `netns`; `None`: it could not be reached.
pub fn ask(netns: BorrowedFd<'_>, to: &str) -> Option<String> {
    Namespace::run(netns, || Ok(ask_here(to))).unwrap()
}

/// The same from the calling thread's namespace.
pub fn ask_here(to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    // A new address of IPv6 is found a while after it was given, and how long is up to the kernel.
    let mut tries = if to.is_ipv6() { 5 } else { 1 };
    let mut stream = loop {
        tries -= 1;
        match TcpStream::connect_timeout(&to, TIMEOUT) {
            Ok(stream) => break stream,
            Err(_) if tries == 0 => return None,
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    };
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Like `ask`, for what is expected to fail: does not wait long.
pub fn unreachable(netns: BorrowedFd<'_>, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    Namespace::run(netns, || Ok(TcpStream::connect_timeout(&to, Duration::from_millis(400)).is_err()))
        .unwrap()
}

pub fn address_of(connected: &Connected) -> String {
    connected.endpoint.ipv4.unwrap().to_string()
}
