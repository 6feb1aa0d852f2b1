//! The server: one set of tasks in the engine serves the sockets of all containers.
//!
//! Invariants: a container's queries are read by tasks of its own, so one that floods or leaves connections half open waits for
//! itself; each wait, queue and message has a bound; who asks is known by the socket, never by what the packet says.
use crate::decide::{Decision, decide};
use crate::limits::{Pace, Share, Waiting};
use crate::message::{Answer, Code, Invalid, MAX_MESSAGE, MAX_QUERY, Query};
use crate::resolvers::Resolvers;
use crate::sockets::{Place, Sockets};
use crate::upstream::Upstream;
use knarr_base::ContainerId;
use knarr_network::{Names, Visitor};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// TCP connections of one container at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a TCP connection may be silent between two queries.
const IDLE: Duration = Duration::from_secs(5);
/// How long the rest of a message may take once its first byte is there, and an answer to be taken.
const TRANSFER: Duration = Duration::from_secs(2);
/// Queries of one TCP connection.
const MAX_QUERIES: usize = 1000;
/// Pause after an error that would come again at once, such as no free descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows the names as they are now.
type WithNames = dyn Fn(&mut dyn FnMut(&Names)) + Send + Sync;

/// Serves all containers of an engine. Copies share it.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    names: Box<WithNames>,
    resolvers: Resolvers,
    waiting: Waiting,
    /// Opens sockets in containers' namespaces; started with the first container that has servers of its own.
    visitor: OnceLock<Visitor>,
    /// Tasks per container.
    running: Mutex<HashMap<ContainerId, [AbortHandle; 2]>>,
}

/// A container that is served.
#[derive(Debug, Clone)]
pub struct Client {
    pub container: ContainerId,
    /// Servers that the user chose (`--dns`); empty: the host's.
    pub servers: Vec<IpAddr>,
    /// Somebody chose an `ndots` for its `resolv.conf`.
    pub ndots_set: bool,
}

struct Served {
    client: Client,
    shared: Arc<Shared>,
    share: Share,
    /// Of all its queries, whichever way they come.
    pace: Mutex<Pace>,
    /// `None`: the host's.
    chosen: Option<Arc<Upstream>>,
}

impl Server {
    /// `host` is the `resolv.conf` of the host.
    /// `names` calls what it is given with the names as they are.
    pub fn new(
        host: impl Into<PathBuf>,
        names: impl Fn(&mut dyn FnMut(&Names)) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            names: Box::new(names),
            resolvers: Resolvers::of(host.into()),
            waiting: Waiting::default(),
            visitor: OnceLock::new(),
            running: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to serve a container, in place of what was served for it before. Call it on a thread of the async runtime.
    pub fn serve(&self, client: Client, sockets: &Sockets) -> io::Result<()> {
        let chosen = match client.servers.as_slice() {
            [] => None,
            servers => {
                let (namespace, visitor) = (Arc::new(sockets.namespace()?), self.visitor()?);
                Some(Arc::new(Upstream::of_container(servers, Place { namespace, visitor })))
            }
        };
        let udp = UdpSocket::from_std(sockets.udp.try_clone()?)?;
        let tcp = TcpListener::from_std(sockets.tcp.try_clone()?)?;
        let container = client.container.clone();
        let share = self.shared.waiting.share();
        let pace = Mutex::new(Pace::new(Instant::now()));
        let served = Arc::new(Served { client, shared: Arc::clone(&self.shared), share, pace, chosen });
        let tasks = [
            tokio::spawn(datagrams(Arc::clone(&served), Arc::new(udp))).abort_handle(),
            tokio::spawn(connections(served, tcp)).abort_handle(),
        ];
        stop(self.running().insert(container, tasks));
        Ok(())
    }

    fn visitor(&self) -> io::Result<Visitor> {
        if let Some(visitor) = self.shared.visitor.get() {
            return Ok(visitor.clone());
        }
        let started = Visitor::start().map_err(io::Error::other)?;
        Ok(self.shared.visitor.get_or_init(|| started).clone())
    }

    /// The container ended.
    pub fn forget(&self, container: &ContainerId) {
        stop(self.running().remove(container));
    }

    /// Whether the container is served.
    pub fn serves(&self, container: &ContainerId) -> bool {
        self.running().contains_key(container)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<ContainerId, [AbortHandle; 2]>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(tasks: Option<[AbortHandle; 2]>) {
    tasks.into_iter().flatten().for_each(|task| task.abort());
}

/// How an answer goes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Datagram,
    Stream,
}

/// What is to be done about a message.
enum Next {
    Send(Vec<u8>),
    Ask(Arc<Query>, Arc<Upstream>),
    Nothing,
}

impl Served {
    async fn next(&self, message: &[u8], way: Way) -> Next {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Invalid::Ignore) => return Next::Nothing,
            Err(Invalid::Reply(reply)) => return Next::Send(reply),
        };
        let mut decision = Decision::Reply(Code::SERVER_FAILURE, Vec::new());
        let mut confined = true;
        (self.shared.names)(&mut |names| {
            decision = decide(&query, names, &self.client.container, self.client.ndots_set);
            confined = names.is_confined(&self.client.container);
        });
        match decision {
            Decision::Reply(code, mut answers) => {
                shuffle(&mut answers);
                Next::Send(query.reply(code, &answers, limit(&query, way)))
            }
            Decision::Forward => match self.upstream(confined).await {
                Some(upstream) => Next::Ask(Arc::new(query), upstream),
                None => Next::Send(query.reply(Code::NO_SUCH_NAME, &[], limit(&query, way))),
            },
        }
    }

