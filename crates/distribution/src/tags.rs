//! The tags of a repository.
//!
//! Standard: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags>, page by page as the
//! `Link` header says. Bounds: [`MAX_TAGS`], [`MAX_PAGE_LEN`]; what is no tag is left out.
use crate::error::{Error, Result};
use crate::repository::{Repository, Session, each};
use crate::{retry, transport};
use http::header::LINK;
use http::{Method, StatusCode};
use knarr_oci::reference::Reference;
use reqwest::Url;

/// Tags of one repository, at most.
const MAX_TAGS: usize = 100_000;
/// Bytes of one page.
const MAX_PAGE_LEN: usize = 4 << 20;
/// Tags asked for at a time.
const PAGE: usize = 1000;

#[derive(serde::Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>> {
        each!(self, session => retry::retry(|| list(session, &self.reference)))
    }
}

async fn list(session: &Session, name: &Reference) -> Result<Vec<String>> {
    let mut tags = Vec::new();
    let mut next = Some(session.url(&format!("tags/list?n={PAGE}"))?);
    while let Some(url) = next {
        let response = session.send(None, |http| http.get(url.clone())).await?;
        if response.status() != StatusCode::OK {
            return Err(transport::failure(Method::GET, response).await);
        }
        let shown = transport::without_secrets(&url);
        let link = response.headers().get(LINK).and_then(|value| following(value.to_str().ok()?, &url));
        let bytes = transport::document(response, MAX_PAGE_LEN).await?;
        let page: Page = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Protocol { url: shown.clone(), what: format!("tags: {error}") })?;
        let page = page.tags.unwrap_or_default();
        if tags.len() + page.len() > MAX_TAGS {
            return Err(Error::Protocol { url: shown, what: format!("more than {MAX_TAGS} tags") });
        }
        // A page without tags that names another one would never end.
        next = link.filter(|_| !page.is_empty());
        tags.extend(page.into_iter().filter(|tag| name.with_tag(tag).is_ok()));
    }
    Ok(tags)
}

/// Where `<...>; rel="next"` leads, on the same server.
fn following(link: &str, from: &Url) -> Option<Url> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\"") || part.contains("rel=next"))?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    from.join(target).ok().filter(|to| to.origin() == from.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let from = Url::parse("https://r.test/v2/a/b/tags/list?n=2").unwrap();
        let next = |link| following(link, &from).map(|url| url.to_string());
        assert_eq!(
            next("</v2/a/b/tags/list?last=x&n=2>; rel=\"next\"").as_deref(),
            Some("https://r.test/v2/a/b/tags/list?last=x&n=2")
        );
        assert_eq!(next("<https://evil.test/v2/>; rel=\"next\""), None);
        assert_eq!(next("</v2/>; rel=\"prev\""), None);
    }
}
