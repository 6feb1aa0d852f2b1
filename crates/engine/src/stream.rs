//! Streams between a face and the engine: bodies in, bytes out, attached terminals, waits.
use crate::detach::Scanner;
use crate::error::{Error, Result};
use crate::frames::Frames;
use bytes::Bytes;
use knarr_docker_types::container::WaitResponse;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Items that a stream holds before its producer waits.
pub const STREAM_DEPTH: usize = 16;
/// Bytes copied at a time.
const COPY_BYTES: usize = 32 << 10;

/// How long a client is waited for that has been told the end, and for how long it must be quiet.
const LINGER: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

/// A request's body: an image to load, an archive to extract.
pub type Body = Pin<Box<dyn AsyncRead + Send>>;

/// Bytes of a reply. An error item is the last one.
pub type ByteStream = mpsc::Receiver<Result<Bytes>>;

/// A client's part in a container's or command's streams. The face answers the request, takes its connection over and
/// calls [`AttachSession::serve`] with it.
pub struct AttachSession {
    pub(crate) multiplexed: bool,
    /// What makes it so.
    pub(crate) frames: Frames,
    pub(crate) source: Source,
    pub(crate) stdin: bool,
    /// What a terminal's user types to leave; empty: nothing.
    pub(crate) detach_keys: Vec<u8>,
    /// What was logged before, for `logs=1`.
    pub(crate) history: Option<ByteStream>,
    /// Told when the user detached.
    pub(crate) on_detach: Option<Box<dyn FnOnce() + Send>>,
    /// Awaited before the client sees the end.
    pub(crate) before_end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

pub(crate) enum Source {
    Ready(UnixStream),
    /// Of a container that does not run yet.
    Later(oneshot::Receiver<UnixStream>),
    /// Only history.
    None,
}

/// Why the copying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Streams,
    Detached,
}

impl AttachSession {
    /// Whether the output is in Docker's frames (no terminal); decides the reply's content type.
    pub fn multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Copies in both directions until the streams end, the client is gone, or it typed the detach keys.
    pub async fn serve<C: AsyncRead + AsyncWrite + Unpin + Send>(self, mut client: C) -> Result<Ended> {
        let Self { source, stdin, detach_keys, history, on_detach, before_end, frames, .. } = self;
        if let Some(mut history) = history {
            while let Some(bytes) = history.recv().await {
                client.write_all(&bytes?).await.map_err(Error::io("write to the client"))?;
            }
        }
        let stream = match source {
            Source::Ready(stream) => Some(stream),
            // The sender is dropped when the container does not start: then there is nothing to see.
            Source::Later(stream) => stream.await.ok(),
            Source::None => None,
        };
        let Some(stream) = stream else {
            let _ = client.shutdown().await;
            unsent(&mut client).await;
            return Ok(Ended::Streams);
        };
        let ended = copy(&mut client, stream, stdin, detach_keys, frames).await;
        if matches!(ended, Ok(Ended::Streams))
            && let Some(before_end) = before_end
        {
            before_end.await;
        }
        let _ = client.shutdown().await;
        if matches!(ended, Ok(Ended::Detached))
            && let Some(on_detach) = on_detach
        {
            on_detach();
        }
        unsent(&mut client).await;
        ended
    }
}

/// Takes what the client still sends, until it has seen the end: a connection that is closed with unread input is reset,
/// and who reads from it gets an error instead of the rest of the output.
async fn unsent<C: AsyncRead + Unpin>(client: &mut C) {
    let mut buffer = vec![0; COPY_BYTES];
    let taken = async {
        // who is quiet has nothing under way
        while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, client.read(&mut buffer)).await {}
    };
    let _ = tokio::time::timeout(LINGER, taken).await;
}

async fn copy<C: AsyncRead + AsyncWrite + Unpin + Send>(
    client: &mut C,
    stream: UnixStream,
    stdin: bool,
    detach_keys: Vec<u8>,
    mut frames: Frames,
) -> Result<Ended> {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut output, mut input) = stream.into_split();
    let inward = async {
        if !stdin {
            return std::future::pending().await;
        }
        let mut scanner = Scanner::new(detach_keys);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let read = client_read.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                // Half-close: the program sees the end of its input and goes on.
                let _ = input.write_all(&scanner.rest()).await;
                let _ = input.shutdown().await;
                return std::future::pending().await;
            }
            let scanned = scanner.scan(&buffer[..read]);
            if input.write_all(&scanned.pass).await.is_err() {
                return std::future::pending().await;
            }
            if scanned.detached {
                return Ended::Detached;
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let read = match output.read(&mut buffer).await {
                Ok(0) => return Ok(Ended::Streams),
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(Ended::Streams),
                Err(e) => return Err(Error::io("read from the container")(e)),
            };
            let framed = frames.pass(&buffer[..read]);
            let bytes = framed.as_deref().unwrap_or(&buffer[..read]);
            if client_write.write_all(bytes).await.is_err() || client_write.flush().await.is_err() {
                // The client is gone.
                return Ok(Ended::Streams);
            }
        }
    };
    tokio::select! {
        ended = inward => Ok(ended),
        ended = outward => ended,
    }
}

/// A wait that is registered: nothing that happens from now on is missed.
pub struct Wait(pub(crate) oneshot::Receiver<WaitResponse>);

impl Wait {
    /// How it ended.
    pub async fn outcome(self) -> Result<WaitResponse> {
        self.0.await.map_err(|_| Error::Unavailable("the engine is shutting down".to_owned()))
    }
}
