//! One repository at its endpoints, with one user's credentials.
//!
//! Endpoints are tried in order: a mirror that fails gives way to the next, HTTPS that nobody speaks gives way to plain
//! HTTP where that is allowed. What worked once is used for the rest.
use crate::auth::{self, Auth};
use crate::challenge::{self, Challenge};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::{Error, RegistryError, Result};
use crate::retry;
use crate::transport::{self, Transport};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use knarr_base::Kind;
use knarr_oci::reference::Reference;
use reqwest::{RequestBuilder, Response, Url};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::OnceCell;

/// What is going to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Pull,
    Push,
}

/// A repository of a registry. Nothing is sent before the first operation.
#[derive(Debug)]
pub struct Repository {
    pub(crate) reference: Reference,
    access: Access,
    sessions: Vec<Session>,
    /// The first session that is worth a try.
    current: AtomicUsize,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    endpoint: Endpoint,
    scope: String,
    auth: Arc<Auth>,
    transport: OnceCell<Transport>,
}

impl Repository {
    pub(crate) fn new(
        client: Client,
        reference: &Reference,
        credentials: Option<Credentials>,
        access: Access,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let sessions = endpoints.into_iter().map(|endpoint| Session {
            client: client.clone(),
            auth: Arc::new(Auth::new(
                client.clone(),
                endpoint.clone(),
                credentials.clone().filter(|_| !endpoint.mirror),
            )),
            scope: format!("repository:{}:{actions}", endpoint.repository),
            endpoint,
            transport: OnceCell::new(),
        });
        Self {
            reference: reference.clone(),
            access,
            sessions: sessions.collect(),
            current: AtomicUsize::new(0),
        }
    }

    /// Whether the registry answers and lets this user in.
    pub async fn ping(&self) -> Result<()> {
        each!(self, session => async { Ok(()) })
    }

    /// A session with the server that this repository's endpoints led to the last time, which is not asked first what it
    /// speaks: that is half of the way to an image that is here. Only before anything else was done.
    pub(crate) async fn acquaintance(&self) -> Option<Acquaintance<'_>> {
        if self.sessions.iter().any(|session| session.transport.initialized()) {
            return None;
        }
        for (at, session) in self.sessions.iter().enumerate() {
            if let Some(challenges) = session.client.met(&session.endpoint) {
                let transport = session.client.transport(&session.endpoint).ok()?;
                session.auth.challenged(challenges).await;
                let session = Session {
                    client: session.client.clone(),
                    endpoint: session.endpoint.clone(),
                    scope: session.scope.clone(),
                    auth: Arc::clone(&session.auth),
                    transport: OnceCell::new_with(Some(transport)),
                };
                return Some(Acquaintance { repository: self, at, session });
            }
            // A mirror that comes before others is asked before them.
            if !session.endpoint.fallback {
                return None;
            }
        }
        None
    }

    /// Begins with the first endpoint that is worth a try.
    pub(crate) fn tries(&self) -> Tries<'_> {
        Tries { repository: self, at: self.current.load(Ordering::Relaxed) }
    }

    /// The error in Docker's words.
    fn explain(&self, error: Error) -> Error {
        match (error, self.access) {
            (Error::Status { status: StatusCode::FORBIDDEN, cause, .. }, access) => {
                self.denied(access, cause)
            }
            (Error::Unauthorized { cause, .. }, access) if cause.code == "DENIED" => {
                self.denied(access, cause)
            }
            (Error::Status { status: StatusCode::NOT_FOUND, cause, .. }, Access::Pull)
                if cause.code == "NAME_UNKNOWN" || cause.code == "NOT_FOUND" =>
            {
                self.denied(Access::Pull, cause)
            }
            (Error::Status { status: StatusCode::NOT_FOUND, cause, .. }, Access::Pull)
                if cause.code == "MANIFEST_UNKNOWN" =>
            {
                Error::ManifestUnknown { reference: self.reference.familiar(), cause }
            }
            (error, _) => error,
        }
    }

    fn denied(&self, access: Access, cause: RegistryError) -> Error {
        match access {
            Access::Pull => Error::PullDenied { name: self.reference.familiar_name(), cause },
            Access::Push => Error::PushDenied { cause },
        }
    }
}

/// A server that was met before.
pub(crate) struct Acquaintance<'a> {
    repository: &'a Repository,
    at: usize,
    session: Session,
}

