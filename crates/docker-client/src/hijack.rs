//! A connection that became a stream of bytes both ways (attach, exec), with half-close.
use crate::error::Error;
use crate::response::Response;
use crate::stream::Stream;
use bytes::{Buf, Bytes};
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

/// Media type of a stream whose frames name stdout or stderr.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

pub struct Hijacked {
    /// What the engine's media type says; only engines of API 1.42 and later say it rightly.
    pub multiplexed: Option<bool>,
    reader: HijackReader,
    writer: HijackWriter,
}

/// What the engine sends.
pub struct HijackReader {
    early: Bytes,
    half: ReadHalf<Stream>,
}

/// What the engine receives.
pub struct HijackWriter {
    half: WriteHalf<Stream>,
}

impl Hijacked {
    pub(crate) async fn new(response: Response) -> Result<Self, Error> {
        let kind = response.headers().get(http::header::CONTENT_TYPE);
        let multiplexed = kind.and_then(|v| v.to_str().ok()).map(|kind| kind.starts_with(MULTIPLEXED));
        let upgraded = upgrade::on(response.into_inner()).await?;
        let parts = upgraded
            .downcast::<TokioIo<Stream>>()
            .map_err(|_| Error::Protocol("connection of an unknown kind".into()))?;
        let (read, write) = tokio::io::split(parts.io.into_inner());
        Ok(Self {
            multiplexed,
            reader: HijackReader { early: parts.read_buf, half: read },
            writer: HijackWriter { half: write },
        })
    }

    pub fn into_parts(self) -> (HijackReader, HijackWriter) {
        (self.reader, self.writer)
    }
}

impl AsyncRead for HijackReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.half).poll_read(cx, buf);
        }
        let len = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..len]);
        self.early.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl HijackWriter {
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.half.write_all(data).await?;
        self.half.flush().await
    }
    /// Tells the engine that nothing more comes; reading goes on.
    pub async fn close(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
