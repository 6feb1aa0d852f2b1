//! Streams between a face and the engine: bodies in, bytes out, attached terminals, waits.
use crate::error::{Error, Result};
use bytes::Bytes;
use knarr_docker_types::container::WaitResponse;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// Items that a stream holds before its producer waits.
pub const STREAM_DEPTH: usize = 16;

/// A request's body: an image to load, an archive to extract.
pub type Body = Pin<Box<dyn AsyncRead + Send>>;

/// Bytes of a reply. An error item is the last one.
pub type ByteStream = mpsc::Receiver<Result<Bytes>>;

/// A client's part in a container's or command's streams. The face answers the request, takes its connection over and
/// calls [`AttachSession::serve`] with it.
pub struct AttachSession {
    multiplexed: bool,
}

impl AttachSession {
    /// Whether the output is in Docker's frames (no terminal); decides the reply's content type.
    pub fn multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Copies in both directions until the streams end, the client is gone, or it typed the detach keys.
    pub async fn serve<C: AsyncRead + AsyncWrite + Unpin + Send>(self, _client: C) -> Result<()> {
        Err(Error::NotImplemented("attach".to_owned()))
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
