//! A frame whose descriptors ride on its first byte.
//!
//! Standard: unix(7), SCM_RIGHTS. Invariant: descriptors are close-on-exec from the moment they arrive.
use crate::error::{Error, Result};
use knarr_shim_proto::frame;
use knarr_shim_proto::spawn::MAX_FDS;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::de::DeserializeOwned;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let bytes = match received {
            Ok(message) => message.bytes,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::system("receive request")(errno)),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                fds.extend(passed);
            }
        }
        if bytes == 0 {
            return Ok(false);
        }
        buffer = &mut buffer[bytes..];
    }
    Ok(true)
}
