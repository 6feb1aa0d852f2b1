//! Probes that need no program of the image: the engine asks from inside of the container's network namespace.
//!
//! Invariants: what is asked is a literal address (no name is looked up), by default the container's own loopback; of the
//! answer a bounded part is read; the caller limits the time.
use super::plan::{Grpc, Http};
use super::target::Target;
use crate::error::Error;
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_network::Namespace;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes of an answer's head.
const MAX_HEAD: usize = 8 << 10;
/// Bytes of a gRPC message with its frame.
const MAX_MESSAGE: usize = 4 << 10;
const MAX_HEADER_LIST: u32 = 8 << 10;
/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// What was said, good or bad.
pub(super) type Answer = Result<String, String>;

/// A socket for each address that may answer, made in the namespace before the time begins to count.
pub(super) struct Sockets(Vec<(TcpSocket, SocketAddr)>);

impl Sockets {
    /// On a thread that may block.
    pub fn open(namespace: OwnedFd, target: &Target) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let addresses = target.addresses();
        let opened = Namespace::run(namespace.as_fd(), || {
            let family = |address: &SocketAddr| match address.is_ipv4() {
                true => AddressFamily::INET,
                false => AddressFamily::INET6,
            };
            // A kernel without IPv6 has no such sockets: the other address counts.
            let open = |address: SocketAddr| {
                socket_with(family(&address), SocketType::STREAM, flags, None).ok().map(|fd| (fd, address))
            };
            Ok(addresses.into_iter().filter_map(open).collect::<Vec<_>>())
        })?;
        let sockets = opened
            .into_iter()
            .map(|(fd, address)| (TcpSocket::from_std_stream(std::net::TcpStream::from(fd)), address));
        Ok(Self(sockets.collect()))
    }

    /// The first address that answers.
    async fn connect(self) -> Result<TcpStream, String> {
        let mut why = "no address to connect to".to_owned();
        for (socket, address) in self.0 {
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = format!("dial tcp {address}: connect: {error}"),
            }
        }
        Err(why)
    }
}

/// Healthy: something accepts connections.
pub(super) async fn tcp(sockets: Sockets) -> Answer {
    let stream = sockets.connect().await?;
    Ok(stream.peer_addr().map_or_else(|_| "connected".to_owned(), |peer| format!("connected to {peer}")))
}

/// Healthy: 2xx or 3xx; redirections are not followed.
pub(super) async fn http(sockets: Sockets, http: &Http) -> Answer {
    let mut stream = sockets.connect().await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: knarr-health/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        http.path,
        http.target.authority(),
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("GET {}: {error}", http.path))?;
    let mut head = Vec::new();
    let mut buffer = vec![0; MAX_HEAD];
    while !has_line(&head) && head.len() < MAX_HEAD {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
            Err(error) => return Err(format!("GET {}: {error}", http.path)),
        }
    }
    verdict(&head)
}

fn has_line(head: &[u8]) -> bool {
    head.contains(&b'\n')
}

/// By the status line.
pub(super) fn verdict(head: &[u8]) -> Answer {
    let line = head.split(|byte| *byte == b'\n').next().filter(|_| has_line(head)).unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim_end().to_owned();
    let mut words = line.splitn(3, ' ');
    let version = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let code = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse::<u16>().ok());
    match code.filter(|_| version) {
        Some(200..=399) => Ok(line),
        Some(_) => Err(line),
        None => Err("the answer is not HTTP/1.1".to_owned()),
    }
}

/// Healthy: `grpc.health.v1.Health/Check` says SERVING
/// (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
pub(super) async fn grpc(sockets: Sockets, grpc: &Grpc) -> Answer {
    let stream = sockets.connect().await?;
    let failed = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("gRPC: {error}{cause}")
    };
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(MAX_HEADER_LIST);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let _end = AbortOnDrop(Arc::new(connection.abort_handle()));
    let request =
        http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", grpc.target.authority()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("knarr-health/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(message(&grpc.service)))
            .map_err(|error| format!("gRPC: {error}"))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("gRPC: HTTP status {}", response.status()));
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_MESSAGE).collect().await.map_err(|error| format!("gRPC: {error}"))?;
    // A call that fails at once has its status among the headers.
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match status("grpc-status").as_deref() {
        Some("0") => {}
        Some(code) => {
            return Err(format!("gRPC: status {code}: {}", status("grpc-message").unwrap_or_default()));
        }
        None => return Err("gRPC: the answer has no status".to_owned()),
    }
    match serving_status(body.to_bytes()) {
        Some(SERVING) => Ok("SERVING".to_owned()),
        Some(0) => Err("UNKNOWN".to_owned()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("gRPC: unknown serving status {other}")),
        None => Err("gRPC: the answer is no HealthCheckResponse".to_owned()),
    }
}

struct AbortOnDrop(Arc<tokio::task::AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `HealthCheckRequest { string service = 1; }` in gRPC's frame: not compressed, length, message. The service's name is
/// shorter than 128 bytes, so that its length is one byte.
pub(super) fn message(service: &str) -> Bytes {
    let mut protobuf = Vec::new();
    if !service.is_empty() {
        protobuf.extend([0x0a, u8::try_from(service.len()).unwrap_or(u8::MAX)]);
        protobuf.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(protobuf.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(protobuf);
    frame.into()
}

/// Of `HealthCheckResponse { ServingStatus status = 1; }`; a field that is not there is 0, one that is not known is skipped.
pub(super) fn serving_status(mut frame: Bytes) -> Option<u64> {
    if frame.len() < 5 || frame.get_u8() != 0 || frame.get_u32() as usize != frame.len() {
        return None;
    }
    let mut status = 0;
    while frame.has_remaining() {
        let key = varint(&mut frame)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut frame)?,
            (_, 0) => drop(varint(&mut frame)?),
            (_, 1) => skip(&mut frame, 8)?,
            (_, 2) => {
                let length = varint(&mut frame)?;
                skip(&mut frame, usize::try_from(length).ok()?)?;
            }
            (_, 5) => skip(&mut frame, 4)?,
            _ => return None,
        }
    }
    Some(status)
}

fn skip(frame: &mut Bytes, count: usize) -> Option<()> {
    (count <= frame.remaining()).then(|| frame.advance(count))
}

fn varint(frame: &mut Bytes) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        if !frame.has_remaining() {
            return None;
        }
        let byte = frame.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
