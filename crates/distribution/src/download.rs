//! Blobs from a registry into the content store.
//!
//! Invariants: hashing and writing happen on a blocking thread behind a bounded queue, so neither the network nor the
//! runtime waits for the disk; an interrupted transfer goes on where it was, now or in a later pull; a blob has its name
//! only after its size and digest were right.
use crate::error::{Error, Result};
use crate::repository::each;
use crate::repository::{Repository, Session};
use crate::transport::{self, without_secrets};
use crate::{Progress, retry};
use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{Method, StatusCode};
use knarr_content::{Content, Ingest, Lease};
use knarr_oci::digest::Digest;
use knarr_oci::image::Descriptor;
use reqwest::Response;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces (of up to about 64 KiB each) that wait to be written.
const QUEUE: usize = 64;

impl Repository {
    /// Gets a blob into the store, unless it is there. `lease` holds it from now on.
    pub async fn fetch_blob(
        &self,
        blob: &Descriptor,
        content: &Content,
        lease: &Arc<Lease>,
        progress: Progress<'_>,
    ) -> Result<()> {
        each!(self, session => fetch(session, blob, content, lease, progress))
    }

    /// The size of a blob, if the repository has it.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        each!(self, session => retry::retry(|| size(session, digest)))
    }
}

pub(crate) async fn size(session: &Session, digest: &Digest) -> Result<Option<u64>> {
    let url = session.url(&format!("blobs/{digest}"))?;
    let response = session.send(None, |http| http.head(url.clone())).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => {
            let length = response.headers().get(http::header::CONTENT_LENGTH);
            Ok(length.and_then(|value| value.to_str().ok()?.parse().ok()).or(Some(0)))
        }
        _ => Err(transport::failure(Method::HEAD, response).await),
    }
}

async fn fetch(
    session: &Session,
    blob: &Descriptor,
    content: &Content,
    lease: &Arc<Lease>,
    progress: Progress<'_>,
) -> Result<()> {
    let begun = {
        let (content, lease, digest, size) =
            (content.clone(), Arc::clone(lease), blob.digest.clone(), blob.size);
        blocking(move || Ok(content.begin_or_wait(&lease, &digest, Some(size))?)).await?
    };
    let Some(mut ingest) = begun else {
        progress(blob.size, blob.size);
        return Ok(());
    };
    let mut failures = 0;
    while ingest.offset() < blob.size || (blob.size == 0 && failures == 0) {
        let before = ingest.offset();
        progress(before, blob.size);
        let (back, result) = transfer(session, blob, ingest, progress).await?;
        ingest = back;
        match result {
            Ok(()) if ingest.offset() >= blob.size => break,
            Ok(()) => {
                // The server said that this is all of it.
                let (name, expected, found) = (blob.digest.to_string(), blob.size, ingest.offset());
                return Err(knarr_content::Error::SizeMismatch { name, expected, found }.into());
            }
            Err(error) => {
                failures = if ingest.offset() > before { 1 } else { failures + 1 };
                let text = error.to_string();
                let pause = retry::pause(error, failures)?;
                tracing::debug!(digest = %blob.digest, offset = ingest.offset(), error = text, "transfer will go on");
                tokio::time::sleep(pause).await;
            }
        }
    }
    let lease = Arc::clone(lease);
    blocking(move || Ok(ingest.commit(&lease)?)).await?;
    progress(blob.size, blob.size);
    Ok(())
}

/// One request from where the ingest is. The ingest comes back with whatever arrived; the outer error is the disk's.
async fn transfer(
    session: &Session,
    blob: &Descriptor,
    mut ingest: Ingest,
    progress: Progress<'_>,
) -> Result<(Ingest, Result<()>)> {
    let response = match request(session, blob, ingest.offset()).await {
        Ok(response) => response,
        Err(error) => return Ok((ingest, Err(error))),
    };
    if ingest.offset() > 0 && starts_at(&response) != Some(ingest.offset()) {
        // The server begins at the beginning.
        ingest.restart()?;
    }
    let start = ingest.offset();
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || write(ingest, receiver));
    let received = receive(response, sender, start, blob.size, progress).await;
    let ingest = writer.await.map_err(|_| Error::Cancelled)??;
    Ok((ingest, received))
}

async fn request(session: &Session, blob: &Descriptor, offset: u64) -> Result<Response> {
    let url = session.url(&format!("blobs/{}", blob.digest))?;
    let request = |http: &reqwest::Client| {
        let request = http.get(url.clone());
        if offset > 0 { request.header(RANGE, format!("bytes={offset}-")) } else { request }
    };
    let response = session.send(None, request).await?;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
            // What is there is not the beginning of this blob for the server: begin again.
            let whole = session.send(None, |http| http.get(url.clone())).await?;
            if whole.status() == StatusCode::OK {
                Ok(whole)
            } else {
                Err(transport::failure(Method::GET, whole).await)
            }
        }
        _ => Err(transport::failure(Method::GET, response).await),
    }
}

/// Where a partial answer begins.
fn starts_at(response: &Response) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

async fn receive(
    mut response: Response,
    sender: mpsc::Sender<Bytes>,
    start: u64,
    total: u64,
    progress: Progress<'_>,
) -> Result<()> {
    let url = without_secrets(response.url());
    let mut done = start;
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| transport::transport_error(Method::GET, url.clone(), &error))?;
        let Some(chunk) = chunk else { return Ok(()) };
        done += chunk.len() as u64;
        if sender.send(chunk).await.is_err() {
            // The writer has failed; its error is the one that counts.
            return Ok(());
        }
        progress(done.min(total), total);
    }
}

fn write(mut ingest: Ingest, mut receiver: mpsc::Receiver<Bytes>) -> Result<Ingest> {
    while let Some(chunk) = receiver.blocking_recv() {
        ingest.append(&chunk)?;
    }
    Ok(ingest)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}
