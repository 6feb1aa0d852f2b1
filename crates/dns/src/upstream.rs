//! Asking other servers: the first at once, the next after a pause or a failure, whoever is first with an answer that counts.
//!
//! Standard: RFC 1035 (4.2), RFC 5452 (against forged answers: a random number and a random port for each server and query,
//! and only a datagram of that server with that question counts), RFC 7766 (TCP where a datagram was too small).
//!
//! Invariants: a query ends after [`DEADLINE`], which is before a client asks again; servers, sockets and bytes are bounded.
use crate::health::{Health, Outcome, winner};
use crate::limits::Place;
use crate::message::{Code, MAX_MESSAGE, Query};
use crate::sockets::{self, Place as Home};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Servers of one list, as in every C library.
pub const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;
/// Clients wait five seconds; Docker waits as long as this.
const DEADLINE: Duration = Duration::from_secs(4);
/// When the next server is asked although the one before may still answer.
const HEDGE: Duration = Duration::from_millis(300);
/// When a denial of a later server counts although one before may still answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a datagram is sent again: one may have been lost. In the end the server counts as failed.
const RESEND: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_millis(1500), Duration::from_millis(1500)];
/// Datagrams read for one that counts.
const MAX_FORGED: usize = 64;
const MAX_DATAGRAM: usize = MAX_MESSAGE;

/// Servers, and where they are reached from.
#[derive(Debug)]
pub struct Upstream {
    servers: Vec<SocketAddr>,
    health: Health,
    /// `None`: the engine's own namespace.
    home: Option<Home>,
}

impl Upstream {
    /// Servers of the host, asked from the host.
    pub fn of_host(servers: &[IpAddr]) -> Self {
        Self::new(servers, None)
    }

    /// Servers that the user chose for a container, asked as the container itself would.
    pub(crate) fn of_container(servers: &[IpAddr], home: Home) -> Self {
        Self::new(servers, Some(home))
    }

    fn new(servers: &[IpAddr], home: Option<Home>) -> Self {
        let own = |ip: &&IpAddr| home.is_none() || **ip != sockets::ADDRESS;
        let servers = servers.iter().filter(own).take(MAX_SERVERS).map(|ip| SocketAddr::new(*ip, PORT));
        Self::at(servers.collect(), home)
    }

