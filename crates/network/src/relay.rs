//! Published ports where the kernel cannot lead the way: from IPv6 addresses of the host to containers that have IPv4 only,
//! and from `[::1]`, whose packets leave the host by no bridge. Docker has a process (`docker-proxy`) per port for that.
//!
//! One thread for all ports of the engine, started with the first; it holds the listening sockets, copies bytes, and sends
//! datagrams on from a socket per sender. The container sees the host's address, not the sender's.
//!
//! Invariants: connections of a container and senders of a port are bounded, more wait or are dropped; who may not use the port
//! (`Scope`, an internal network) is turned away before the container hears of it.
use crate::port::Protocol;
use crate::scope::Scope;
use rustix::net::sockopt;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle as Task, JoinSet};
use tokio::time::{sleep, timeout};

/// Connections of one container at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// Senders of datagrams to one port at a time.
const MAX_SENDERS: usize = 1024;
/// How long a container may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long neither side of an exchange of datagrams has anything to say until it is over, as in Docker.
const IDLE: Duration = Duration::from_secs(90);
/// Pause after an error that would come again at once, such as no free descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// How long closing the sockets may take.
const CLOSING: Duration = Duration::from_secs(2);
const BUFFER: usize = 16 << 10;
const MAX_DATAGRAM: usize = 65_535;

/// Whether a sender may use published ports at all.
pub(crate) type Welcome = dyn Fn(IpAddr) -> bool + Send + Sync;

/// A socket that listens (TCP) or is bound (UDP), and where what comes there goes.
#[derive(Debug)]
pub(crate) struct Listening {
    pub socket: OwnedFd,
    pub protocol: Protocol,
    pub to: SocketAddr,
    pub scope: Scope,
}

/// Ports of one container; closed when this is dropped, and free on return of that.
#[derive(Debug)]
pub(crate) struct Relay {
    stop: Option<oneshot::Sender<()>>,
    stopped: Receiver<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Ends when the other side is dropped.
        let _ = self.stopped.recv_timeout(CLOSING);
    }
}

struct Opened {
    ports: Vec<Listening>,
    stop: oneshot::Receiver<()>,
    stopped: Sender<()>,
}

/// The thread, while there is one.
pub(crate) struct Relays {
    welcome: Arc<Welcome>,
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: mpsc::UnboundedSender<Opened>,
    thread: JoinHandle<()>,
}

impl Relays {
    pub fn new(welcome: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { welcome: Arc::new(welcome), running: Mutex::default() }
    }

    pub fn open(&self, ports: Vec<Listening>) -> io::Result<Option<Relay>> {
        if ports.is_empty() {
            return Ok(None);
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(start(Arc::clone(&self.welcome))?),
        };
        let ((stop, asked), (ended, stopped)) = (oneshot::channel(), channel());
        let opened = Opened { ports, stop: asked, stopped: ended };
        running.queue.send(opened).map_err(|_| io::Error::other("the relay's thread has ended"))?;
        Ok(Some(Relay { stop: Some(stop), stopped }))
    }
}

/// All sockets are closed then.
impl Drop for Relays {
    fn drop(&mut self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { queue, thread }) = running {
            drop(queue);
            let _ = thread.join();
        }
    }
}

fn start(welcome: Arc<Welcome>) -> io::Result<Running> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (queue, mut incoming) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("port-relay".into()).spawn(move || {
        runtime.block_on(async {
            while let Some(opened) = incoming.recv().await {
                tokio::spawn(serve(opened, Arc::clone(&welcome)));
            }
        });
    })?;
    Ok(Running { queue, thread })
}

async fn serve(opened: Opened, welcome: Arc<Welcome>) {
    let Opened { ports, stop, stopped } = opened;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    for port in ports {
        let (to, protocol) = (port.to, port.protocol);
        let (places, welcome) = (Arc::clone(&places), Arc::clone(&welcome));
        tasks.spawn(async move {
            let result = match protocol {
                Protocol::Tcp => streams(port, &places, &*welcome).await,
                Protocol::Udp => datagrams(port, &*welcome).await,
                Protocol::Sctp => Ok(()),
            };
            if let Err(error) = result {
                tracing::error!(%error, %to, %protocol, "a published port is not relayed");
            }
        });
    }
    let _ = stop.await;
    tasks.shutdown().await;
    drop(stopped);
}

