//! Frames on an async stream.
//!
//! Invariant: reads exactly one frame, never a byte more, since a stream may follow.
use super::error::{Error, Result};
use knarr_shim_proto::frame;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The next message.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T> {
    let mut header = [0; frame::HEADER];
    from.read_exact(&mut header).await.map_err(gone_or("read message"))?;
    let mut json = vec![0; frame::length(header)?];
    from.read_exact(&mut json).await.map_err(gone_or("read message"))?;
    Ok(frame::decode(&json)?)
}

pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<()> {
    let bytes = frame::encode(message)?;
    to.write_all(&bytes).await.map_err(gone_or("send message"))
}

fn gone_or(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            Error::Gone
        }
        _ => Error::Io { action, source },
    }
}
