//! What a supervisor leaves in a container's run directory, for an engine that was away.
//!
//! Invariant: a supervisor is alive if and only if the process of its number has its start time; numbers alone are reused.
use super::error::{Error, Result};
use knarr_shim_proto::exit::start_time_of_stat;
use knarr_shim_proto::{ExitRecord, ShimRecord, file};
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;

/// Largest record that is read.
const RECORD_MAX: u64 = 1 << 20;

/// How the container ended, if its supervisor said so.
pub async fn exit(dir: &Path) -> Result<Option<ExitRecord>> {
    read(dir, file::EXIT).await
}

/// Which processes belong to the container.
pub async fn shim(dir: &Path) -> Result<Option<ShimRecord>> {
    read(dir, file::SHIM).await
}

/// Whether the supervisor of a record still runs.
pub async fn is_shim_alive(record: &ShimRecord) -> bool {
    is_alive(record.shim_pid, record.shim_start_time).await
}

/// Whether the container's init of a record still runs.
pub async fn is_init_alive(record: &ShimRecord) -> bool {
    is_alive(record.pid, record.pid_start_time).await
}

/// Ends the supervisor of a record. Whether it was there.
pub async fn kill_shim(record: &ShimRecord) -> bool {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(pid) = Pid::from_raw(record.shim_pid) else { return false };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // Only now: the descriptor keeps the number's meaning.
    is_shim_alive(record).await && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

async fn is_alive(pid: i32, start_time: u64) -> bool {
    let Ok(stat) = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await else { return false };
    start_time_of_stat(&stat) == Some(start_time)
}

async fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>> {
    use tokio::io::AsyncReadExt;
    let file = match tokio::fs::File::open(dir.join(name)).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open record")(error)),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut bytes).await.map_err(Error::io("read record"))?;
    Ok(Some(knarr_shim_proto::frame::decode(&bytes)?))
}
