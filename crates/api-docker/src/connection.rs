//! One connection: HTTP/1.1 or HTTP/2, its limits, and each request's way to its handler and back.
use crate::activity::{Activity, Busy};
use crate::error::ApiError;
use crate::hijack;
use crate::query::{Query, percent_decode};
use crate::reply::{self, BodyError, Reply, ReplyBody};
use crate::routes::{self, Pending};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use knarr_docker_types::ApiVersion;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Time for a request's head to arrive, and for which a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest head of a request, in bytes (HTTP/1) and as list of headers (HTTP/2).
const MAX_HEAD: usize = 128 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 256;
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// What a connection came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// A unix socket or mutual TLS.
    Trusted,
    /// Plain TCP on loopback, where web pages can reach too.
    PlainTcp,
}

/// A request whose version, path and query have been read.
pub struct Call {
    pub method: Method,
    /// Without the version, percent-decoded.
    pub path: String,
    pub version: ApiVersion,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Incoming,
    /// There when the client asked for `Connection: Upgrade`.
    pub upgrade: Option<OnUpgrade>,
    pub activity: Activity,
}

/// What answers a call; `None` is a page that is not found. Its first part names the endpoint in logs.
pub type App = Arc<dyn Fn(Call) -> Option<(&'static str, Pending)> + Send + Sync>;

/// What all connections share.
pub struct Connections {
    pub app: App,
    /// For the `Server` header.
    pub version: String,
    pub activity: Activity,
    pub shutdown: CancellationToken,
    pub slots: Arc<Semaphore>,
    pub tracker: TaskTracker,
}

impl Connections {
    /// Serves one connection until it ends.
    pub fn spawn<S>(self: &Arc<Self>, kind: Connection, io: TokioIo<S>, slot: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connections = self.clone();
        self.tracker.spawn(async move {
            let _slot = slot;
            connections.serve(kind, io).await;
        });
    }

    async fn serve<S>(self: Arc<Self>, kind: Connection, io: TokioIo<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .title_case_headers(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS);
        let shutdown = self.shutdown.clone();
        let service = service_fn(move |request| {
            let connections = self.clone();
            async move { Ok::<_, Infallible>(connections.answer(kind, request).await) }
        });
        let connection = builder.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(error, "connection ended");
        }
    }

    async fn answer(&self, kind: Connection, request: Request<Incoming>) -> Reply {
        let busy = self.activity.enter();
        let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path());
        let method = request.method().clone();
        let mut reply = match self.dispatch(kind, request, busy).instrument(span.clone()).await {
            Ok(reply) => reply,
            Err(error) => {
                let _entered = span.enter();
                if error.status == StatusCode::INTERNAL_SERVER_ERROR {
                    tracing::error!(status = error.status.as_u16(), error = error.message, "request failed");
                } else {
                    tracing::debug!(status = error.status.as_u16(), error = error.message, "request refused");
                }
                reply::error(&error)
            }
        };
        if method == Method::HEAD {
            *reply.body_mut() = reply::empty_body();
        }
        self.identify(reply.headers_mut());
        reply
    }

    /// Headers of every reply.
    fn identify(&self, headers: &mut HeaderMap) {
        headers.insert("Api-Version", HeaderValue::from_static(routes::CURRENT_VERSION));
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
        headers.insert("Ostype", HeaderValue::from_static("linux"));
        if let Ok(server) = HeaderValue::from_str(&format!("Knarr/{} (linux)", self.version)) {
            headers.insert(header::SERVER, server);
        }
    }

    async fn dispatch(
        &self,
        kind: Connection,
        mut request: Request<Incoming>,
        busy: Busy,
    ) -> Result<Reply, ApiError> {
        if kind == Connection::PlainTcp {
            refuse_web_pages(request.headers())?;
        }
        let (version, path) = split_version(request.uri().path())?;
        let path = percent_decode(path)?;
        let query = Query::parse(request.uri().query().unwrap_or(""))?;
        let wanted = hijack::is_wanted(request.headers());
        let upgrade = wanted.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let activity = self.activity.clone();
        let call = Call {
            method: parts.method,
            path,
            version,
            query,
            headers: parts.headers,
            body,
            upgrade,
            activity,
        };
        let (endpoint, work) = (self.app)(call).ok_or_else(ApiError::page_not_found)?;
        run(endpoint, work, busy).await
    }
}

