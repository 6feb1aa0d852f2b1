//! Blobs from the content store to a registry.
//!
//! A blob that the repository has is not sent; one that another repository of the same registry has is mounted from
//! there. Small ones go in one request, others in a stream that goes on where it was after an interruption.
use crate::download::{blocking, size};
use crate::error::{Error, Result};
use crate::repository::each;
use crate::repository::{Repository, Session};
use crate::{Progress, retry, transport};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{Method, StatusCode};
use knarr_content::Content;
use knarr_oci::image::Descriptor;
use reqwest::{Body, Response, Url};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Up to this size a blob goes in one request.
const MONOLITHIC_MAX: u64 = 1 << 20;
/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// How a blob got there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Existed,
    /// From this repository of the same registry.
    Mounted(String),
    Sent,
}

impl Repository {
    /// Makes sure that the repository has a blob. `mount_from`: repositories of the same registry that have it, likely.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        content: &Content,
        mount_from: &[String],
        progress: Progress<'_>,
    ) -> Result<Uploaded> {
        each!(self, session => push(session, blob, content, mount_from, progress))
    }
}

async fn push(
    session: &Session,
    blob: &Descriptor,
    content: &Content,
    mount_from: &[String],
    progress: Progress<'_>,
) -> Result<Uploaded> {
    if retry::retry(|| size(session, &blob.digest)).await?.is_some() {
        progress(blob.size, blob.size);
        return Ok(Uploaded::Existed);
    }
    let file = {
        let (content, digest) = (content.clone(), blob.digest.clone());
        Arc::new(blocking(move || Ok(content.open_blob(&digest)?)).await?)
    };
    let mut location = None;
    for from in mount_from {
        match retry::retry(|| begin(session, Some((blob, from)))).await {
            Ok(Begun::Mounted) => {
                progress(blob.size, blob.size);
                return Ok(Uploaded::Mounted(from.clone()));
            }
            Ok(Begun::Upload(url)) => {
                location = Some(url);
                break;
            }
            // Not allowed to read there: send it.
            Err(error) => tracing::debug!(from, error = error.to_string(), "mount refused"),
        }
    }
    let mut location = match location {
        Some(location) => location,
        None => begun(session).await?,
    };
    let mut failures = 0;
    loop {
        match send(session, &location, blob, &file, progress).await {
            Ok(()) => {
                progress(blob.size, blob.size);
                return Ok(Uploaded::Sent);
            }
            Err(error) => {
                failures += 1;
                let expired =
                    matches!(&error, Error::Status { status, .. } if *status == StatusCode::NOT_FOUND);
                if expired && failures < retry::ATTEMPTS {
                    location = begun(session).await?;
                    continue;
                }
                let pause = retry::pause(error, failures)?;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

enum Begun {
    Mounted,
    Upload(Url),
}

async fn begun(session: &Session) -> Result<Url> {
    match retry::retry(|| begin(session, None)).await? {
        Begun::Upload(url) => Ok(url),
        Begun::Mounted => {
            Err(Error::Protocol { url: String::new(), what: "mounted without asking".to_owned() })
        }
    }
}

async fn begin(session: &Session, mount: Option<(&Descriptor, &String)>) -> Result<Begun> {
    let mut url = session.url("blobs/uploads/")?;
    let mut scope = None;
    if let Some((blob, from)) = mount {
        url.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", from);
        scope = Some(format!("repository:{from}:pull"));
    }
    let request = |http: &reqwest::Client| http.post(url.clone()).header(CONTENT_LENGTH, 0);
    let response = session.send(scope.as_deref(), request).await?;
    match response.status() {
        StatusCode::CREATED if mount.is_some() => Ok(Begun::Mounted),
        StatusCode::ACCEPTED => session.location(&response).map(Begun::Upload),
        _ => Err(transport::failure(Method::POST, response).await),
    }
}

async fn send(
    session: &Session,
    location: &Url,
    blob: &Descriptor,
    file: &Arc<File>,
    progress: Progress<'_>,
) -> Result<()> {
    let mut location = location.clone();
    let mut body_of_put = Bytes::new();
    if blob.size <= MONOLITHIC_MAX {
        let (file, length) = (Arc::clone(file), blob.size as usize);
        body_of_put = blocking(move || read(&file, 0, length)).await?;
    } else {
        let (offset, at) = received(session, &location).await?;
        location = at;
        if offset < blob.size {
            let response = patch(session, &location, blob, file, offset, progress).await?;
            if !matches!(
                response.status(),
                StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED
            ) {
                return Err(transport::failure(Method::PATCH, response).await);
            }
            location = session.location(&response)?;
        }
    }
    location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
    let request = |http: &reqwest::Client| {
        let request = http.put(location.clone()).header(CONTENT_TYPE, "application/octet-stream");
        request.body(body_of_put.clone())
    };
    let response = session.send(None, request).await?;
    match response.status() {
        StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::ACCEPTED => Ok(()),
        _ => Err(transport::failure(Method::PUT, response).await),
    }
}

/// How much of the blob the registry has, and where the upload goes on.
async fn received(session: &Session, location: &Url) -> Result<(u64, Url)> {
    let response = session.send(None, |http| http.get(location.clone())).await?;
    if response.status() != StatusCode::NO_CONTENT {
        // A registry that keeps no account of it: from the beginning.
        return match response.status() {
            StatusCode::NOT_FOUND => Err(transport::failure(Method::GET, response).await),
            _ => Ok((0, location.clone())),
        };
    }
    let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let last = range.and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
    let next = session.location(&response).unwrap_or_else(|_| location.clone());
    // `0-0` means nothing, and also one byte; one byte can be sent again by nobody, so nothing it is.
    Ok((last.filter(|last| *last > 0).map_or(0, |last| last + 1), next))
}

async fn patch(
    session: &Session,
    location: &Url,
    blob: &Descriptor,
    file: &Arc<File>,
    offset: u64,
    progress: Progress<'_>,
) -> Result<Response> {
    let sent = Arc::new(AtomicU64::new(offset));
    let request = |http: &reqwest::Client| {
        let stream = pieces(Arc::clone(file), offset, blob.size, Arc::clone(&sent));
        let request = http.patch(location.clone()).header(CONTENT_TYPE, "application/octet-stream");
        let request = request.header(CONTENT_LENGTH, blob.size - offset);
        let request = if offset > 0 {
            request.header(CONTENT_RANGE, format!("{offset}-{}", blob.size - 1))
        } else {
            request
        };
        request.body(Body::wrap_stream(stream))
    };
    let sending = session.send(None, request);
    tokio::pin!(sending);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            response = &mut sending => return response,
            _ = tick.tick() => progress(sent.load(Ordering::Relaxed), blob.size),
        }
    }
}

/// The rest of a file, read on blocking threads.
fn pieces(
    file: Arc<File>,
    offset: u64,
    end: u64,
    sent: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    futures_util::stream::try_unfold(offset, move |at| {
        let (file, sent) = (Arc::clone(&file), Arc::clone(&sent));
        async move {
            sent.store(at, Ordering::Relaxed);
            if at >= end {
                return Ok(None);
            }
            let length = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
            let bytes = blocking(move || read(&file, at, length)).await?;
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    })
}

fn read(file: &File, offset: u64, length: usize) -> Result<Bytes> {
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, offset).map_err(Error::Read)?;
    Ok(buffer.into())
}