    fn at(servers: Vec<SocketAddr>, home: Option<Home>) -> Self {
        Self { health: Health::new(servers.len()), servers, home }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The answer of the server that counts, under a number of ours; `None`: nobody had one.
    /// `whole`: the client has room for an answer of any size.
    pub async fn ask(self: &Arc<Self>, query: Arc<Query>, whole: bool, place: Arc<Place>) -> Option<Vec<u8>> {
        let order = self.health.order(Instant::now());
        let (sender, mut answers) = mpsc::channel(2 * MAX_SERVERS);
        let start = |index: usize, rank: usize| {
            let (this, query, sender, place) =
                (Arc::clone(self), Arc::clone(&query), sender.clone(), Arc::clone(&place));
            // It goes on when another was faster, to know whether the server is well.
            tokio::spawn(async move {
                let answer = this.try_one(index, &query, whole).await;
                let _ = sender.send((rank, answer)).await;
                drop(place);
            });
        };
        // Those that are only tried come last: what they say counts when all others failed.
        let ranks = order.ask.len() + order.probe.len();
        let mut outcomes = vec![Outcome::Pending; ranks];
        let mut replies: Vec<Option<Vec<u8>>> = vec![None; ranks];
        for (at, index) in order.probe.iter().enumerate() {
            start(*index, order.ask.len() + at);
        }
        let started = tokio::time::Instant::now();
        let mut asked = 0;
        loop {
            let all_failed = outcomes[..asked].iter().all(|o| *o == Outcome::Failed);
            if asked < order.ask.len() && all_failed {
                start(order.ask[asked], asked);
                asked += 1;
            }
            if outcomes.iter().all(|o| *o == Outcome::Failed) {
                break;
            }
            let more = asked < order.ask.len();
            let limit = if outcomes.contains(&Outcome::Denied) { PATIENCE } else { DEADLINE };
            tokio::select! {
                answer = answers.recv() => {
                    let Some((rank, answer)) = answer else { break };
                    outcomes[rank] = answer.as_ref().map_or(Outcome::Failed, |(outcome, _)| *outcome);
                    replies[rank] = answer.map(|(_, bytes)| bytes);
                    if let Some(won) = winner(&outcomes) {
                        return replies[won].take();
                    }
                }
                () = tokio::time::sleep(HEDGE), if more => {
                    start(order.ask[asked], asked);
                    asked += 1;
                }
                () = tokio::time::sleep_until(started + limit) => break,
            }
        }
        // A denial out of turn is better than nothing, and a server's own failure says more than ours.
        let denied = outcomes.iter().position(|o| *o == Outcome::Denied);
        denied.and_then(|rank| replies[rank].take()).or_else(|| replies.into_iter().flatten().next())
    }

    /// One server's answer. Only silence makes it ill: a failure may be about the name.
    async fn try_one(&self, index: usize, query: &Query, whole: bool) -> Option<(Outcome, Vec<u8>)> {
        let server = self.servers[index];
        let asked = timeout(DEADLINE, self.exchange(index, query, whole)).await;
        let failure = match asked {
            Ok(Ok((outcome, bytes))) => {
                self.health.answered(index);
                return Some((outcome, bytes));
            }
            Ok(Err(error)) => error,
            Err(_) => std::io::Error::from(std::io::ErrorKind::TimedOut),
        };
        tracing::debug!(%server, error = %failure, "no answer from a name server");
        if failure.kind() != std::io::ErrorKind::TimedOut {
            self.health.failed(index, Instant::now());
        }
        None
    }

    async fn exchange(
        &self,
        index: usize,
        query: &Query,
        whole: bool,
    ) -> std::io::Result<(Outcome, Vec<u8>)> {
        let server = self.servers[index];
        let number = random_number()?;
        let sent = query.numbered(number);
        let socket = self.datagram_socket(server).await?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        for wait in RESEND {
            socket.send(&sent).await?;
            let answer = timeout(wait, receive(&socket, &mut buffer, query, number)).await;
            let Ok(answer) = answer else {
                // Others are asked first from now on; should it answer after all, it is well again.
                self.health.failed(index, Instant::now());
                continue;
            };
            let (length, said) = answer?;
            buffer.truncate(length);
            if said.truncated && whole {
                match self.over_tcp(server, query, number).await {
                    Ok(answer) => return Ok(answer),
                    // What there is is better than nothing.
                    Err(error) => tracing::debug!(%server, %error, "a long answer is cut"),
                }
            }
            return Ok((outcome(said), buffer));
        }
        Err(std::io::ErrorKind::TimedOut.into())
    }

    /// Connected: the kernel drops what others send, and tells when nobody listens there.
    async fn datagram_socket(&self, server: SocketAddr) -> std::io::Result<UdpSocket> {
        let socket = match &self.home {
            None => UdpSocket::bind(sockets::any_address(server)).await?,
            Some(home) => UdpSocket::from_std(home.datagram(server).await?)?,
        };
        socket.connect(server).await?;
        Ok(socket)
    }

    async fn over_tcp(
        &self,
        server: SocketAddr,
        query: &Query,
        number: u16,
    ) -> std::io::Result<(Outcome, Vec<u8>)> {
        let mut stream = self.stream(server).await?;
        let sent = query.numbered(number);
        let mut framed = (sent.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&sent);
        stream.write_all(&framed).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        let said = query.check(&answer, number).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok((outcome(said), answer))
    }

    async fn stream(&self, server: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = match &self.home {
            None if server.is_ipv4() => TcpSocket::new_v4()?,
            None => TcpSocket::new_v6()?,
            Some(home) => TcpSocket::from_std_stream(home.stream(server).await?),
        };
        socket.connect(server).await
    }
}

/// The next datagram that is an answer to the query.
async fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    query: &Query,
    number: u16,
) -> std::io::Result<(usize, crate::message::Said)> {
    for _ in 0..MAX_FORGED {
        let length = socket.recv(buffer).await?;
        if let Some(said) = query.check(&buffer[..length], number) {
            return Ok((length, said));
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

fn outcome(said: crate::message::Said) -> Outcome {
    match said.code {
        Code::SERVER_FAILURE | Code::REFUSED => Outcome::Failed,
        Code::OK if !said.empty || said.truncated => Outcome::Found,
        _ => Outcome::Denied,
    }
}

fn random_number() -> std::io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Waiting;

    /// `name.` A, number 7.
    fn query() -> Arc<Query> {
        let bytes = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
        Arc::new(Query::parse(&bytes).unwrap())
    }

    /// A server that answers after a while with what `answers` makes of a query: as many datagrams as it likes.
    async fn server(after: Duration, answers: fn(Vec<u8>) -> Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                tokio::time::sleep(after).await;
                for answer in answers(buffer[..length].to_vec()) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        address
    }

    fn with(mut query: Vec<u8>, code: u8, last: u8) -> Vec<u8> {
        query[2] |= 0x80;
        query[3] = code;
        if code == 0 {
            query[7] = 1;
            query.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, last]);
        }
        query
    }

    async fn ask(servers: &[SocketAddr]) -> Option<(u8, u8)> {
        let upstream = Arc::new(Upstream::at(servers.to_vec(), None));
        let place = Arc::new(Waiting::default().share().take().unwrap());
        let answer = upstream.ask(query(), false, place).await?;
        Some((answer[3] & 15, *answer.last().unwrap()))
    }

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn the_first_that_can_answers() {
        let good = server(NOW, |q| vec![with(q, 0, 1)]).await;
        let other = server(NOW, |q| vec![with(q, 0, 2)]).await;
        let failing = server(NOW, |q| vec![with(q, 2, 0)]).await;
        let refusing = server(NOW, |q| vec![with(q, 5, 0)]).await;
        let silent = server(NOW, |_| vec![]).await;
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(ask(&[good, other]).await, Some((0, 1)));
        for first in [failing, refusing, silent, nobody] {
            assert_eq!(ask(&[first, other]).await, Some((0, 2)), "{first}");
        }
        assert_eq!(ask(&[failing]).await.map(|(code, _)| code), Some(2), "its own words");
        assert_eq!(ask(&[nobody]).await, None);
        assert_eq!(ask(&[]).await, None);
    }

    #[tokio::test]
    async fn a_slow_yes_beats_a_quick_no() {
        let slow = server(Duration::from_millis(700), |q| vec![with(q, 0, 1)]).await;
        let denying = server(NOW, |q| vec![with(q, 3, 0)]).await;
        assert_eq!(ask(&[slow, denying]).await, Some((0, 1)));
        assert_eq!(
            ask(&[denying, slow]).await.map(|(code, _)| code),
            Some(3),
            "the first in order is believed"
        );
    }

    #[tokio::test]
    async fn forged_datagrams_do_not_count() {
        let forged = server(NOW, |q| {
            let number = [vec![q[0] ^ 1], q[1..].to_vec()].concat();
            let question = [&q[..13], b"y", &q[14..]].concat();
            vec![vec![], vec![0; 5], q.clone(), with(number, 0, 66), with(question, 0, 66), with(q, 0, 1)]
        })
        .await;
        assert_eq!(ask(&[forged]).await, Some((0, 1)));
    }
}
