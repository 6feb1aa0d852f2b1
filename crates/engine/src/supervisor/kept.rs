//! Descriptors that a supervisor keeps open while no engine runs.
//!
//! Invariant: each call has a connection of its own, so what comes on it is the answer, or news; the descriptors ride on the answer's first byte.
use super::error::{Error, Result};
use super::handle::within;
use super::{socket, wire};
use knarr_shim_proto::{Answer, Call, FromShim, Reply, Request, frame};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Has them kept by the supervisor of a run directory, in place of those before.
pub async fn put(dir: &Path, fds: &[BorrowedFd<'_>]) -> Result<()> {
    within(ANSWER_TIMEOUT, async {
        let mut stream = socket::connect(dir).await?;
        let bytes = frame::encode(&Request { number: 1, call: Call::Keep })?;
        let sent = wire::send_with_fds(&stream, &bytes, fds).await.map_err(Error::io("send request"))?;
        stream.write_all(&bytes[sent..]).await.map_err(Error::io("send request"))?;
        match wire::answer(&mut stream).await? {
            Answer::Done => Ok(()),
            _ => Err(Error::Unexpected),
        }
    })
    .await
}

/// Copies of those that are kept.
pub async fn get(dir: &Path) -> Result<Vec<OwnedFd>> {
    within(ANSWER_TIMEOUT, async {
        let mut stream = socket::connect(dir).await?;
        wire::write(&mut stream, &Request { number: 1, call: Call::Kept }).await?;
        loop {
            let (reply, fds): (FromShim, _) = wire::read_with_fds(&mut stream).await?;
            match reply {
                // What happens to the container meanwhile is told on every connection.
                FromShim::Event(_) => {}
                FromShim::Reply(Reply { result, .. }) => {
                    return match result? {
                        Answer::Kept { count } if count == fds.len() => Ok(fds),
                        _ => Err(Error::Unexpected),
                    };
                }
            }
        }
    })
    .await
}