    /// Whom to ask; nobody for a container whose networks are closed, but servers that it could reach itself.
    async fn upstream(&self, confined: bool) -> Option<Arc<Upstream>> {
        match &self.chosen {
            Some(chosen) => Some(Arc::clone(chosen)),
            None if confined => None,
            None => Some(self.shared.resolvers.current(Instant::now()).await),
        }
    }

    /// After each query: a client that sends too many waits.
    async fn slow_down(&self) {
        let pause = self.pace.lock().unwrap_or_else(PoisonError::into_inner).step(Instant::now());
        if let Some(pause) = pause {
            sleep(pause).await;
        }
    }

    async fn ask(&self, query: Arc<Query>, upstream: Arc<Upstream>, way: Way) -> Vec<u8> {
        let limit = limit(&query, way);
        let Some(place) = self.share.take() else { return query.reply(Code::REFUSED, &[], limit) };
        match upstream.ask(Arc::clone(&query), way == Way::Stream, Arc::new(place)).await {
            Some(answer) => query.pass_on(answer, limit),
            None => query.reply(Code::SERVER_FAILURE, &[], limit),
        }
    }
}

fn limit(query: &Query, way: Way) -> usize {
    match way {
        Way::Datagram => query.datagram_limit(),
        Way::Stream => MAX_MESSAGE,
    }
}

/// Another order each time, so that several containers under one name share the work.
fn shuffle(answers: &mut [Answer]) {
    if answers.len() < 2 {
        return;
    }
    let mut seed = [0; 8];
    let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    let mut state = u64::from_ne_bytes(seed) | 1;
    for last in (1..answers.len()).rev() {
        // xorshift64: nobody's safety depends on this order.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        answers.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

async fn datagrams(served: Arc<Served>, socket: Arc<UdpSocket>) {
    // One byte more than a query may have: what is longer is seen to be so.
    let mut buffer = vec![0; MAX_QUERY + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(container = served.client.container.short(), %error, "name server: no datagram");
                sleep(PAUSE).await;
                continue;
            }
        };
        match served.next(&buffer[..length], Way::Datagram).await {
            // A client whose buffer is full loses its answer, not the others'.
            Next::Send(reply) => drop(socket.try_send_to(&reply, from)),
            Next::Ask(query, upstream) => {
                tokio::spawn(ask_for(Arc::clone(&served), Arc::clone(&socket), query, upstream, from));
            }
            Next::Nothing => {}
        }
        served.slow_down().await;
    }
}

async fn ask_for(
    served: Arc<Served>,
    socket: Arc<UdpSocket>,
    query: Arc<Query>,
    upstream: Arc<Upstream>,
    from: SocketAddr,
) {
    let reply = served.ask(query, upstream, Way::Datagram).await;
    let _ = timeout(TRANSFER, socket.send_to(&reply, from)).await;
}

async fn connections(served: Arc<Served>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&served), stream, place));
            }
            Err(error) => {
                tracing::debug!(container = served.client.container.short(), %error, "name server: no connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Queries one after the other, until the client has no more, is too slow, or says what is no query.
async fn connection(served: Arc<Served>, mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    for _ in 0..MAX_QUERIES {
        let Ok(Some(message)) = read(&mut stream).await else { return };
        let reply = match served.next(&message, Way::Stream).await {
            Next::Send(reply) => reply,
            Next::Ask(query, upstream) => served.ask(query, upstream, Way::Stream).await,
            Next::Nothing => return,
        };
        let mut framed = (reply.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&reply);
        match timeout(TRANSFER, stream.write_all(&framed)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
        served.slow_down().await;
    }
}

/// The next message; nothing for one that is too long, or a client that has gone or is too slow.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let first = timeout(IDLE, stream.read_u8()).await??;
    let rest = async {
        let length = usize::from(u16::from_be_bytes([first, stream.read_u8().await?]));
        if length > MAX_QUERY {
            return Ok(None);
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        Ok(Some(message))
    };
    timeout(TRANSFER, rest).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes() {
        let address = |n: u8| Answer::Address(IpAddr::from([10, 0, 0, n]));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..500 {
            let mut answers = vec![address(1), address(2), address(3)];
            shuffle(&mut answers);
            seen.insert(format!("{answers:?}"));
        }
        assert_eq!(seen.len(), 6);
    }
}
