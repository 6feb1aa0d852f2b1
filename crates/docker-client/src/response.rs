//! An answer: a JSON document, JSON lines, or plain bytes.
use crate::client::Client;
use crate::error::Error;
use crate::request::RequestBody;
use crate::{MAX_ERROR_BYTES, MAX_JSON_BYTES, MAX_LINE_BYTES};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use knarr_docker_types::error::ErrorResponse;
use serde::de::DeserializeOwned;

/// The head of an answer; the body is read as asked. A body read to its end gives the connection back.
pub struct Response {
    response: hyper::Response<Incoming>,
    connection: Option<(Client, SendRequest<RequestBody>)>,
}

impl Response {
    pub(crate) fn new(
        response: hyper::Response<Incoming>,
        connection: Option<(Client, SendRequest<RequestBody>)>,
    ) -> Self {
        Self { response, connection }
    }
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
    pub(crate) fn into_inner(self) -> hyper::Response<Incoming> {
        self.response
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.body_mut().frame().await {
                None => {
                    if let Some((client, sender)) = self.connection.take() {
                        client.keep(sender);
                    }
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, up to `limit` bytes.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(Error::TooLong { limit });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let bytes = self.bytes(MAX_JSON_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode { source })
    }

    pub fn lines(self) -> JsonLines {
        JsonLines { response: self, buffer: BytesMut::new(), ended: false }
    }

    /// Reads the rest and forgets it.
    pub async fn drain(mut self) {
        while let Ok(Some(_)) = self.chunk().await {}
    }

    pub(crate) async fn into_error(self) -> Error {
        let status = self.status();
        let body = self.bytes(MAX_ERROR_BYTES).await.unwrap_or_default();
        let message = match serde_json::from_slice::<ErrorResponse>(&body) {
            Ok(error) if !error.message.is_empty() => error.message,
            _ => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        let message = if message.is_empty() {
            status.canonical_reason().unwrap_or("unknown error").to_owned()
        } else {
            message.trim_end().to_owned()
        };
        Error::Api { status: status.as_u16(), message }
    }
}

/// JSON documents one after the other (pull progress, events, stats).
pub struct JsonLines {
    response: Response,
    buffer: BytesMut,
    ended: bool,
}

impl JsonLines {
    /// The next document, as text; None at the end.
    pub async fn next_raw(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.ended {
                let rest = self.buffer.split().freeze();
                return Ok(Some(rest).filter(|r| !r.iter().all(u8::is_ascii_whitespace)));
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Error::TooLong { limit: MAX_LINE_BYTES });
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }

    /// The next document, decoded.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        match self.next_raw().await? {
            None => Ok(None),
            Some(line) => serde_json::from_slice(&line).map(Some).map_err(|source| Error::Decode { source }),
        }
    }
}
