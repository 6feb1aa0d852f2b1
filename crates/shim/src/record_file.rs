//! A small JSON file that is replaced as a whole.
//!
//! Invariant: a reader sees the old content or the new one; when `durable`, the new one also after a power cut.
use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Writes `name` in an open directory.
pub fn write<T: Serialize>(dir: BorrowedFd<'_>, name: &str, record: &T, durable: bool) -> Result<()> {
    let private = format!(".{name}.new");
    let fail = |action| move |errno: rustix::io::Errno| Error::file(action, Path::new(name))(errno.into());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        rustix::fs::openat(dir, &private, flags, Mode::from_raw_mode(0o600)).map_err(fail("create"))?;
    let mut file = File::from(file);
    let bytes =
        serde_json::to_vec(record).map_err(|source| Error::Json { path: Path::new(name).into(), source })?;
    file.write_all(&bytes).map_err(Error::file("write", name))?;
    if durable {
        file.sync_all().map_err(Error::file("sync", name))?;
    }
    rustix::fs::renameat(dir, &private, dir, name).map_err(fail("rename"))?;
    if durable {
        // The directory was opened for reading its metadata only; sync needs a real descriptor.
        let dir =
            rustix::fs::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(fail("open directory of"))?;
        rustix::fs::fsync(dir.as_fd()).map_err(fail("sync directory of"))?;
    }
    Ok(())
}
