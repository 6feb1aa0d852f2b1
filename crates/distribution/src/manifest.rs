//! Manifests and indexes: small documents, verified as a whole.
use crate::error::{Error, Result};
use crate::repository::each;
use crate::repository::{Repository, Session};
use crate::{retry, transport};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Method};
use knarr_oci::digest::Digest;
use knarr_oci::image::media_type::ACCEPT_MANIFESTS;
use knarr_oci::image::{Descriptor, MAX_MANIFEST_LEN};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Which manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
}

/// A document as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its media type is what the server declared.
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

impl Select<'_> {
    fn path(self) -> String {
        match self {
            Self::Tag(tag) => format!("manifests/{tag}"),
            Self::Digest(digest) => format!("manifests/{digest}"),
        }
    }
}

impl Repository {
    /// What the repository's reference itself selects: its digest, else its tag, else `latest`.
    pub fn selected(&self) -> Select<'_> {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Select::Digest(digest),
            (None, Some(tag)) => Select::Tag(tag),
            (None, None) => Select::Tag(knarr_oci::reference::DEFAULT_TAG),
        }
    }

    /// Gets a manifest or an index. By digest, the bytes have that digest.
    pub async fn manifest(&self, select: Select<'_>) -> Result<Fetched> {
        if let Some(known) = self.acquaintance().await {
            let result = get(known.session(), select).await;
            if let Some(fetched) = known.judge(result) {
                return Ok(fetched);
            }
        }
        each!(self, session => retry::retry(|| get(session, select)))
    }

    /// What a tag means now, without the document. `None` for a server that does not say.
    pub async fn manifest_head(&self, select: Select<'_>) -> Result<Option<Descriptor>> {
        each!(self, session => retry::retry(|| head(session, select)))
    }

    /// A small blob, such as a configuration, without keeping it.
    pub async fn small_blob(&self, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
        each!(self, session => retry::retry(|| small_blob(session, blob, limit)))
    }

    /// Puts a manifest or an index. Its parts must be there already.
    pub async fn put_manifest(&self, select: Select<'_>, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        each!(self, session => retry::retry(|| put(session, select, media_type, bytes)))
    }
}

async fn get(session: &Session, select: Select<'_>) -> Result<Fetched> {
    let url = session.url(&select.path())?;
    let accept = ACCEPT_MANIFESTS.join(", ");
    let response = session.send(None, |http| http.get(url.clone()).header(ACCEPT, &accept)).await?;
    if !response.status().is_success() {
        return Err(transport::failure(Method::GET, response).await);
    }
    let media_type = header(response.headers(), CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let announced = digest_header(response.headers());
    let bytes = transport::document(response, MAX_MANIFEST_LEN).await?;
    let found = Digest::sha256(&bytes);
    let expected = match select {
        Select::Digest(digest) => Some(digest.clone()),
        Select::Tag(_) => announced.filter(|digest| digest.algorithm() == found.algorithm()),
    };
    if let Some(expected) = &expected
        && !expected.matches(&bytes)
    {
        return Err(Error::DigestMismatch { expected: expected.clone(), found });
    }
    let descriptor = Descriptor::new(&media_type, expected.unwrap_or(found), bytes.len() as u64);
    Ok(Fetched { descriptor, bytes })
}

async fn small_blob(session: &Session, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
    let url = session.url(&format!("blobs/{}", blob.digest))?;
    let response = session.send(None, |http| http.get(url.clone())).await?;
    if !response.status().is_success() {
        return Err(transport::failure(Method::GET, response).await);
    }
    let bytes = transport::document(response, limit).await?;
    if !blob.digest.matches(&bytes) {
        return Err(Error::DigestMismatch { expected: blob.digest.clone(), found: Digest::sha256(&bytes) });
    }
    Ok(bytes)
}

async fn head(session: &Session, select: Select<'_>) -> Result<Option<Descriptor>> {
    let url = session.url(&select.path())?;
    let accept = ACCEPT_MANIFESTS.join(", ");
    let response = session.send(None, |http| http.head(url.clone()).header(ACCEPT, &accept)).await?;
    if !response.status().is_success() {
        return Err(transport::failure(Method::HEAD, response).await);
    }
    let headers = response.headers();
    let size = header(headers, http::header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let (Some(digest), Some(size)) = (digest_header(headers), size) else { return Ok(None) };
    let media_type = header(headers, CONTENT_TYPE).unwrap_or_default();
    Ok(Some(Descriptor::new(media_type, digest, size)))
}

async fn put(session: &Session, select: Select<'_>, media_type: &str, bytes: &[u8]) -> Result<Digest> {
    let url = session.url(&select.path())?;
    let request =
        |http: &reqwest::Client| http.put(url.clone()).header(CONTENT_TYPE, media_type).body(bytes.to_vec());
    let response = session.send(None, request).await?;
    if !response.status().is_success() {
        return Err(transport::failure(Method::PUT, response).await);
    }
    let found = Digest::sha256(bytes);
    match digest_header(response.headers()) {
        Some(stored) if !stored.matches(bytes) => {
            Err(Error::DigestMismatch { expected: found, found: stored })
        }
        _ => Ok(found),
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(header(headers, CONTENT_DIGEST)?).ok()
}
