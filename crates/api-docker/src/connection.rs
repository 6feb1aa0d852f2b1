//! Each request's way to its handler and back: version, path, headers of replies, errors, panics.
use crate::activity::{Activity, Busy};
use crate::error::ApiError;
use crate::query::{Query, percent_decode};
use crate::reply::{self, BodyError, Reply, ReplyBody};
use crate::request_body::RequestBody;
use crate::routes::{self, Pending};
use crate::transport;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use knarr_docker_types::ApiVersion;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

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
    pub body: RequestBody,
    /// Whether the connection can be taken away from HTTP.
    pub can_hijack: bool,
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
    pub tracker: TaskTracker,
}

impl Connections {
    /// Serves one connection until it ends.
    pub fn spawn<S>(self: &Arc<Self>, kind: Connection, stream: S, slot: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + transport::Unread + Unpin + Send + 'static,
    {
        let connections = self.clone();
        let answer = move |request, can_hijack| -> Pin<Box<dyn Future<Output = Reply> + Send>> {
            let connections = connections.clone();
            Box::pin(async move { connections.answer(kind, request, can_hijack).await })
        };
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            let _slot = slot;
            transport::serve(stream, answer, shutdown).await;
        });
    }

    async fn answer(&self, kind: Connection, request: Request<Incoming>, can_hijack: bool) -> Reply {
        let busy = self.activity.enter();
        let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path());
        let method = request.method().clone();
        let mut reply = match self.dispatch(kind, request, can_hijack, busy).instrument(span.clone()).await {
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
        // As Docker: a page that is not there says nothing of the engine.
        match reply.extensions().get::<reply::NoPage>() {
            Some(_) => {}
            None => self.identify(reply.headers_mut()),
        }
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
        request: Request<Incoming>,
        can_hijack: bool,
        busy: Busy,
    ) -> Result<Reply, ApiError> {
        let (parts, body) = request.into_parts();
        // From here on an early reply does not cut off a client that is still sending.
        let body = RequestBody::from(body);
        if kind == Connection::PlainTcp {
            refuse_web_pages(&parts.headers)?;
        }
        let (version, path) = split_version(parts.uri.path())?;
        let path = percent_decode(path)?;
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let activity = self.activity.clone();
        let call = Call {
            method: parts.method,
            path,
            version,
            query,
            headers: parts.headers,
            body,
            can_hijack,
            activity,
        };
        if call.method == Method::OPTIONS {
            return Ok(reply::empty(StatusCode::OK));
        }
        let Some((endpoint, work)) = (self.app)(call) else { return Ok(reply::page_not_found()) };
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
    let Some(version) = ApiVersion::parse(text) else { return Ok((ApiVersion::CURRENT, path)) };
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
        assert_eq!(gate("/v1/info"), Ok("1.55 /v1/info".to_owned()), "which is no page");
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
