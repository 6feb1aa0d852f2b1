//! Attached streams: the connection stops being HTTP and carries a container's stdin, stdout and stderr.
//!
//! With `Upgrade: tcp` the reply is `101 UPGRADED` and the connection is handed over, bytes that came early
//! included; each side's half-close is its own. Without it (a client that only wants to read, such as curl) the
//! reply is 200 and its body is the output, the request's body the input.
use crate::activity::Busy;
use crate::context::Context;
use crate::reply::{self, BodyError, MULTIPLEXED_STREAM, RAW_STREAM, Reply, ReplyBody};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use knarr_docker_types::ApiVersion;
use knarr_engine::AttachSession;
use tokio::io::AsyncWriteExt;
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

/// Gives the client its part in `session`.
pub fn attach(cx: Context, session: AttachSession) -> Reply {
    let content_type = content_type(cx.version, session.multiplexed());
    match cx.upgrade {
        Some(upgrade) => {
            let protocol = cx.headers.get(header::UPGRADE).cloned();
            tokio::spawn(upgraded(upgrade, session, cx.activity.enter()));
            switching_protocols(content_type, protocol.unwrap_or(HeaderValue::from_static("tcp")))
        }
        None => in_body(cx, session),
    }
}

async fn upgraded(upgrade: OnUpgrade, session: AttachSession, _busy: Busy) {
    match upgrade.await {
        Ok(connection) => {
            if let Err(error) = session.serve(TokioIo::new(connection)).await {
                tracing::debug!(%error, "attached stream ended");
            }
        }
        Err(error) => tracing::debug!(%error, "client went away before its connection was handed over"),
    }
}

fn in_body(cx: Context, session: AttachSession) -> Reply {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (output, mut input) = tokio::io::split(ours);
    let mut stdin = cx.into_reader();
    tokio::spawn(async move {
        // The end of the request's body is the end of stdin.
        let _ = tokio::io::copy(&mut stdin, &mut input).await;
        let _ = input.shutdown().await;
    });
    tokio::spawn(async move {
        if let Err(error) = session.serve(theirs).await {
            tracing::debug!(%error, "attached stream ended");
        }
    });
    reply::stream(RAW_STREAM, ReaderStream::new(output).map(|item| item.map_err(BodyError::from)))
}
