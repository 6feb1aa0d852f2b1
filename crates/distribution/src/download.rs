//! Blobs from a registry into the content store.
//!
//! Invariants: hashing and writing happen on a blocking thread behind a bounded queue, so neither the network nor the
//! runtime waits for the disk; an interrupted transfer goes on where it was, now or in a later pull; a blob has its name
//! only after its size and digest were right. What was there before is believed no more than what arrives: when the digest
//! of the whole is wrong, the whole is fetched once more.
use crate::error::{Error, Result};
use crate::repository::each;
use crate::repository::{Repository, Session};
use crate::transport;
use crate::{Progress, ranges, retry};
use http::{Method, StatusCode};
use knarr_content::{Content, Ingest, Lease, Verified};
use knarr_oci::digest::Digest;
use knarr_oci::image::Descriptor;
use std::sync::Arc;

impl Repository {
    /// Gets a blob into the store, unless it is there. `lease` holds it from now on.
    pub async fn fetch_blob(
        &self,
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
        let Some(ingest) = begun else {
            progress(blob.size, blob.size);
            return Ok(());
        };
        let verified = self.fetch_into(blob, ingest, progress).await?;
        let (content, lease) = (content.clone(), Arc::clone(lease));
        blocking(move || {
            verified.sync()?;
            Ok(content.publish(&lease, vec![verified])?)
        })
        .await
    }

    /// Gets the rest of a blob whose ingest has begun. The blob is verified then, and neither durable nor named.
    pub async fn fetch_into(
        &self,
        blob: &Descriptor,
        ingest: Ingest,
        progress: Progress<'_>,
    ) -> Result<Verified> {
        let mut held = Some(ingest);
        each!(self, session => fetch(session, blob, &mut held, progress))
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

/// Fetches until all is there and right. The ingest stays in `held` when another endpoint can go on with it.
async fn fetch(
    session: &Session,
    blob: &Descriptor,
    held: &mut Option<Ingest>,
    progress: Progress<'_>,
) -> Result<Verified> {
    let mut resumed = held.as_ref().is_some_and(|ingest| ingest.received() > 0);
    loop {
        complete(session, blob, held, progress).await?;
        let mut ingest = held.take().ok_or(Error::Cancelled)?;
        match blocking(move || Ok((ingest.check(), ingest))).await? {
            (Ok(_), ingest) => {
                progress(blob.size, blob.size);
                return Ok(ingest.verify()?);
            }
            (Err(error), mut ingest) => {
                ingest.restart()?;
                *held = Some(ingest);
                if !std::mem::take(&mut resumed) {
                    return Err(error.into());
                }
                tracing::warn!(digest = %blob.digest, "what an earlier transfer left was wrong: fetched again");
            }
        }
    }
}

/// Fetches until as many bytes are there as there should be.
async fn complete(
    session: &Session,
    blob: &Descriptor,
    held: &mut Option<Ingest>,
    progress: Progress<'_>,
) -> Result<()> {
    let mut failures = 0;
    let mut asked = false;
    loop {
        let ingest = held.as_ref().ok_or(Error::Cancelled)?;
        let (offset, before) = (ingest.offset(), ingest.received());
        if offset >= blob.size && (asked || blob.size > 0) {
            return Ok(());
        }
        asked = true;
        progress(before, blob.size);
        let taken = held.take().ok_or(Error::Cancelled)?;
        let (back, result) = ranges::transfer(session, blob, taken, progress).await?;
        let (offset, received) = (back.offset(), back.received());
        *held = Some(back);
        match result {
            _ if offset >= blob.size => return Ok(()),
            Ok(()) => {
                // The server said that this is all of it.
                let (name, expected, found) = (blob.digest.to_string(), blob.size, offset);
                return Err(knarr_content::Error::SizeMismatch { name, expected, found }.into());
            }
            Err(error) => {
                failures = if received > before { 1 } else { failures + 1 };
                let text = error.to_string();
                let pause = retry::pause(error, failures)?;
                tracing::debug!(digest = %blob.digest, offset, error = text, "transfer will go on");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}
