//! Pieces of a blob that arrived before what comes before them: `ingest/<name>.<offset>`, one file per piece.
//!
//! Invariant: the partial blob itself has no holes, so that its length says what is there, also after a crash. A piece is
//! appended to it, and hashed, when the blob has reached its offset.
use crate::error::Error;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Pieces that one blob may have.
const MAX_PIECES: usize = 1 << 16;

#[derive(Debug)]
struct Piece {
    file: File,
    len: u64,
}

/// The pieces of one blob, by offset.
#[derive(Debug)]
pub(crate) struct Ahead {
    dir: PathBuf,
    name: String,
    pieces: BTreeMap<u64, Piece>,
}

/// The name of the blob that a file of `ingest/` belongs to.
pub(crate) fn blob_name(file_name: &str) -> &str {
    file_name.split_once('.').map_or(file_name, |(name, _)| name)
}

impl Ahead {
    /// Finds what an earlier attempt left.
    pub(crate) fn find(dir: &Path, name: &str) -> Result<Self, Error> {
        let mut ahead = Self { dir: dir.to_owned(), name: name.to_owned(), pieces: BTreeMap::new() };
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let file_name = entry.map_err(Error::io("read", dir))?.file_name();
            let offset =
                file_name.to_str().and_then(|n| n.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
            if let Some(offset) = offset.filter(|_| ahead.pieces.len() < MAX_PIECES) {
                let piece = ahead.open(offset)?;
                ahead.pieces.insert(offset, piece);
            }
        }
        Ok(ahead)
    }

    fn path(&self, offset: u64) -> PathBuf {
        self.dir.join(format!("{}.{offset}", self.name))
    }

    fn open(&self, offset: u64) -> Result<Piece, Error> {
        let path = self.path(offset);
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let options =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).clone();
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        let len = file.metadata().map_err(Error::io("stat", &path))?.len();
        Ok(Piece { file, len })
    }

    /// Offsets and lengths.
    pub(crate) fn list(&self) -> Vec<(u64, u64)> {
        self.pieces.iter().map(|(offset, piece)| (*offset, piece.len)).collect()
    }

    /// Where the last piece ends.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.iter().map(|(offset, piece)| offset.saturating_add(piece.len)).max().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len).sum()
    }

    /// Appends to the piece at `offset` what is not in it yet of `bytes`, which belong at `at`.
    pub(crate) fn write(&mut self, offset: u64, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(offset);
        if !self.pieces.contains_key(&offset) {
            if self.pieces.len() >= MAX_PIECES {
                return Err(Error::TooLarge { name: self.name.clone(), limit: MAX_PIECES as u64 });
            }
            let piece = self.open(offset)?;
            piece.file.set_len(0).map_err(Error::io("truncate", &path))?;
            self.pieces.insert(offset, Piece { len: 0, ..piece });
        }
        let Some(piece) = self.pieces.get_mut(&offset) else { return Ok(()) };
        let end = offset + piece.len;
        if at > end {
            return Err(Error::Gap { name: self.name.clone(), at });
        }
        let known = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
        piece.file.write_all(&bytes[known..]).map_err(Error::io("write", path))?;
        piece.len += (bytes.len() - known) as u64;
        Ok(())
    }

    /// Takes out the first piece if `reached` is at or after its beginning.
    pub(crate) fn take(&mut self, reached: u64) -> Option<Taken> {
        let offset = *self.pieces.keys().next().filter(|offset| **offset <= reached)?;
        let piece = self.pieces.remove(&offset)?;
        Some(Taken { path: self.path(offset), file: piece.file, offset, len: piece.len })
    }

    pub(crate) fn remove_all(&mut self) {
        while let Some(taken) = self.take(u64::MAX) {
            drop(taken);
        }
    }
}

/// A piece on its way into the blob; its file goes with it.
pub(crate) struct Taken {
    path: PathBuf,
    file: File,
    offset: u64,
    len: u64,
}

impl Taken {
    /// Calls `append` with the bytes from `at` on.
    pub(crate) fn copy_from(
        &self,
        mut at: u64,
        buffer: &mut [u8],
        mut append: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while at < self.offset + self.len {
            match self.file.read_at(buffer, at - self.offset) {
                Ok(0) => break,
                Ok(n) => {
                    append(&buffer[..n])?;
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
