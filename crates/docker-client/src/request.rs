//! Building and sending one request.
use crate::client::Client;
use crate::error::Error;
use crate::hijack::Hijacked;
use crate::response::{JsonLines, Response};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::io;

/// The body of a request.
pub type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request being built.
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Result<RequestBody, Error>,
    versioned: bool,
    /// A body that can be sent again when a kept connection turns out to be dead.
    replay: Option<Bytes>,
}

fn empty() -> RequestBody {
    full(Bytes::new())
}
fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

impl Request {
    pub(crate) fn new(client: &Client, method: Method, path: String) -> Self {
        Self {
            client: client.clone(),
            method,
            path,
            query: String::new(),
            headers: HeaderMap::new(),
            body: Ok(empty()),
            versioned: true,
            replay: Some(Bytes::new()),
        }
    }
    pub(crate) fn unversioned(client: &Client, method: Method, path: &str) -> Self {
        Self { versioned: false, ..Self::new(client, method, path.to_owned()) }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(name);
        self.query.push('=');
        encode(value.as_ref(), &mut self.query);
        self
    }
    /// Adds a query parameter unless it is empty.
    #[must_use]
    pub fn query_some(self, name: &str, value: impl AsRef<str>) -> Self {
        if value.as_ref().is_empty() { self } else { self.query(name, value) }
    }
    /// Adds `name=1` when `set`.
    #[must_use]
    pub fn flag(self, name: &str, set: bool) -> Self {
        if set { self.query(name, "1") } else { self }
    }
    /// Adds the query parameter `filters` unless there are none.
    #[must_use]
    pub fn filters(self, filters: &knarr_docker_types::Filters) -> Self {
        if filters.is_empty() {
            return self;
        }
        let text = serde_json::to_string(filters).unwrap_or_default();
        self.query("filters", text)
    }
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(self.headers.insert(name, value)),
            _ => self.body = Err(Error::InvalidRequest(format!("invalid header {name}"))),
        }
        self
    }
    /// A JSON body.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                let bytes = Bytes::from(bytes);
                self.body = Ok(full(bytes.clone()));
                self.replay = Some(bytes);
            }
            Err(source) => self.body = Err(Error::Decode { source }),
        }
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }
    /// A body of any length, sent as it comes.
    #[must_use]
    pub fn stream<S>(mut self, content_type: &'static str, stream: S) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.body = Ok(StreamBody::new(stream.map(|item| item.map(Frame::data))).boxed_unsync());
        self.replay = None;
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self
    }

    /// Sends, and gives the answer whatever its status.
    pub async fn send_raw(mut self) -> Result<Response, Error> {
        if let Some(kind) = empty_name(&self.path) {
            return Err(Error::EmptyName { kind });
        }
        let uri = self.uri().await?;
        let mut body = std::mem::replace(&mut self.body, Ok(empty()))?;
        loop {
            let (mut sender, reused) = self.client.connection().await?;
            let request = self.build(&uri, body)?;
            match sender.send_request(request).await {
                Ok(response) => return Ok(Response::new(response, Some((self.client, sender)))),
                // a kept connection may have been closed under us; a new one decides
                Err(error) if reused && !error.is_timeout() => match self.replay.clone() {
                    Some(bytes) => body = full(bytes),
                    None => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends; a status of 400 and above is an error with the engine's text.
    pub async fn send(self) -> Result<Response, Error> {
        let response = self.send_raw().await?;
        if response.status().as_u16() < 400 { Ok(response) } else { Err(response.into_error().await) }
    }
    /// Sends and reads a JSON answer.
    pub async fn fetch<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.send().await?.json().await
    }
    /// Sends and waits for the end of the answer.
    pub async fn done(self) -> Result<(), Error> {
        self.send().await?.drain().await;
        Ok(())
    }
    /// Sends and reads the answer as JSON documents one after the other.
    pub async fn lines(self) -> Result<JsonLines, Error> {
        Ok(self.send().await?.lines())
    }

    /// Sends and takes the connection over as a stream of bytes both ways.
    pub async fn hijack(mut self) -> Result<Hijacked, Error> {
        self.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        self.headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        let response = self.send_raw().await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => Hijacked::new(response).await,
            status if status.as_u16() >= 400 => Err(response.into_error().await),
            status => Err(Error::Protocol(format!("status {status} where 101 was expected"))),
        }
    }

    async fn uri(&self) -> Result<String, Error> {
        let base = self.client.endpoint().base_path();
        if self.versioned {
            let version = self.client.version().await?;
            Ok(format!("{base}/v{version}{}{}", self.path, self.query))
        } else {
            Ok(format!("{base}{}{}", self.path, self.query))
        }
    }

    fn build(&self, uri: &str, body: RequestBody) -> Result<http::Request<RequestBody>, Error> {
        let mut builder = http::Request::builder()
            .method(self.method.clone())
            .uri(uri)
            .header(header::HOST, self.client.endpoint().authority())
            .header(header::USER_AGENT, concat!("Knarr-Client/", env!("CARGO_PKG_VERSION"), " (linux)"));
        // who we are is not for a configuration to say, as in Docker's client
        let own = |name: &str| name.eq_ignore_ascii_case(header::USER_AGENT.as_str());
        for (name, value) in self.client.headers().iter().filter(|(name, _)| !own(name)) {
            builder = builder.header(name, value);
        }
        let mut request = builder.body(body).map_err(|e| Error::InvalidRequest(e.to_string()))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

/// The kind of object whose name is missing in a path (`/containers//json`).
fn empty_name(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').skip(1);
    let kind = match parts.next() {
        Some("containers") => "container",
        Some("networks") => "network",
        Some("volumes") => "volume",
        Some("exec") => "exec",
        _ => return None,
    };
    (parts.next() == Some("")).then_some(kind)
}

/// The value of `X-Registry-Auth`: base64 (URL alphabet) of a JSON document.
pub fn registry_auth<T: Serialize>(auth: &T) -> String {
    let json = serde_json::to_vec(auth).unwrap_or_default();
    base64::engine::general_purpose::URL_SAFE.encode(json)
}

/// Percent-encodes a query value.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}
