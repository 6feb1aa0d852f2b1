//! Reading and writing the small files of a group.
use crate::{Error, Result};
use knarr_linux::Errno;
use rustix::fs::{CWD, Mode, OFlags};
use std::io::Read;
use std::path::Path;

/// No file of a group is longer (statistics of very many devices included).
const MAX_FILE: u64 = 4 << 20;
const USUAL_FILE: usize = 4096;

pub(crate) fn fail<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(Errno) -> Error + 'a {
    move |errno| Error::File { action, path: path.to_owned(), errno }
}

/// One write(2): the kernel takes each write as one value.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    let open = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, open, Mode::empty()).map_err(fail("open", path))?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes()));
    let refused = |errno| Error::Write { path: path.to_owned(), value: value.to_owned(), errno };
    written.map_err(refused).map(drop)
}

pub(crate) fn read(path: &Path) -> Result<String> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = std::fs::File::from(file.map_err(fail("open", path))?);
    // Such files have no size that could be asked for; the kernel makes the text again for each read.
    let mut text = String::with_capacity(USUAL_FILE);
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| Error::File {
        action: "read",
        path: path.to_owned(),
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    Ok(text)
}

/// `None` if the file (or its group) does not exist.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::File { errno: Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A single number; `max` is `u64::MAX`.
pub(crate) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// Lines of `key value`.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value)))
    })
}
