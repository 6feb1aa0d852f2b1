//! Attached streams: the connection stops being HTTP and carries a container's stdin, stdout and stderr.
//!
//! With `Upgrade: tcp` the reply is `101 UPGRADED`, without it `200 OK`; in both cases what follows the head is raw in
//! both directions, bytes that came early included, and each side's half-close is its own. HTTP is left by taking the
//! connection away from its driver (see `connection`). On HTTP/2, where there is no connection to take, the reply's
//! body is the output and the request's body the input.
use crate::activity::{Activity, Busy};
use crate::context::{self, Context};
use crate::error::ApiError;
use crate::reply::{self, Answer, BodyError, MULTIPLEXED_STREAM, RAW_STREAM, Reply};
use crate::request_body::RequestBody;
use crate::websocket;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use knarr_docker_types::ApiVersion;
use knarr_engine::AttachSession;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;

/// Bytes between the session and a reply's body.
const PIPE: usize = 64 * 1024;

/// A client's connection after HTTP.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Serve = Box<dyn FnOnce(Box<dyn Stream>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Rides on a reply and says who gets the connection when the reply's head has been written.
#[derive(Clone)]
pub struct Takeover(Arc<Mutex<Option<Serve>>>);

impl Takeover {
    /// What is to be done with the connection; once.
    pub fn take(&self) -> Option<Serve> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a hijack needs of a request.
pub struct Request {
    pub headers: HeaderMap,
    pub body: RequestBody,
    pub can_hijack: bool,
    pub activity: Activity,
}

impl From<Context> for Request {
    fn from(cx: Context) -> Self {
        Self { headers: cx.headers, body: cx.body, can_hijack: cx.can_hijack, activity: cx.activity }
    }
}

/// The content type of an attached or logged stream.
pub fn content_type(version: ApiVersion, multiplexed: bool) -> &'static str {
    if multiplexed && !version.before(42) { MULTIPLEXED_STREAM } else { RAW_STREAM }
}

fn taken_over<F, S>(
    status: StatusCode,
    headers: &[(header::HeaderName, HeaderValue)],
    busy: Busy,
    serve: S,
) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Box<dyn Stream>) -> F + Send + 'static,
{
    let serve: Serve = Box::new(move |client| {
        Box::pin(async move {
            let _busy = busy;
            serve(client).await;
        })
    });
    let mut reply = reply::empty(status);
    reply.extensions_mut().insert(Takeover(Arc::new(Mutex::new(Some(serve)))));
    for (name, value) in headers {
        reply.headers_mut().insert(name, value.clone());
    }
    reply
}

/// Answers, and gives the connection to `serve`.
pub fn hand_over<F, S>(request: impl Into<Request>, content_type: &'static str, serve: S) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Box<dyn Stream>) -> F + Send + 'static,
{
    let Request { headers, body, can_hijack, activity } = request.into();
    let busy = activity.enter();
    if !can_hijack {
        return in_body(body, busy, serve);
    }
    let kind = |value| (header::CONTENT_TYPE, HeaderValue::from_static(value));
    match headers.get(header::UPGRADE) {
        Some(protocol) => {
            let upgrade = (header::CONNECTION, HeaderValue::from_static("Upgrade"));
            let headers = [kind(content_type), upgrade, (header::UPGRADE, protocol.clone())];
            taken_over(StatusCode::SWITCHING_PROTOCOLS, &headers, busy, serve)
        }
        None => taken_over(StatusCode::OK, &[kind(RAW_STREAM)], busy, serve),
    }
}

/// Gives the client its part in `session`.
pub fn attach(cx: Context, session: AttachSession) -> Reply {
    let content_type = content_type(cx.version, session.multiplexed());
    hand_over(cx, content_type, |client| async move {
        if let Err(error) = session.serve(client).await {
            tracing::debug!(%error, "attached stream ended");
        }
    })
}

/// Gives the client its part in `session` as a WebSocket.
pub fn attach_websocket(cx: Context, session: AttachSession) -> Answer {
    let Some(accept) = websocket::accept(&cx.headers).filter(|_| cx.can_hijack) else {
        return Err(ApiError::invalid("not a WebSocket handshake of version 13"));
    };
    let opcode = if cx.version.before(28) { websocket::TEXT } else { websocket::BINARY };
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    let serve = move |client| async move {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let multiplexed = session.multiplexed();
        let serving = tokio::spawn(async move { session.serve(theirs).await });
        websocket::serve(client, ours, multiplexed, opcode).await;
        // Both ends of the pipe are closed, so that the session ends too.
        let _ = serving.await;
    };
    Ok(taken_over(StatusCode::SWITCHING_PROTOCOLS, &headers, cx.activity.enter(), serve))
}

fn in_body<F, S>(body: RequestBody, busy: Busy, serve: S) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Box<dyn Stream>) -> F + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (output, mut input) = tokio::io::split(ours);
    let mut stdin = context::reader(body);
    tokio::spawn(async move {
        // The end of the request's body is the end of stdin.
        let _ = tokio::io::copy(&mut stdin, &mut input).await;
        let _ = input.shutdown().await;
    });
    tokio::spawn(async move {
        let _busy = busy;
        serve(Box::new(theirs)).await;
    });
    reply::stream(RAW_STREAM, ReaderStream::new(output).map(|item| item.map_err(BodyError::from)))
}
