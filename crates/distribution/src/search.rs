//! Looking for images by words: a registry's `/v1/search`, as `docker search` has it.
//!
//! Standard: Docker's index API, which Docker Hub still serves: `GET <index>/v1/search?q=&n=`. Credentials: a password as
//! basic authentication, an identity token by the token server with scope `registry:catalog:search`.
use crate::auth::Auth;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::transport::{self, Transport};
use crate::{auth, repository, retry};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use knarr_oci::reference::DEFAULT_DOMAIN;
use reqwest::Url;

/// Results when no number is asked for, and most that may be.
const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 100;
const MAX_ANSWER: usize = 4 << 20;
/// Docker Hub's index.
const HUB_INDEX: &str = "https://index.docker.io/";
const SCOPE: &str = "registry:catalog:search";

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Words, behind a registry's host and a slash if it is not Docker Hub that is asked.
    pub term: String,
    /// 0: the default.
    pub limit: u32,
    pub credentials: Option<Credentials>,
}

/// One image that a registry found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Found {
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
}

fn or_default<'de, D: serde::Deserializer<'de>>(decoder: D) -> std::result::Result<String, D::Error> {
    Ok(<Option<String> as serde::Deserialize>::deserialize(decoder)?.unwrap_or_default())
}

#[derive(serde::Deserialize)]
struct Answer {
    results: Option<Vec<Found>>,
}

impl Client {
    /// Asks the registry that the term names, in its own order.
    pub async fn search(&self, search: &Search) -> Result<Vec<Found>> {
        let limit = match search.limit {
            0 => DEFAULT_LIMIT,
            limit @ 1..=MAX_LIMIT => limit,
            limit => {
                return Err(Error::Invalid(format!(
                    "limit {limit} is outside the range of [1, {MAX_LIMIT}]"
                )));
            }
        };
        if search.term.contains("://") {
            return Err(Error::Invalid(format!(
                "invalid repository name: repository name ({}) should not have a scheme",
                search.term
            )));
        }
        let (domain, words) = split(&search.term);
        let mut last = None;
        for endpoint in self.index_endpoints(domain)? {
            let auth = Auth::new(self.clone(), endpoint.clone(), search.credentials.clone());
            let transport = self.transport(&endpoint)?;
            let credentials = search.credentials.as_ref();
            let ask = || ask(&transport, &endpoint, &auth, credentials, words, limit);
            // Nobody is there with TLS: said at once. Patience is for those that answer.
            match ask().await {
                Err(error @ Error::Transport { connected: false, .. }) if endpoint.fallback => {
                    last = Some(error)
                }
                Err(error) if error.is_temporary() => return retry::retry(ask).await,
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| Error::Config("the registry has no endpoint".to_owned())))
    }

    fn index_endpoints(&self, domain: &str) -> Result<Vec<Endpoint>> {
        let mut endpoints = endpoint::endpoints(domain, "", self.config(), false)?;
        if domain == DEFAULT_DOMAIN
            && let Ok(base) = Url::parse(HUB_INDEX)
        {
            endpoints.iter_mut().for_each(|endpoint| endpoint.base = base.clone());
        }
        Ok(endpoints)
    }
}

/// The registry's host and the words.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, words)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" => {
                (DEFAULT_DOMAIN, words.strip_prefix("library/").unwrap_or(words))
            }
            host => (host, words),
        },
        _ => (DEFAULT_DOMAIN, term.strip_prefix("library/").unwrap_or(term)),
    }
}

async fn ask(
    transport: &Transport,
    endpoint: &Endpoint,
    auth: &Auth,
    credentials: Option<&Credentials>,
    words: &str,
    limit: u32,
) -> Result<Vec<Found>> {
    let mut url = endpoint.base.join("v1/search").map_err(|error| Error::Config(error.to_string()))?;
    url.query_pairs_mut().append_pair("q", words).append_pair("n", &limit.to_string());
    let mut again = false;
    let response = loop {
        let mut request = auth::build(transport.http().get(url.clone()))?;
        let by_password = credentials.filter(|credentials| credentials.identity_token.is_empty());
        let used = match by_password {
            // The index never asks: as in Docker, a password is sent along.
            Some(credentials) if !credentials.username.is_empty() => Some(auth::basic(credentials)?),
            _ => auth.header(SCOPE).await?,
        };
        if let Some(header) = &used {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        let response = transport.send(request).await?;
        let asked_here = response.url().origin() == url.origin();
        if response.status() != StatusCode::UNAUTHORIZED || again || !asked_here {
            break response;
        }
        again = true;
        if !auth.refused(used.as_ref(), repository::challenges(response.headers())).await {
            break response;
        }
    };
    if !response.status().is_success() {
        return Err(transport::failure(Method::GET, response).await);
    }
    let bytes = transport::document(response, MAX_ANSWER).await?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| Error::Protocol {
        url: transport::without_secrets(&url),
        what: format!("error decoding registry search results: {error}"),
    })?;
    let mut found = answer.results.unwrap_or_default();
    found.truncate(limit as usize);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_may_name_a_registry() {
        for (term, want) in [
            ("nginx", ("docker.io", "nginx")),
            ("library/nginx", ("docker.io", "nginx")),
            ("team/app", ("docker.io", "team/app")),
            ("docker.io/library/nginx", ("docker.io", "nginx")),
            ("r.test/app", ("r.test", "app")),
            ("localhost:5000/library/app", ("localhost:5000", "library/app")),
            ("localhost/a", ("localhost", "a")),
            ("two words", ("docker.io", "two words")),
        ] {
            assert_eq!(split(term), want, "{term}");
        }
    }
}
