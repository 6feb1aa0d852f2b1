//! Streams of replies: progress messages, JSON lines, bytes.
use crate::error::ApiError;
use crate::reply::{self, Answer, BodyError, JSON, Reply};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use knarr_docker_types::jsonmessage::Message;
use serde::Serialize;
use tokio::sync::mpsc;

/// A channel as a stream. Dropping the reply drops the receiver, which tells the producer.
pub fn from_channel<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

/// One value as a line.
pub fn json_line<T: Serialize>(value: &T, end: &str) -> Result<Bytes, BodyError> {
    let mut line = serde_json::to_vec(value)?;
    line.extend_from_slice(end.as_bytes());
    Ok(line.into())
}

/// Messages of pull, push, load and import.
///
/// An operation that fails before its first message is an error reply; later the status has left, and the error is
/// the stream's last message.
pub async fn progress(mut messages: mpsc::Receiver<Message>) -> Answer {
    let first = messages.recv().await;
    if let Some(Message { error_detail: Some(detail), .. }) = &first {
        let code = u16::try_from(detail.code).ok().filter(|code| (400..600).contains(code));
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        return Err(ApiError {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            message: detail.message.clone(),
        });
    }
    let all = stream::iter(first).chain(from_channel(messages));
    Ok(reply::stream(JSON, all.map(|message| json_line(&message, "\r\n"))))
}

/// The same, for an operation whose errors are told in the stream alone. The head leaves with the first message: clients that
/// look at the status alone and close the body would end the work before it is done.
pub async fn progress_in_the_body(mut messages: mpsc::Receiver<Message>) -> Reply {
    let first = messages.recv().await;
    let all = stream::iter(first).chain(from_channel(messages));
    reply::stream(JSON, all.map(|message| json_line(&message, "\r\n")))
}

/// Bytes of an archive. The first item is awaited, so that an error which comes at once has its status.
pub async fn bytes(content_type: &'static str, mut items: knarr_engine::ByteStream) -> Answer {
    let first = items.recv().await.transpose()?;
    let all =
        stream::iter(first.map(Ok)).chain(from_channel(items).map(|item| item.map_err(BodyError::from)));
    Ok(reply::stream(content_type, all))
}