impl Acquaintance<'_> {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// After a first request: the server is used for the rest, or is none that is known any more.
    pub(crate) fn judge<T>(self, result: Result<T>) -> Option<T> {
        let own = &self.repository.sessions[self.at];
        match result {
            Ok(done) => {
                if let Some(transport) = self.session.transport.into_inner() {
                    // Somebody else may have been here meanwhile, with the same outcome.
                    let _ = own.transport.set(transport);
                }
                self.repository.current.store(self.at, Ordering::Relaxed);
                Some(done)
            }
            Err(error) => {
                let endpoint = own.endpoint.base.as_str();
                tracing::debug!(
                    endpoint,
                    error = error.to_string(),
                    "not as it was: asked from the beginning"
                );
                own.client.forget(&own.endpoint);
                None
            }
        }
    }
}

/// Endpoints being tried, one after the other.
pub(crate) struct Tries<'a> {
    repository: &'a Repository,
    at: usize,
}

impl<'a> Tries<'a> {
    pub(crate) fn session(&self) -> &'a Session {
        &self.repository.sessions[self.at]
    }

    /// The outcome for good, or none when the next endpoint is to be tried.
    pub(crate) fn judge<T>(&mut self, result: Result<T>) -> Option<Result<T>> {
        match result {
            Ok(done) => {
                self.repository.current.store(self.at, Ordering::Relaxed);
                Some(Ok(done))
            }
            Err(error)
                if self.session().gives_way(&error) && self.at + 1 < self.repository.sessions.len() =>
            {
                let endpoint = self.session().endpoint.base.as_str();
                tracing::debug!(endpoint, error = error.to_string(), "endpoint gives way to the next");
                self.at += 1;
                None
            }
            Err(error) => Some(Err(self.repository.explain(error))),
        }
    }
}

/// Does something at the first endpoint where it works. Not a method that takes an async closure: the compiler cannot
/// see that the future of such a closure may be sent to another thread.
macro_rules! each {
    ($repository:expr, $session:ident => $work:expr) => {{
        let mut tries = $repository.tries();
        loop {
            let $session = tries.session();
            // Before the work, which has a patience of its own.
            let done = match $session.ready().await {
                Ok(_) => $work.await,
                Err(error) => Err(error),
            };
            if let Some(result) = tries.judge(done) {
                break result;
            }
        }
    }};
}
pub(crate) use each;

impl Session {
    /// Whether another endpoint may know better.
    fn gives_way(&self, error: &Error) -> bool {
        match error {
            // It does speak TLS: the same server without is no better.
            Error::Transport { refused, connected, .. } if *refused || *connected => self.endpoint.mirror,
            // The endpoint was never reached: try the other protocol, or the next mirror.
            Error::Transport { .. } | Error::Timeout { .. } | Error::Protocol { .. } => {
                self.endpoint.mirror || (self.endpoint.fallback && self.transport.get().is_none())
            }
            Error::Cancelled | Error::Config(_) | Error::Invalid(_) => false,
            Error::Content(error) => {
                self.endpoint.mirror && error.kind() == knarr_base::ErrorKind::InvalidArgument
            }
            _ => self.endpoint.mirror,
        }
    }

    /// Connects and learns what the registry asks for, once.
    pub(crate) async fn ready(&self) -> Result<&Transport> {
        self.transport
            .get_or_try_init(|| async {
                let transport = self.client.transport(&self.endpoint)?;
                match self.ping(&transport).await {
                    // Nobody is there: said at once. Patience is for those that answer.
                    Err(error @ Error::Transport { connected: false, .. }) => return Err(error),
                    Err(error) if self.endpoint.fallback => return Err(error),
                    Err(_) => retry::retry(|| self.ping(&transport)).await?,
                    Ok(()) => {}
                }
                self.client.meet(&self.endpoint, self.auth.challenges().await);
                Ok(transport)
            })
            .await
    }

