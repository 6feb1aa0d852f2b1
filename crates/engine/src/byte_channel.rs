//! A writer for threads that block, whose bytes come out of an async stream.
use crate::error::Result;
use crate::stream::{ByteStream, STREAM_DEPTH};
use bytes::Bytes;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Bytes gathered before they are handed on.
const CHUNK_BYTES: usize = 64 << 10;

pub(crate) struct ByteSender {
    sender: mpsc::Sender<Result<Bytes>>,
    bytes: Vec<u8>,
}

pub(crate) fn channel() -> (ByteSender, ByteStream) {
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    (ByteSender { sender, bytes: Vec::new() }, receiver)
}

impl ByteSender {
    /// The last item: an error, unless the client is gone and nobody would see it.
    pub fn fail(self, error: crate::error::Error) {
        let _ = self.sender.blocking_send(Err(error));
    }
}

impl Write for ByteSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(Bytes::from(bytes))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
