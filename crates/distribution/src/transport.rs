//! HTTP to one server: requests, redirects, answers.
//!
//! Invariants: a redirect to another origin carries no credentials, and none leads from a verified server to plain HTTP; a
//! document is read up to its bound; the certificate that is for one server is not shown to another.
use crate::config::RegistryConfig;
use crate::error::{Error, RegistryError, Result};
use crate::tls::{self, HostFiles, NoIdentity};
use crate::{dns, rate_limit};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::{Request, Response, Url};
use rustls::{CertificateError, InvalidMessage};
use std::sync::Arc;
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
    /// For other servers that this one leads to: they are not shown the certificate that is for this one.
    foreign: reqwest::Client,
    authority: String,
    verify: bool,
    nobody: Arc<NoIdentity>,
}

impl Transport {
    /// For the server at `base`.
    pub fn new(base: &Url, verify: bool, files: &HostFiles, config: &RegistryConfig) -> Result<Self> {
        let build = |files: &HostFiles| {
            let agent = if config.user_agent.is_empty() { "knarr" } else { &config.user_agent };
            let proxies = config.proxies.clone();
            let (tls, nobody) = tls::config(files, verify)?;
            let http = reqwest::Client::builder()
                .user_agent(agent)
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .dns_resolver(dns::Resolver)
                .no_proxy()
                .proxy(reqwest::Proxy::custom(move |url| proxies.of(url)))
                .tls_backend_preconfigured(tls)
                .build()
                .map_err(|error| Error::Config(chain(&error)))?;
            Ok::<_, Error>((http, nobody))
        };
        let (http, nobody) = build(files)?;
        let foreign = if files.has_identity() { build(&files.authorities())?.0 } else { http.clone() };
        Ok(Self { http, foreign, authority: base.authority().to_owned(), verify, nobody })
    }

    /// Makes requests; which of the two sends them is seen by their URL.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Sends a request; follows redirects of reading requests.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        for _ in 0..MAX_REDIRECTS {
            let (method, url) = (request.method().clone(), request.url().clone());
            let again = matches!(method, Method::GET | Method::HEAD).then(|| request.try_clone()).flatten();
            let response = self.execute(request).await?;
            rate_limit::warn(&url, response.headers());
            let Some(again) = again.filter(|_| is_redirect(response.status())) else { return Ok(response) };
            request = self.redirected(again, &url, &response)?;
        }
        let url = request.url().to_string();
        Err(Error::Protocol { url, what: format!("more than {MAX_REDIRECTS} redirects") })
    }

    async fn execute(&self, request: Request) -> Result<Response> {
        let (method, url) = (request.method().clone(), without_secrets(request.url()));
        let own = request.url().authority() == self.authority;
        let http = if own { &self.http } else { &self.foreign };
        http.execute(request).await.map_err(|error| {
            // Not when TLS ended for a reason of ours.
            let ours = tls_error(&error).is_some_and(|e| !matches!(e, rustls::Error::AlertReceived(_)));
            let asked = own && !ours && self.nobody.was_asked();
            match transport_error(method, url, &error) {
                Error::Transport { method, url, cause, connected, .. } if asked => {
                    let cause = format!(
                        "{cause} (the server asks for a client certificate, and there is none for it in certs.d)"
                    );
                    Error::Transport { method, url, cause, temporary: false, connected, refused: true }
                }
                error => error,
            }
        })
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
        || error.is_connect() && !has_no_host(error)
        || error.is_body()
        || error.is_request()
        || error.is_decode();
    let tls = tls_error(error);
    let (connected, refused) = (!error.is_connect(), matches!(tls, Some(rustls::Error::AlertReceived(_))));
    let words = tls.and_then(in_dockers_words);
    let temporary = temporary && !refused && words.is_none();
    let cause = words.map_or_else(|| chain(error), str::to_owned);
    Error::Transport { method, url, cause, temporary, connected, refused }
}

/// What went wrong with TLS, if that is it.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|error| {
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = io.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        inner.or(error.downcast_ref())
    })
}

/// Whether the server's name has no address: asking again does not help.
fn has_no_host(error: &reqwest::Error) -> bool {
    causes(error).any(|error| matches!(error.downcast_ref(), Some(dns::LookupError::NoSuchHost(_))))
}

/// An error and its causes, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}

/// The texts that people look for.
fn in_dockers_words(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("http: server gave HTTP response to HTTPS client")
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("tls: failed to verify certificate: x509: certificate signed by unknown authority")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Some("tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
        _ => None,
    }
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
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| rate_limit::retry_after(value, now()));
    let body = document(response, MAX_ERROR).await.unwrap_or_default();
    let cause = RegistryError::parse(status, &body);
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            Error::TooManyRequests { message: cause.message.clone(), retry_after }
        }
        StatusCode::UNAUTHORIZED => Error::Unauthorized { method, url, cause },
        _ => Error::Status { method, url, status, cause, retry_after },
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