    async fn ping(&self, transport: &Transport) -> Result<()> {
        let url = self.base_url("")?;
        let response = transport.send(auth::build(transport.http().get(url))?).await?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED && self.is_own(response.url()) {
            self.auth.challenged(challenges(response.headers())).await;
            return Ok(());
        }
        // A registry without `/v2/` may still have the repository; anything that answers is asked there.
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(transport::failure(Method::GET, response).await);
        }
        Ok(())
    }

    /// `<endpoint>/v2/<rest>`.
    fn base_url(&self, rest: &str) -> Result<Url> {
        let joined = self.endpoint.base.join(&format!("v2/{rest}"));
        joined.map_err(|error| Error::Config(error.to_string()))
    }

    /// `<endpoint>/v2/<repository>/<rest>`.
    pub(crate) fn url(&self, rest: &str) -> Result<Url> {
        self.base_url(&format!("{}/{rest}", self.endpoint.repository))
    }

    /// Whether credentials of this session are for this URL.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.base.origin()
    }

    /// Where an answer's `Location` leads. Not from a verified server to plain HTTP.
    pub(crate) fn location(&self, response: &Response) -> Result<Url> {
        let url = transport::without_secrets(response.url());
        let location = response.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        let joined = location.and_then(|location| response.url().join(location).ok());
        joined
            .map(|to| self.same_server(to))
            .filter(|to| to.scheme() == "https" || (to.scheme() == "http" && self.is_plain(to)))
            .ok_or(Error::Protocol { url, what: "no usable location".to_owned() })
    }

    /// Plain HTTP is for those that are spoken to plainly anyway, or need not prove who they are.
    fn is_plain(&self, to: &Url) -> bool {
        self.endpoint.base.scheme() == "http" || (!self.endpoint.verify && !self.is_host(to))
    }

    fn is_host(&self, url: &Url) -> bool {
        url.host_str() == self.endpoint.base.host_str()
    }

    /// A registry behind a proxy that does TLS for it names itself without: what is meant is where we are already.
    fn same_server(&self, mut to: Url) -> Url {
        let base = &self.endpoint.base;
        let same_port = to.port().is_none() || to.port() == base.port_or_known_default();
        if base.scheme() == "https" && to.scheme() == "http" && self.is_host(&to) && same_port {
            let _ = to.set_scheme("https");
            let _ = to.set_port(base.port());
        }
        to
    }

    /// Sends a request, with authentication where it is asked for and belongs. Any answer but 401 is the caller's.
    pub(crate) async fn send(
        &self,
        extra_scope: Option<&str>,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response> {
        let transport = self.ready().await?;
        let scope = match extra_scope {
            Some(extra) => format!("{} {extra}", self.scope),
            None => self.scope.clone(),
        };
        let mut again = false;
        loop {
            let mut request = auth::build(request(transport.http()))?;
            let (method, url) = (request.method().clone(), request.url().clone());
            let own = self.is_own(&url);
            let used = if own { self.auth.header(&scope).await? } else { None };
            if let Some(header) = &used {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            let response = transport.send(request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            // The challenge of another server that a redirect led to is not answered with what is for this one.
            let asked_here = own && self.is_own(response.url());
            let challenges = challenges(response.headers());
            let renew = asked_here && !again && !challenges.is_empty();
            if renew && self.auth.refused(used.as_ref(), challenges).await {
                again = true;
                continue;
            }
            if self.auth.wants_basic().await && !self.auth.has_credentials() {
                return Err(Error::NoCredentials { method, url: transport::without_secrets(&url) });
            }
            return Err(transport::failure(method, response).await);
        }
    }

    pub(crate) async fn login(&self) -> Result<Option<String>> {
        let transport = self.client.transport(&self.endpoint)?;
        let url = self.base_url("")?;
        let response = transport.send(auth::build(transport.http().get(url.clone()))?).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            return if response.status().is_success() {
                Ok(None)
            } else {
                Err(transport::failure(Method::GET, response).await)
            };
        }
        let challenges = challenges(response.headers());
        self.auth.challenged(challenges.clone()).await;
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        if let Some((realm, service, scope)) = bearer {
            let scope = scope.as_deref().unwrap_or_default();
            let document = self.auth.token(realm, service.as_deref(), scope, true, None).await?;
            let request = transport.http().get(url).bearer_auth(document.bearer());
            let response = transport.send(auth::build(request)?).await?;
            return if response.status().is_success() {
                Ok(Some(document.refresh_token).filter(|token| !token.is_empty()))
            } else {
                Err(transport::failure(Method::GET, response).await)
            };
        }
        let mut request = auth::build(transport.http().get(url))?;
        if let Some(header) = self.auth.header("").await? {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let response = transport.send(request).await?;
        if response.status().is_success() {
            Ok(None)
        } else {
            Err(transport::failure(Method::GET, response).await)
        }
    }
}

pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(challenge::parse).collect()
}
