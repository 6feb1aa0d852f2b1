//! Blobs from the content store to a registry.
//!
//! A blob that the repository has is not sent; one that another repository of the same registry has is mounted from
//! there. What is sent goes as [`Plan`] says, and goes on where it was after an interruption.
use crate::download::{blocking, size};
use crate::error::{Error, Result};
use crate::repository::each;
use crate::repository::{Repository, Session};
use crate::upload_plan::{Answer, Plan, Step};
use crate::{Progress, retry, transport};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, Method, StatusCode};
use knarr_content::Content;
use knarr_oci::image::Descriptor;
use reqwest::{Body, RequestBuilder, Url};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
const OCTETS: &str = "application/octet-stream";
const LEAST_PIECE: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// Changes of the plan for one blob.
const MAX_CHANGES: u32 = 16;

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

    /// Makes sure that the repository has a blob that is not here: from another repository of the same registry. False
    /// when the registry does not do that.
    pub async fn mount_blob(&self, blob: &Descriptor, from: &str) -> Result<bool> {
        each!(self, session => mount(session, blob, from))
    }
}

async fn mount(session: &Session, blob: &Descriptor, from: &str) -> Result<bool> {
    if retry::retry(|| size(session, &blob.digest)).await?.is_some() {
        return Ok(true);
    }
    match retry::retry(|| begin(session, Some((blob, from)))).await? {
        Begun::Mounted => Ok(true),
        Begun::Upload(upload) => {
            // Nothing will be sent; a registry that keeps the upload nevertheless ends it some day.
            let _ = session.send(None, |http| http.delete(upload.location.clone())).await;
            Ok(false)
        }
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
    let mut upload = None;
    for from in mount_from {
        match retry::retry(|| begin(session, Some((blob, from)))).await {
            Ok(Begun::Mounted) => {
                progress(blob.size, blob.size);
                return Ok(Uploaded::Mounted(from.clone()));
            }
            Ok(Begun::Upload(begun)) => {
                upload = Some(begun);
                break;
            }
            // Not allowed to read there: send it.
            Err(error) => tracing::debug!(from, error = error.to_string(), "mount refused"),
        }
    }
    let mut upload = match upload {
        Some(upload) => upload,
        None => begun(session).await?,
    };
    let sent = Arc::new(AtomicU64::new(0));
    let sending = send(session, &mut upload, blob, &file, &sent);
    tokio::pin!(sending);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            done = &mut sending => {
                done?;
                progress(blob.size, blob.size);
                return Ok(Uploaded::Sent);
            }
            _ = tick.tick() => progress(sent.load(Ordering::Relaxed), blob.size),
        }
    }
}

enum Begun {
    Mounted,
    Upload(Upload),
}

/// An upload that the registry keeps account of.
struct Upload {
    location: Url,
    /// Bytes that are there.
    received: u64,
    /// The least size of a piece that it takes.
    least: u64,
}

async fn begun(session: &Session) -> Result<Upload> {
    match retry::retry(|| begin(session, None)).await? {
        Begun::Upload(upload) => Ok(upload),
        Begun::Mounted => {
            Err(Error::Protocol { url: String::new(), what: "mounted without asking".to_owned() })
        }
    }
}

async fn begin(session: &Session, mount: Option<(&Descriptor, &str)>) -> Result<Begun> {
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
        StatusCode::ACCEPTED => {
            let least = response.headers().get(LEAST_PIECE);
            let least = least.and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
            let location = session.location(&response)?;
            Ok(Begun::Upload(Upload { location, received: 0, least }))
        }
        _ => Err(transport::failure(Method::POST, response).await),
    }
}

