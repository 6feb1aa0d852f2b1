//! Replies: JSON, nothing, streams.
use crate::error::ApiError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use knarr_docker_types::error::ErrorResponse;
use serde::Serialize;

/// An error that ends a body before its time: the connection is cut, so that the client notices.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
pub type ReplyBody = UnsyncBoxBody<Bytes, BodyError>;
pub type Reply = Response<ReplyBody>;
/// What a handler gives.
pub type Answer = Result<Reply, ApiError>;

pub const JSON: &str = "application/json";
pub const TAR: &str = "application/x-tar";
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

pub fn empty_body() -> ReplyBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full_body(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn reply(status: StatusCode, content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A reply without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(empty_body());
    *reply.status_mut() = status;
    reply
}

pub fn no_content() -> Answer {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// JSON and a newline, as Go's encoder writes it.
pub fn json_with<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut bytes = serde_json::to_vec(value)
        .map_err(|error| ApiError::new(knarr_base::ErrorKind::Internal, error.to_string()))?;
    bytes.push(b'\n');
    Ok(reply(status, JSON, full_body(bytes)))
}

pub fn json<T: Serialize>(value: &T) -> Answer {
    json_with(StatusCode::OK, value)
}

/// A body that is produced while it is sent; each item leaves at once.
pub fn stream<S>(content_type: &'static str, items: S) -> Reply
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
{
    let body = StreamBody::new(items.map(|item| item.map(Frame::data)));
    reply(StatusCode::OK, content_type, BodyExt::boxed_unsync(body))
}

/// Marks the reply to a path that is none.
#[derive(Clone, Copy)]
pub struct NoPage;

pub fn page_not_found() -> Reply {
    let mut reply = error(&ApiError::page_not_found());
    reply.extensions_mut().insert(NoPage);
    reply
}

pub fn error(error: &ApiError) -> Reply {
    if error.status == StatusCode::NOT_MODIFIED {
        return empty(error.status);
    }
    let body = ErrorResponse { message: error.message.clone() };
    let mut bytes = serde_json::to_vec(&body).unwrap_or_default();
    bytes.push(b'\n');
    reply(error.status, JSON, full_body(bytes))
}
