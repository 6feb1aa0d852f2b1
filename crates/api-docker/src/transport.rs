//! HTTP on one connection: HTTP/1.1 or HTTP/2 by what the client sends first, their limits, and the way out of HTTP/1
//! for hijacked connections.
use crate::hijack::Takeover;
use crate::prefixed::Prefixed;
use crate::reply::Reply;
use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Time for a request's head to arrive, and for which a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest head of a request, in bytes (HTTP/1) and as list of headers (HTTP/2).
const MAX_HEAD: usize = 128 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 256;
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Longest time that a hijacked stream waits for its head to be read.
const HEAD_READ: Duration = Duration::from_millis(250);
/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers one request; told whether the connection can be hijacked.
pub trait Answerer: Fn(Request<Incoming>, bool) -> Pin<Box<dyn Future<Output = Reply> + Send>> {}
impl<F> Answerer for F where F: Fn(Request<Incoming>, bool) -> Pin<Box<dyn Future<Output = Reply> + Send>> {}

/// A connection that may know what its client has yet to read.
pub trait Unread: Sync {
    /// Returns when the client has read all that was written, or at once if nobody can know.
    fn all_is_read(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Unread for tokio::net::UnixStream {
    async fn all_is_read(&self) {
        // The kernel reports that there is room again whenever the client has read, so nobody has to look again and again.
        let look = || match knarr_linux::socket::unread(self.as_fd()) {
            Ok(amount) if amount > 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        };
        let _ = self.async_io(Interest::WRITABLE, look).await;
    }
}
// What TCP delivers is cut as the network likes; there is nothing to wait for.
impl Unread for tokio::net::TcpStream {}
impl<S: Sync> Unread for tokio_rustls::server::TlsStream<S> {}
#[cfg(test)]
impl Unread for tokio::io::DuplexStream {}

/// A reply's head, ready to be sent, and what follows it.
struct Hijacked {
    head: Vec<u8>,
    takeover: Takeover,
}

/// Serves a connection until it ends or, after `shutdown`, its current request does.
pub async fn serve<S, A>(mut stream: S, answer: A, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unread + Unpin + Send + 'static,
    A: Answerer + Send + Sync + Clone + 'static,
{
    let sniffed = tokio::select! {
        sniffed = tokio::time::timeout(HEADER_TIMEOUT, sniff(&mut stream)) => sniffed,
        () = shutdown.cancelled() => return,
    };
    let Ok(Ok((is_http2, prefix))) = sniffed else { return };
    let stream = Prefixed::new(prefix, stream);
    let result = if is_http2 {
        serve_http2(stream, answer, shutdown).await
    } else {
        serve_http1(stream, answer, shutdown).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

/// Reads until it is clear which protocol this is.
async fn sniff(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Bytes)> {
    let mut seen = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok((false, seen.freeze()));
        }
        if seen.starts_with(HTTP2_PREFACE) {
            return Ok((true, seen.freeze()));
        }
        if !HTTP2_PREFACE.starts_with(&seen) {
            return Ok((false, seen.freeze()));
        }
    }
}

async fn serve_http2<S, A>(stream: Prefixed<S>, answer: A, shutdown: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unread + Unpin + Send + 'static,
    A: Answerer + Send + Sync + Clone + 'static,
{
    let service = service_fn(move |request| {
        let reply = answer(request, false);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn serve_http1<S, A>(stream: Prefixed<S>, answer: A, shutdown: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unread + Unpin + Send + 'static,
    A: Answerer + Send + Sync + Clone + 'static,
{
    let (hijack, mut hijacked) = mpsc::channel::<Hijacked>(1);
    let service = service_fn(move |request| {
        let (reply, hijack) = (answer(request, true), hijack.clone());
        async move { Ok::<_, Infallible>(unless_hijacked(reply.await, hijack).await) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let taken = tokio::select! {
        result = &mut connection => return result,
        taken = hijacked.recv() => taken,
        () = shutdown.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                result = &mut connection => return result,
                taken = hijacked.recv() => taken,
            }
        }
    };
    if let Some(taken) = taken {
        let parts = connection.into_parts();
        take_over(taken, parts.io.into_inner(), parts.read_buf).await;
    }
    Ok(())
}

/// Gives the reply to HTTP, or the connection to whom it was promised; then this never ends.
async fn unless_hijacked(reply: Reply, hijack: mpsc::Sender<Hijacked>) -> Reply {
    let Some(takeover) = reply.extensions().get::<Takeover>().cloned() else { return reply };
    let hijacked = Hijacked { head: head(&reply), takeover };
    match hijack.send(hijacked).await {
        Ok(()) => std::future::pending().await,
        Err(_) => reply,
    }
}

async fn take_over<S>(hijacked: Hijacked, mut stream: Prefixed<S>, early: Bytes)
where
    S: AsyncRead + AsyncWrite + Unread + Unpin + Send + 'static,
{
    let Some(serve) = hijacked.takeover.take() else { return };
    if let Err(error) = stream.write_all(&hijacked.head).await {
        tracing::debug!(%error, "client went away before its connection was handed over");
        return;
    }
    // Some clients (docker-py) read the head into a buffer that they then forget, with whatever of the stream came along; Docker's
    // daemon begins a command after the head has left, so theirs never meet there.
    let _ = tokio::time::timeout(HEAD_READ, stream.get_ref().all_is_read()).await;
    serve(Box::new(Prefixed::new(early, stream))).await;
}

/// The head of a reply whose body is whatever follows.
fn head(reply: &Reply) -> Vec<u8> {
    let status = reply.status();
    // Docker's word for 101, which clients do not read but people do.
    let reason = if status.as_u16() == 101 { "UPGRADED" } else { status.canonical_reason().unwrap_or("") };
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in reply.headers() {
        head.extend(title_case(name.as_str()));
        head.extend(b": ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head
}

fn title_case(name: &str) -> impl Iterator<Item = u8> {
    let mut start = true;
    name.bytes().map(move |byte| {
        let shown = if start { byte.to_ascii_uppercase() } else { byte };
        start = byte == b'-';
        shown
    })
}
