//! The sockets of a name server inside of a container's network namespace.
//!
//! Clients ask 127.0.0.11, port 53. The sockets themselves have ports that the kernel chose, because a program of the container
//! has to be able to serve port 53 on all addresses, 127.0.0.11 among them, and the kernel gives a port of an address once. Two
//! stateless rules of nftables change the ports of these packets on their way: no connection tracking is needed for it. The
//! table belongs to its connection (nft(8), `flags owner`): nothing in the container can flush it, whatever it may do there.
//!
//! Invariant: all three descriptors are of one namespace and one life; they are kept by the container's supervisor, so that
//! queries wait in the sockets while no engine runs.
use knarr_netlink::nft::{
    Batch, ChainKind, ChainSpec, Compare, Expression, Family, Header, Hook, HookSpec, MetaKey, Nftables,
    Policy, Register,
};
use knarr_network::{Namespace, Visitor};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Docker's address of it.
pub const ADDRESS: IpAddr = IpAddr::V4(OWN);
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
const TABLE: &str = "knarr-dns";
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Queries change before connection tracking sees them (-200), answers after.
const BEFORE_TRACKING: i32 = -300;
const AFTER_TRACKING: i32 = -150;
const QUERIES: &str = "queries";
const ANSWERS: &str = "answers";

/// Open sockets in one namespace.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    /// The connection that owns the rules; `None`: the sockets have port 53 themselves.
    rules: Option<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("name server of the container: {action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("name server of the container: {0}")]
    Namespace(#[from] knarr_network::Error),
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

impl Sockets {
    /// Opens them in a namespace whose loopback is up.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        Namespace::run(namespace, || Ok(Self::open_here()))?
    }

    fn open_here() -> Result<Self, Error> {
        let sockets = Self::bind(0)?;
        let port =
            |address: io::Result<SocketAddr>| Ok::<_, Error>(address.map_err(failed("read a port"))?.port());
        let (udp, tcp) = (port(sockets.udp.local_addr())?, port(sockets.tcp.local_addr())?);
        let installed = Nftables::open().and_then(|mut nftables| {
            nftables.commit(rules(udp, tcp))?;
            nftables.into_fd()
        });
        match installed {
            Ok(rules) => Ok(Self { rules: Some(rules), ..sockets }),
            Err(error) => {
                // A kernel without nftables: only that programs of the container cannot have port 53 of all addresses.
                tracing::warn!(%error, "the name server takes port 53 of the container's 127.0.0.11 itself");
                Self::bind(PORT)
            }
        }
    }

    fn bind(port: u16) -> Result<Self, Error> {
        let udp = UdpSocket::bind((OWN, port)).map_err(failed("bind a datagram socket"))?;
        let tcp = TcpListener::bind((OWN, port)).map_err(failed("listen"))?;
        udp.set_nonblocking(true).map_err(failed("set a socket's mode"))?;
        tcp.set_nonblocking(true).map_err(failed("set a socket's mode"))?;
        Ok(Self { udp, tcp, rules: None })
    }

    /// Copies for the one who keeps them.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let all = [Some(self.udp.as_fd()), Some(self.tcp.as_fd()), self.rules.as_ref().map(AsFd::as_fd)];
        all.into_iter().flatten().map(|fd| fd.try_clone_to_owned()).collect()
    }

    /// The same ones back; `None`: they are none.
    pub fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut all = descriptors.into_iter();
        Some(Self { udp: all.next()?.into(), tcp: all.next()?.into(), rules: all.next() })
    }

    /// Theirs.
    pub(crate) fn namespace(&self) -> io::Result<OwnedFd> {
        Ok(knarr_linux::namespace::of_socket(self.udp.as_fd())?)
    }
}

/// `th dport 53 -> port` for queries, and back for answers.
fn rules(udp: u16, tcp: u16) -> Batch {
    let mut batch = Batch::new(Family::Ipv4, TABLE);
    batch.add_owned_table();
    for (name, priority) in [(QUERIES, BEFORE_TRACKING), (ANSWERS, AFTER_TRACKING)] {
        let hook = HookSpec { kind: ChainKind::Filter, hook: Hook::Output, priority, policy: Policy::Accept };
        batch.add_chain(&ChainSpec { name, hook: Some(hook) });
    }
    for (protocol, port) in [(UDP, udp), (TCP, tcp)] {
        batch.add_rule(QUERIES, &change_port(protocol, Side::Destination, PORT, port), "");
        batch.add_rule(ANSWERS, &change_port(protocol, Side::Source, port, PORT), "");
    }
    batch
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn change_port(protocol: u8, side: Side, from: u16, to: u16) -> Vec<Expression> {
    const VALUE: Register = Register(0);
    // Offsets in the headers of IPv4, and of TCP and UDP.
    let (address, port) = match side {
        Side::Source => (12, 0),
        Side::Destination => (16, 2),
    };
    let checksum = if protocol == TCP { 16 } else { 6 };
    let is = |value: Vec<u8>| Expression::Compare { from: VALUE, op: Compare::Equal, value };
    vec![
        Expression::Meta { key: MetaKey::L4Proto, to: VALUE },
        is(vec![protocol]),
        Expression::Payload { header: Header::Network, offset: address, len: 4, to: VALUE },
        is(OWN.octets().to_vec()),
        Expression::Payload { header: Header::Transport, offset: port, len: 2, to: VALUE },
        is(from.to_be_bytes().to_vec()),
        Expression::Value { value: to.to_be_bytes().to_vec(), to: VALUE },
        Expression::PayloadWrite { header: Header::Transport, offset: port, len: 2, from: VALUE, checksum },
    ]
}

/// Of the family of a server, with a port that the kernel chooses.
pub(crate) fn any_address(server: SocketAddr) -> SocketAddr {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

/// A container's namespace, and the thread that opens sockets there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub namespace: Arc<OwnedFd>,
    pub visitor: Visitor,
}

impl Place {
    async fn open<T: Send + 'static>(
        &self,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, opened) = oneshot::channel();
        let visit = move || drop(sender.send(open()));
        self.visitor.visit(Arc::clone(&self.namespace), visit).map_err(io::Error::other)?;
        // Dropped: the namespace could not be entered.
        opened.await.map_err(io::Error::other)?
    }

    pub async fn datagram(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        self.open(move || {
            let socket = UdpSocket::bind(any_address(server))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .await
    }

    /// Not yet connected.
    pub async fn stream(&self, server: SocketAddr) -> io::Result<TcpStream> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = move || Ok(TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?));
        self.open(open).await
    }
}
