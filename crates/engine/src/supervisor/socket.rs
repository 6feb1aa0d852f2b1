//! Connecting to `shim.sock`, however long its path is.
use super::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A busy supervisor's queue may be full for a moment.
const RETRIES: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// A new connection to the supervisor of a run directory.
pub async fn connect(dir: &Path) -> Result<UnixStream> {
    let fail = |source| Error::Connect { path: dir.join(knarr_shim_proto::file::SOCKET), source };
    // A socket's path may have 107 bytes; through the directory's descriptor it is always short.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
    let path = format!("/proc/self/fd/{}/{}", opened.as_raw_fd(), knarr_shim_proto::file::SOCKET);
    let mut tries = 0;
    loop {
        match UnixStream::connect(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && tries < RETRIES => {
                tries += 1;
                tokio::time::sleep(RETRY_AFTER).await;
            }
            result => return result.map_err(fail),
        }
    }
}
