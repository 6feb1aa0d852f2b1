//! Proving to a registry who one is.
//!
//! Standard: <https://distribution.github.io/distribution/spec/auth/token/> and `/oauth/`. Invariants: tokens are kept per scope and
//! only in memory; credentials go to the registry itself, or to the token server that it names over a connection no less
//! safe than its own.
use crate::challenge::Challenge;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::transport::{self, Transport};
use base64::Engine;
use http::{HeaderValue, Method};
use reqwest::Url;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How tokens say who asks for them.
const CLIENT_ID: &str = "knarr";
/// Lifetime of a token that names none, and shortest lifetime that is believed.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// A token is not used in the last part of its life.
const MARGIN: Duration = Duration::from_secs(10);
const MAX_TOKEN_DOCUMENT: usize = 1 << 20;
const MAX_TOKENS: usize = 64;

/// Authentication at one endpoint.
#[derive(Debug)]
pub struct Auth {
    client: Client,
    endpoint: Endpoint,
    credentials: Option<Credentials>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenges: Vec<Challenge>,
    tokens: HashMap<String, Token>,
    /// The identity token that the token server gave in exchange for the last one.
    identity_token: Option<String>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What a token server answers.
#[derive(serde::Deserialize)]
pub struct TokenDocument {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    pub refresh_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl TokenDocument {
    pub fn bearer(&self) -> &str {
        if self.token.is_empty() { &self.access_token } else { &self.token }
    }
}

impl Auth {
    pub fn new(client: Client, endpoint: Endpoint, credentials: Option<Credentials>) -> Self {
        let credentials = credentials.filter(|credentials| !credentials.is_empty());
        Self { client, endpoint, credentials, state: Mutex::default() }
    }

    /// What the registry asks for from now on.
    pub async fn challenged(&self, challenges: Vec<Challenge>) {
        self.state.lock().await.challenges = challenges;
    }

    /// The registry did not like this header. Whether there is another one to try: the token may have expired, or not
    /// been asked for yet. One that somebody else has renewed meanwhile stays.
    pub async fn refused(&self, used: Option<&HeaderValue>, challenges: Vec<Challenge>) -> bool {
        let mut state = self.state.lock().await;
        let is_bearer = challenges.iter().any(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let given = self.credentials.as_ref().is_some_and(|c| !c.registry_token.is_empty());
        state.challenges = challenges;
        state.tokens.retain(|_, token| Some(&token.header) != used);
        used.is_none() || (is_bearer && !given)
    }

    /// The `Authorization` header for a scope; `None` where nothing is asked for.
    pub async fn header(&self, scope: &str) -> Result<Option<HeaderValue>> {
        let mut state = self.state.lock().await;
        if let Some(credentials) = &self.credentials
            && !credentials.registry_token.is_empty()
        {
            return secret(format!("Bearer {}", credentials.registry_token)).map(Some);
        }
        let bearer = state.challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        if let Some(Challenge::Bearer { realm, service, .. }) = bearer.cloned() {
            if let Some(token) = state.tokens.get(scope).filter(|token| Instant::now() < token.until) {
                return Ok(Some(token.header.clone()));
            }
            let known = state.identity_token.clone();
            let document = self.token(&realm, service.as_deref(), scope, false, known).await?;
            if !document.refresh_token.is_empty() && self.has_identity() {
                state.identity_token = Some(document.refresh_token.clone());
            }
            let header = secret(format!("Bearer {}", document.bearer()))?;
            let lifetime = Duration::from_secs(document.expires_in).max(MIN_LIFETIME) - MARGIN;
            if state.tokens.len() >= MAX_TOKENS {
                state.tokens.clear();
            }
            let until = Instant::now() + lifetime;
            state.tokens.insert(scope.to_owned(), Token { header: header.clone(), until });
            return Ok(Some(header));
        }
        match (&self.credentials, state.challenges.contains(&Challenge::Basic)) {
            (Some(credentials), true) => basic(credentials).map(Some),
            _ => Ok(None),
        }
    }

    /// What it asked for the last time.
    pub async fn challenges(&self) -> Vec<Challenge> {
        self.state.lock().await.challenges.clone()
    }

    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub async fn wants_basic(&self) -> bool {
        let state = self.state.lock().await;
        !state.challenges.is_empty()
            && state.challenges.iter().all(|challenge| *challenge == Challenge::Basic)
    }

    fn has_identity(&self) -> bool {
        self.credentials.as_ref().is_some_and(|credentials| !credentials.identity_token.is_empty())
    }

    /// Asks a token server. Credentials go there over TLS, or in the clear where the registry's own connection is.
    pub async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        offline: bool,
        identity_token: Option<String>,
    ) -> Result<TokenDocument> {
        let base = &self.endpoint.base;
        let protocol = |what: String| Error::Protocol { url: transport::without_secrets(base), what };
        let realm = Url::parse(realm).map_err(|error| protocol(format!("token server: {error}")))?;
        let safe = realm.scheme() == "https" || (realm.scheme() == "http" && base.scheme() == "http");
        if !safe {
            return Err(protocol(format!("token server at {}://", realm.scheme())));
        }
        let transport = &self.client.token_transport(&self.endpoint, &realm)?;
        let request = self.token_request(transport, realm, service, scope, offline, identity_token)?;
        let method = request.method().clone();
        let response = transport.send(request).await?;
        if !response.status().is_success() {
            return Err(transport::failure(method, response).await);
        }
        let bytes = transport::document(response, MAX_TOKEN_DOCUMENT).await?;
        let document: TokenDocument =
            serde_json::from_slice(&bytes).map_err(|error| protocol(format!("token: {error}")))?;
        if document.bearer().is_empty() {
            return Err(protocol("the token server gave no token".to_owned()));
        }
        Ok(document)
    }

    fn token_request(
        &self,
        transport: &Transport,
        mut realm: Url,
        service: Option<&str>,
        scope: &str,
        offline: bool,
        identity_token: Option<String>,
    ) -> Result<reqwest::Request> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        pairs.extend(service.map(|service| ("service", service)));
        pairs.extend(Some(scope).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
        let identity = self.credentials.as_ref().filter(|c| !c.identity_token.is_empty());
        let method = if identity.is_some() { Method::POST } else { Method::GET };
        if let Some(credentials) = identity {
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("refresh_token", identity_token.as_ref().unwrap_or(&credentials.identity_token)),
                ("client_id", CLIENT_ID),
            ]);
            let body = encode_form(&pairs);
            let request = transport.http().post(realm).body(body);
            let form = "application/x-www-form-urlencoded";
            return build(request.header(http::header::CONTENT_TYPE, form));
        }
        if offline {
            pairs.extend([("offline_token", "true"), ("client_id", CLIENT_ID)]);
        }
        if let Some(credentials) = &self.credentials {
            pairs.push(("account", &credentials.username));
        }
        realm.query_pairs_mut().extend_pairs(&pairs);
        let mut request = transport.http().request(method, realm);
        if let Some(credentials) = &self.credentials {
            request = request.header(http::header::AUTHORIZATION, basic(credentials)?);
        }
        build(request)
    }
}

pub fn build(request: reqwest::RequestBuilder) -> Result<reqwest::Request> {
    request.build().map_err(|error| Error::Config(error.to_string()))
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    // A URL's query is encoded in the same way.
    let mut url = Url::parse("http://form/").unwrap_or_else(|_| unreachable!("a constant URL"));
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

pub fn basic(credentials: &Credentials) -> Result<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    secret(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn secret(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Error::Config("credentials have characters that cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
