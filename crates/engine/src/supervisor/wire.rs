//! Frames on an async stream.
//!
//! Invariant: reads exactly one frame, never a byte more, since a stream may follow.
use super::error::{Error, Result};
use knarr_shim_proto::{Answer, FromShim, Reply, frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// The next message.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T> {
    let mut header = [0; frame::HEADER];
    from.read_exact(&mut header).await.map_err(gone_or("read message"))?;
    let mut json = vec![0; frame::length(header)?];
    from.read_exact(&mut json).await.map_err(gone_or("read message"))?;
    Ok(frame::decode(&json)?)
}

/// The answer to the only request of a connection.
pub async fn answer(stream: &mut UnixStream) -> Result<Answer> {
    loop {
        match read(stream).await? {
            FromShim::Event(_) => {}
            FromShim::Reply(Reply { result, .. }) => return Ok(result?),
        }
    }
}

pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<()> {
    let bytes = frame::encode(message)?;
    to.write_all(&bytes).await.map_err(gone_or("send message"))
}

/// The next message, with the descriptors on its first byte.
pub async fn read_with_fds<T: DeserializeOwned>(from: &mut UnixStream) -> Result<(T, Vec<OwnedFd>)> {
    let mut header = [0; frame::HEADER];
    let receive = || Ok(knarr_linux::fdpass::receive_now(&*from, &mut header[..1])?);
    let (count, fds) = from.async_io(Interest::READABLE, receive).await.map_err(gone_or("read message"))?;
    if count == 0 {
        return Err(Error::Gone);
    }
    from.read_exact(&mut header[1..]).await.map_err(gone_or("read message"))?;
    let mut json = vec![0; frame::length(header)?];
    from.read_exact(&mut json).await.map_err(gone_or("read message"))?;
    Ok((frame::decode(&json)?, fds))
}

fn gone_or(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            Error::Gone
        }
        _ => Error::Io { action, source },
    }
}

/// Sends the first bytes with descriptors on them; says how many were sent.
pub async fn send_with_fds(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::mem::MaybeUninit;
    const SPACE: usize = rustix::cmsg_space!(ScmRights(knarr_shim_proto::spawn::MAX_FDS));
    socket
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, flags)?)
        })
        .await
}
