//! A frame whose descriptors ride on its first byte.
//!
//! Standard: unix(7), SCM_RIGHTS. Invariant: descriptors are close-on-exec from the moment they arrive.
use crate::error::{Error, Result};
use knarr_linux::fdpass;
use knarr_shim_proto::frame;
use serde::de::DeserializeOwned;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Receives one frame; `None` at end-of-file.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut header = [0; frame::HEADER];
    if !fill(socket, &mut header, &mut fds)? {
        return Ok(None);
    }
    let mut json = vec![0; frame::length(header)?];
    if !fill(socket, &mut json, &mut fds)? {
        return Ok(None);
    }
    Ok(Some((frame::decode(&json)?, fds)))
}

/// Fills the buffer, or says that the stream ended before.
fn fill(socket: BorrowedFd<'_>, mut buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<bool> {
    while !buffer.is_empty() {
        let (count, passed) = fdpass::receive(socket, buffer).map_err(Error::system("receive request"))?;
        fds.extend(passed);
        if count == 0 {
            return Ok(false);
        }
        buffer = &mut buffer[count..];
    }
    Ok(true)
}
