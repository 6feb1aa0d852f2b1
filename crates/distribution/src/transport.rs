//! HTTP to one server: requests, redirects, answers.
//!
//! Invariants: a redirect to another origin carries no credentials, and none leads from a verified server to plain HTTP; a
//! document is read up to its bound; loopback is never reached through a proxy.
use crate::config::{RegistryConfig, host_of};
use crate::error::{Error, RegistryError, Result};
use crate::{dns, tls};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Request, Response, Url};
use std::net::IpAddr;
use std::time::Duration;

const MAX_REDIRECTS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest error document.
const MAX_ERROR: usize = 64 << 10;

/// A pool of connections with one idea of trust.
#[derive(Debug, Clone)]
pub struct Transport {
    http: reqwest::Client,
    verify: bool,
}

impl Transport {
    /// For the server at `base`.
    pub fn new(base: &Url, verify: bool, config: &RegistryConfig) -> Result<Self> {
        let authority = base.authority().rsplit('@').next().unwrap_or_default();
        let certs =
            config.certs_dir.as_ref().filter(|_| is_plain_name(authority)).map(|dir| dir.join(authority));
        let agent = if config.user_agent.is_empty() { "knarr" } else { &config.user_agent };
        let mut builder = reqwest::Client::builder()
            .user_agent(agent)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .dns_resolver(dns::Resolver)
            .tls_backend_preconfigured(tls::config(certs.as_deref(), verify)?);
        if is_loopback(host_of(authority)) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Error::Config(chain(&error)))?;
        Ok(Self { http, verify })
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Sends a request; follows redirects of reading requests.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        for _ in 0..MAX_REDIRECTS {
            let (method, url) = (request.method().clone(), request.url().clone());
            let again = matches!(method, Method::GET | Method::HEAD).then(|| request.try_clone()).flatten();
            let response = self.execute(request).await?;
            let Some(again) = again.filter(|_| is_redirect(response.status())) else { return Ok(response) };
            request = self.redirected(again, &url, &response)?;
        }
        let url = request.url().to_string();
        Err(Error::Protocol { url, what: format!("more than {MAX_REDIRECTS} redirects") })
    }

    async fn execute(&self, request: Request) -> Result<Response> {
        let (method, url) = (request.method().clone(), without_secrets(request.url()));
        self.http.execute(request).await.map_err(|error| transport_error(method, url, &error))
    }

    fn redirected(&self, mut request: Request, from: &Url, response: &Response) -> Result<Request> {
        let protocol = |what: String| Error::Protocol { url: without_secrets(from), what };
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| protocol("redirect without a location".to_owned()))?;
        let to = from.join(location).map_err(|error| protocol(format!("redirect: {error}")))?;
        if !matches!(to.scheme(), "http" | "https") || (self.verify && to.scheme() == "http") {
            return Err(protocol(format!("redirect to {}", to.scheme())));
        }
        if to.origin() != from.origin() {
            request.headers_mut().remove(AUTHORIZATION);
        }
        *request.url_mut() = to;
        Ok(request)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Usable as the name of a directory.
fn is_plain_name(authority: &str) -> bool {
    !authority.is_empty() && !authority.starts_with('.') && !authority.contains('/')
}

/// A URL as it may be shown: without user information and query, where secrets can be.
pub fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.to_string()
}

pub fn transport_error(method: Method, url: String, error: &reqwest::Error) -> Error {
    let temporary = error.is_timeout()
        || error.is_connect() && !chain(error).contains("no such host")
        || error.is_body()
        || error.is_request()
        || error.is_decode();
    Error::Transport { method, url, cause: chain(error), temporary, connected: !error.is_connect() }
}

/// The innermost cause says most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// Reads a document of at most `limit` bytes.
pub async fn document(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let url = without_secrets(response.url());
    let too_large = || Error::TooLarge { url: url.clone(), limit };
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let chunk =
            response.chunk().await.map_err(|error| transport_error(Method::GET, url.clone(), &error))?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The error that an answer is.
pub async fn failure(method: Method, response: Response) -> Error {
    let status = response.status();
    let url = without_secrets(response.url());
    let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
    let body = document(response, MAX_ERROR).await.unwrap_or_default();
    let cause = RegistryError::parse(status, &body);
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            Error::TooManyRequests { message: cause.message.clone(), retry_after }
        }
        StatusCode::UNAUTHORIZED => Error::Unauthorized { method, url, cause },
        _ => Error::Status { method, url, status, cause },
    }
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
