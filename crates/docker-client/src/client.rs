//! The client: an endpoint, a negotiated version, at most one idle connection.
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::request::{Request, RequestBody};
use crate::response::Response;
use crate::stream::Stream;
use crate::tls::TlsFiles;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Method};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use knarr_docker_types::ApiVersion;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What `/_ping` tells about an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    pub api_version: Option<ApiVersion>,
    pub os_type: String,
    pub experimental: bool,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    tls: Option<TlsFiles>,
    headers: Vec<(String, String)>,
    version: Cell<Option<ApiVersion>>,
    ping: RefCell<Option<Ping>>,
    idle: RefCell<Option<SendRequest<RequestBody>>>,
}

/// A client of one engine; clones share the connection. For one thread (current-thread runtime).
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Rc<Inner>,
}

impl Client {
    pub fn new(endpoint: Endpoint, tls: Option<TlsFiles>) -> Self {
        let inner = Inner {
            endpoint,
            tls,
            headers: Vec::new(),
            version: Cell::new(None),
            ping: RefCell::new(None),
            idle: RefCell::new(None),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Adds headers to every request (`HttpHeaders` of config.json). Call before the first clone.
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        if let Some(inner) = Rc::get_mut(&mut self.inner) {
            inner.headers = headers;
        }
        self
    }

    /// Uses this version instead of negotiating one (`DOCKER_API_VERSION`).
    pub fn with_version(self, version: ApiVersion) -> Self {
        self.inner.version.set(Some(version));
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }
    /// A connection without a request on it, for who speaks the protocol themselves.
    pub async fn dial(&self) -> Result<Stream, Error> {
        Stream::connect(&self.inner.endpoint, self.inner.tls.as_ref()).await
    }
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.inner.headers
    }

    /// `/_ping`, once.
    pub async fn ping(&self) -> Result<Ping, Error> {
        if let Some(ping) = self.inner.ping.borrow().clone() {
            return Ok(ping);
        }
        // boxed: sending asks for the version, which asks for a ping
        let ping = Request::unversioned(self, Method::HEAD, "/_ping").send_raw();
        let response: Response = (Box::pin(ping) as LocalBoxFuture<'_, Result<Response, Error>>).await?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let ping = Ping {
            api_version: ApiVersion::parse(&header("api-version")),
            os_type: header("ostype"),
            experimental: header("docker-experimental") == "true",
        };
        response.drain().await;
        *self.inner.ping.borrow_mut() = Some(ping.clone());
        Ok(ping)
    }

    /// The version to speak, if it is known.
    pub(crate) fn known_version(&self) -> Option<ApiVersion> {
        self.inner.version.get()
    }

    /// Any answer tells the engine's version, so that the first request need not wait for a ping. The version to speak, if it is known now.
    pub(crate) fn learn_version(&self, headers: &HeaderMap) -> Option<ApiVersion> {
        if self.inner.version.get().is_none() {
            let theirs = headers.get("api-version").and_then(|v| v.to_str().ok()).and_then(ApiVersion::parse);
            self.inner.version.set(theirs.map(|theirs| theirs.min(ApiVersion::CURRENT)));
        }
        self.inner.version.get()
    }

    /// Opens the connection that the next request takes, to learn whether the engine is there.
    pub async fn reach(&self) -> Result<(), Error> {
        let (sender, _) = self.connection().await?;
        self.keep(sender);
        Ok(())
    }

    /// The version to speak: the older of ours and the engine's.
    pub async fn version(&self) -> Result<ApiVersion, Error> {
        if let Some(version) = self.inner.version.get() {
            return Ok(version);
        }
        let theirs = self.ping().await?.api_version.unwrap_or(ApiVersion::MINIMUM);
        let version = theirs.min(ApiVersion::CURRENT);
        self.inner.version.set(Some(version));
        Ok(version)
    }

    pub fn request(&self, method: Method, path: impl Into<String>) -> Request {
        Request::new(self, method, path.into())
    }
    pub fn get(&self, path: impl Into<String>) -> Request {
        self.request(Method::GET, path)
    }
    pub fn head(&self, path: impl Into<String>) -> Request {
        self.request(Method::HEAD, path)
    }
    pub fn post(&self, path: impl Into<String>) -> Request {
        self.request(Method::POST, path)
    }
    pub fn put(&self, path: impl Into<String>) -> Request {
        self.request(Method::PUT, path)
    }
    pub fn delete(&self, path: impl Into<String>) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A connection that can take a request now: the idle one or a new one.
    pub(crate) async fn connection(&self) -> Result<(SendRequest<RequestBody>, bool), Error> {
        let idle = self.inner.idle.borrow_mut().take();
        if let Some(mut sender) = idle
            && !sender.is_closed()
            && sender.ready().await.is_ok()
        {
            return Ok((sender, true));
        }
        let stream = Stream::connect(&self.inner.endpoint, self.inner.tls.as_ref()).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // the connection ends with the sender, or when the engine closes it
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok((sender, false))
    }

    pub(crate) fn keep(&self, sender: SendRequest<RequestBody>) {
        *self.inner.idle.borrow_mut() = Some(sender);
    }
}