/// The host itself always may.
fn may(welcome: &Welcome, scope: &Scope, from: SocketAddr) -> bool {
    let ip = from.ip().to_canonical();
    welcome(ip) && (scope.allows(ip) || is_local(from))
}

/// Whether it is one of the host's own addresses: then something can be bound to it.
fn is_local(from: SocketAddr) -> bool {
    let mut own = from;
    own.set_port(0);
    std::net::UdpSocket::bind(own).is_ok()
}

async fn streams(port: Listening, places: &Arc<Semaphore>, welcome: &Welcome) -> io::Result<()> {
    let listener = TcpListener::from_std(port.socket.into())?;
    // With the port its connections end.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return Ok(()) };
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) if may(welcome, &port.scope, from) => {
                connections.spawn(connection(stream, port.to, place));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, to = %port.to, "no connection for a relayed port");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(mut outside: TcpStream, to: SocketAddr, _place: OwnedSemaphorePermit) {
    let Ok(Ok(mut inside)) = timeout(CONNECT, TcpStream::connect(to)).await else { return };
    for stream in [&outside, &inside] {
        let _ = stream.set_nodelay(true);
        // So that connections of machines that are gone do not stay for good.
        let _ = sockopt::set_socket_keepalive(stream, true);
    }
    let _ = copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER, BUFFER).await;
}

/// An exchange with one sender.
struct Exchange {
    inside: Arc<UdpSocket>,
    last: Arc<Mutex<Instant>>,
    answers: Task<()>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn datagrams(port: Listening, welcome: &Welcome) -> io::Result<()> {
    let outside = Arc::new(UdpSocket::from_std(port.socket.into())?);
    let mut exchanges: HashMap<SocketAddr, Exchange> = HashMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let (length, from) = match outside.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An answer could not be delivered: that is its receiver's trouble.
            Err(error) => {
                tracing::debug!(%error, to = %port.to, "no datagram for a relayed port");
                sleep(PAUSE).await;
                continue;
            }
        };
        let known = exchanges.get(&from).filter(|exchange| !exchange.answers.is_finished());
        let exchange = match known {
            Some(exchange) => exchange,
            None => {
                if !may(welcome, &port.scope, from) {
                    continue;
                }
                if exchanges.len() >= MAX_SENDERS {
                    exchanges.retain(|_, exchange| !exchange.answers.is_finished());
                }
                if exchanges.len() >= MAX_SENDERS {
                    continue;
                }
                let Ok(exchange) = exchange(&outside, from, port.to).await else { continue };
                exchanges.entry(from).insert_entry(exchange).into_mut()
            }
        };
        *exchange.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        // What the container has no room for is lost, as on any wire.
        let _ = exchange.inside.try_send(&buffer[..length]);
    }
}

async fn exchange(outside: &Arc<UdpSocket>, from: SocketAddr, to: SocketAddr) -> io::Result<Exchange> {
    let any: IpAddr = match to.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let inside = Arc::new(UdpSocket::bind((any, 0)).await?);
    inside.connect(to).await?;
    // Known to be writable, so that the first datagram is not lost.
    inside.writable().await?;
    let last = Arc::new(Mutex::new(Instant::now()));
    let answers = tokio::spawn(answers(Arc::clone(&inside), Arc::clone(outside), from, Arc::clone(&last)));
    Ok(Exchange { inside, last, answers })
}

async fn answers(
    inside: Arc<UdpSocket>,
    outside: Arc<UdpSocket>,
    from: SocketAddr,
    last: Arc<Mutex<Instant>>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let used = *last.lock().unwrap_or_else(PoisonError::into_inner);
        match timeout(IDLE.saturating_sub(used.elapsed()), inside.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                let _ = outside.try_send_to(&buffer[..length], from);
            }
            // Nobody listens there now; that may change.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(Err(_)) => return,
            Err(_) if last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= IDLE => return,
            Err(_) => {}
        }
    }
}