/// Carries out the plan until the blob is there.
async fn send(
    session: &Session,
    upload: &mut Upload,
    blob: &Descriptor,
    file: &Arc<File>,
    sent: &Arc<AtomicU64>,
) -> Result<()> {
    let mut plan = Plan::new(blob.size);
    let (mut failures, mut changes, mut most) = (0, 0, 0);
    loop {
        plan.set_least(upload.least);
        let step = plan.next(upload.received);
        let error = match perform(session, upload, step, blob, file, sent).await {
            Ok(()) if matches!(step, Step::Piece { .. }) => continue,
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let mut answer = match &error {
            Error::Status { status, .. } => plan.refused(step, *status),
            _ => Answer::Fail,
        };
        if answer == Answer::Fail {
            if upload.received > most {
                (most, failures) = (upload.received, 0);
            }
            failures += 1;
            let text = error.to_string();
            let pause = retry::pause(error, failures)?;
            tracing::debug!(digest = %blob.digest, offset = upload.received, error = text, "upload will go on");
            tokio::time::sleep(pause).await;
            answer = Answer::Ask;
        } else if changes >= MAX_CHANGES {
            return Err(error);
        } else {
            changes += 1;
        }
        // The end may have come through though its answer did not.
        if step == Step::Finish || step == Step::Whole {
            if retry::retry(|| size(session, &blob.digest)).await?.is_some() {
                return Ok(());
            }
            if step == Step::Whole {
                answer = Answer::Anew;
            }
        }
        if answer == Answer::Anew || !ask(session, upload).await? {
            *upload = begun(session).await?;
        }
    }
}

/// Asks how much of the blob the registry has, and where the upload goes on. False where that is not known.
async fn ask(session: &Session, upload: &mut Upload) -> Result<bool> {
    let response = retry::retry(|| session.send(None, |http| http.get(upload.location.clone()))).await?;
    if response.status() != StatusCode::NO_CONTENT {
        return Ok(false);
    }
    // `0-0` means nothing, and also one byte; one byte can be sent again by nobody, so nothing it is.
    upload.received = last_of(response.headers()).filter(|last| *last > 0).map_or(0, |last| last + 1);
    if let Ok(location) = session.location(&response) {
        upload.location = location;
    }
    Ok(true)
}

fn last_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(RANGE)?.to_str().ok()?.rsplit_once('-')?.1.trim().parse().ok()
}

/// One request.
async fn perform(
    session: &Session,
    upload: &mut Upload,
    step: Step,
    blob: &Descriptor,
    file: &Arc<File>,
    sent: &Arc<AtomicU64>,
) -> Result<()> {
    let response = match step {
        Step::Piece { from, to } => {
            let location = upload.location.clone();
            let request = |http: &reqwest::Client| {
                let request = http.patch(location.clone());
                // From the beginning to the end it is a stream; anything else says where it belongs.
                let request = if from > 0 || to < blob.size {
                    request.header(CONTENT_RANGE, format!("{from}-{}", to - 1))
                } else {
                    request
                };
                body(request, file, from, to, sent)
            };
            session.send(None, request).await?
        }
        Step::Whole | Step::Finish => {
            let mut location = upload.location.clone();
            location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
            let to = if step == Step::Whole { blob.size } else { 0 };
            session.send(None, |http| body(http.put(location.clone()), file, 0, to, sent)).await?
        }
    };
    let done =
        matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED);
    let Step::Piece { to, .. } = step else {
        return if done { Ok(()) } else { Err(transport::failure(Method::PUT, response).await) };
    };
    if !done {
        return Err(transport::failure(Method::PATCH, response).await);
    }
    upload.location = session.location(&response)?;
    // A server may have taken less than it was given.
    let received = last_of(response.headers()).map_or(to, |last| last + 1);
    if received > to || received <= upload.received {
        let what = format!("the registry has {received} bytes of {to}");
        return Err(Error::Protocol { url: transport::without_secrets(response.url()), what });
    }
    upload.received = received;
    Ok(())
}

/// With a part of the file as the body. Each attempt reads it anew.
fn body(
    request: RequestBuilder,
    file: &Arc<File>,
    from: u64,
    to: u64,
    sent: &Arc<AtomicU64>,
) -> RequestBuilder {
    let request = request.header(CONTENT_TYPE, OCTETS).header(CONTENT_LENGTH, to - from);
    if from == to {
        return request.body(Bytes::new());
    }
    request.body(Body::wrap_stream(pieces(Arc::clone(file), from, to, Arc::clone(sent))))
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