/// Runs a handler as a task of its own: a client that goes away drops the reply and not the work, and a panic ends
/// the task and not the connection.
async fn run(endpoint: &'static str, work: Pending, busy: Busy) -> Result<Reply, ApiError> {
    let work = tokio::spawn(
        async move {
            let reply = work.await?;
            // A reply is open until its body has been sent. An attached session counts for itself.
            Ok::<_, ApiError>(reply.map(|body| BodyExt::boxed_unsync(BusyBody { body, _busy: busy })))
        }
        .in_current_span(),
    );
    match work.await {
        Ok(result) => result,
        Err(error) => {
            let what = if error.is_panic() { "panicked" } else { "was cancelled" };
            tracing::error!(endpoint, "handler {what}");
            let message = format!("internal error: the handler of {endpoint} {what}");
            Err(ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, message })
        }
    }
}

/// A body that keeps its request counted until it is done.
struct BusyBody {
    body: ReplyBody,
    _busy: Busy,
}

impl Body for BusyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Takes `/v1.41` off a path. Without it the newest version is meant.
fn split_version(path: &str) -> Result<(ApiVersion, &str), ApiError> {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        let numeric = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        numeric.then(|| (version, &rest[version.len()..]))
    });
    let Some((text, rest)) = versioned else { return Ok((ApiVersion::CURRENT, path)) };
    let version = ApiVersion::parse(text).ok_or_else(ApiError::page_not_found)?;
    if version < ApiVersion::MINIMUM {
        return Err(ApiError::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {}, please upgrade your client to a \
             newer version",
            ApiVersion::MINIMUM
        )));
    }
    if version > ApiVersion::CURRENT {
        return Err(ApiError::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {}",
            ApiVersion::CURRENT
        )));
    }
    Ok((version, rest))
}

/// A page in a browser can send requests to loopback addresses, and a name that an attacker owns can point to one.
/// Neither is a client of this API.
fn refuse_web_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |why| Err(ApiError::new(knarr_base::ErrorKind::Forbidden, why));
    if headers.contains_key(header::ORIGIN) {
        return refused("requests of web pages are refused");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let local = name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name == "docker"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    if local { Ok(()) } else { refused("the Host header does not name this machine's loopback address") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_gate() {
        let gate = |path| split_version(path).map(|(version, rest)| format!("{version} {rest}"));
        assert_eq!(gate("/v1.41/info"), Ok("1.41 /info".to_owned()));
        assert_eq!(gate("/info"), Ok("1.55 /info".to_owned()));
        assert_eq!(gate("/volumes/v1.2"), Ok("1.55 /volumes/v1.2".to_owned()));
        let message = |path| split_version(path).unwrap_err();
        assert_eq!(
            message("/v1.23/info").message,
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a \
             newer version"
        );
        assert_eq!(
            message("/v1.99/info").message,
            "client version 1.99 is too new. Maximum supported API version is 1.55"
        );
        assert_eq!(message("/v1.99/info").status.as_u16(), 400);
        assert_eq!(message("/v1/info").status.as_u16(), 404);
    }

    #[test]
    fn web_pages_are_refused_on_plain_tcp() {
        let allowed = |name: header::HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            refuse_web_pages(&headers).is_ok()
        };
        for host in ["localhost:2375", "127.0.0.1", "[::1]:99", "docker", "127.1.2.3:1"] {
            assert!(allowed(header::HOST, host), "{host}");
        }
        for host in ["evil.example:2375", "10.0.0.1", "[2001:db8::1]:1"] {
            assert!(!allowed(header::HOST, host), "{host}");
        }
        assert!(!allowed(header::ORIGIN, "http://localhost"));
    }
}
