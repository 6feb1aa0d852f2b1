//! Attached streams: the connection stops being HTTP and carries a container's stdin, stdout and stderr.
//!
//! With `Upgrade: tcp` the reply is `101 UPGRADED` and the connection is handed over, bytes that came early
//! included; each side's half-close is its own. Without it (a client that only wants to read, such as curl) the
//! reply is 200 and its body is the output, the request's body the input.
use crate::activity::{Activity, Busy};
use crate::context::{self, Context};
use crate::error::ApiError;
use crate::reply::{self, Answer, BodyError, MULTIPLEXED_STREAM, RAW_STREAM, Reply, ReplyBody};
use crate::websocket;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use knarr_docker_types::ApiVersion;
use knarr_engine::AttachSession;
use std::future::Future;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;

/// Bytes between the session and a reply's body.
const PIPE: usize = 64 * 1024;

/// Whether a request asks for its connection.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// The content type of an attached or logged stream.
pub fn content_type(version: ApiVersion, multiplexed: bool) -> &'static str {
    if multiplexed && !version.before(42) { MULTIPLEXED_STREAM } else { RAW_STREAM }
}

fn switching_protocols(content_type: &'static str, protocol: HeaderValue) -> Reply {
    let mut reply: Response<ReplyBody> = Response::new(reply::empty_body());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    reply
}

/// A client's connection after HTTP.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Gives the client its part in `session`.
pub fn attach(cx: Context, session: AttachSession) -> Reply {
    let content_type = content_type(cx.version, session.multiplexed());
    hand_over(cx, content_type, |client| async move {
        if let Err(error) = session.serve(client).await {
            tracing::debug!(%error, "attached stream ended");
        }
    })
}

/// What [`hand_over`] takes of a request.
pub struct Takeover {
    pub headers: HeaderMap,
    pub body: Incoming,
    pub upgrade: Option<OnUpgrade>,
    pub activity: Activity,
}

impl From<Context> for Takeover {
    fn from(cx: Context) -> Self {
        Self { headers: cx.headers, body: cx.body, upgrade: cx.upgrade, activity: cx.activity }
    }
}

/// Answers, and gives the connection to `serve`.
pub fn hand_over<F, S>(request: impl Into<Takeover>, content_type: &'static str, serve: S) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Box<dyn Stream>) -> F + Send + 'static,
{
    let Takeover { headers, body, upgrade, activity } = request.into();
    let busy = activity.enter();
    let Some(upgrade) = upgrade else { return in_body(body, busy, serve) };
    after_upgrade(upgrade, busy, serve);
    let protocol = headers.get(header::UPGRADE).cloned().unwrap_or(HeaderValue::from_static("tcp"));
    switching_protocols(content_type, protocol)
}

/// Calls `serve` when the reply of status 101 has left.
fn after_upgrade<F, S>(upgrade: OnUpgrade, busy: Busy, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Box<dyn Stream>) -> F + Send + 'static,
{
    tokio::spawn(async move {
        let _busy = busy;
        match upgrade.await {
            Ok(connection) => serve(Box::new(TokioIo::new(connection))).await,
            Err(error) => tracing::debug!(%error, "client went away before its connection was handed over"),
        }
    });
}

/// Gives the client its part in `session` as a WebSocket.
pub fn attach_websocket(cx: Context, session: AttachSession) -> Answer {
    let (Some(accept), Some(upgrade)) = (websocket::accept(&cx.headers), cx.upgrade) else {
        return Err(ApiError::invalid("not a WebSocket handshake of version 13"));
    };
    let opcode = if cx.version.before(28) { websocket::TEXT } else { websocket::BINARY };
    after_upgrade(upgrade, cx.activity.enter(), move |client| async move {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let multiplexed = session.multiplexed();
        let serving = tokio::spawn(async move { session.serve(theirs).await });
        websocket::serve(client, ours, multiplexed, opcode).await;
        // Both ends of the pipe are closed, so that the session ends too.
        let _ = serving.await;
    });
    let mut reply: Response<ReplyBody> = Response::new(reply::empty_body());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(reply)
}

fn in_body<F, S>(body: Incoming, busy: Busy, serve: S) -> Reply
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
