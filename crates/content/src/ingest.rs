//! One blob on its way in: written to a private file, hashed as it passes, verified, synced, renamed.
//!
//! Invariant: [`Ingest::commit`] returns only after the bytes, the name and the directory are on disk.
use crate::error::Error;
use crate::lease::Lease;
use crate::store::{Content, sync_dir};
use knarr_oci::digest::{Digest, Hasher};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

const READ_BUFFER_LEN: usize = 1 << 20;

/// A blob being written. Dropping it keeps the partial file if the digest was known from the start, so that the next
/// ingest of the same digest goes on where this one ended.
pub struct Ingest {
    content: Content,
    name: String,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    offset: u64,
    digest: Option<Digest>,
    size: Option<u64>,
    limit: u64,
    keep: bool,
}

impl Ingest {
    pub(crate) fn open(
        content: Content,
        name: String,
        digest: Option<Digest>,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Self, Error> {
        let path = content.ingest_dir().join(&name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(digest.is_none())
            .mode(0o600)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(e) => {
                content.end_ingest(&name);
                return Err(Error::io("open", &path)(e));
            }
        };
        let hasher = digest.as_ref().map_or_else(Hasher::sha256, |d| Hasher::new(d.algorithm()));
        let keep = digest.is_some();
        let mut ingest = Self { content, name, path, file, hasher, offset: 0, digest, size, limit, keep };
        ingest.rehash()?;
        Ok(ingest)
    }

    /// Hashes what an earlier attempt left; drops it if it is more than there can be.
    fn rehash(&mut self) -> Result<(), Error> {
        let len = self.file.metadata().map_err(Error::io("stat", &self.path))?.len();
        if len > self.size.unwrap_or(self.limit).min(self.limit) {
            return self.restart();
        }
        let mut buffer = vec![0; READ_BUFFER_LEN.min(usize::try_from(len).unwrap_or(READ_BUFFER_LEN))];
        while self.offset < len {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    self.hasher.update(&buffer[..n]);
                    self.offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
        Ok(())
    }

    /// Number of bytes that are there already: where a download goes on.
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// The size that was announced.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Forgets what was written, for a server that cannot go on in the middle.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(Error::io("truncate", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("seek", &self.path))?;
        self.offset = 0;
        self.hasher = self.digest.as_ref().map_or_else(Hasher::sha256, |d| Hasher::new(d.algorithm()));
        Ok(())
    }

    /// Appends bytes; refuses more than was announced or allowed.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.size.filter(|size| end > *size) {
            self.keep = false;
            return Err(Error::SizeMismatch { name: self.label(), expected, found: end });
        }
        if end > self.limit {
            self.keep = false;
            return Err(Error::TooLarge { name: self.label(), limit: self.limit });
        }
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.offset = end;
        Ok(())
    }

    /// Appends all that a reader gives.
    pub fn append_from(&mut self, reader: &mut dyn Read) -> Result<u64, Error> {
        let mut buffer = vec![0; READ_BUFFER_LEN];
        let start = self.offset;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(self.offset - start),
                Ok(n) => self.append(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read source of", &self.path)(e)),
            }
        }
    }

    /// Verifies size and digest, makes the blob durable and names it by its digest, which `lease` holds from then on.
    pub fn commit(mut self, lease: &Lease) -> Result<Digest, Error> {
        if let Some(expected) = self.size.filter(|size| *size != self.offset) {
            // Too short: what is there may still be right, and the next attempt goes on from it.
            return Err(Error::SizeMismatch { name: self.label(), expected, found: self.offset });
        }
        let found = self.hasher.clone().finish();
        if let Some(expected) = self.digest.clone().filter(|expected| *expected != found) {
            self.keep = false;
            return Err(Error::DigestMismatch { expected, found });
        }
        lease.hold(&found);
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        let target = self.content.blob_path(&found);
        fs::rename(&self.path, &target).map_err(Error::io("rename", &self.path))?;
        sync_dir(target.parent().unwrap_or(&target))?;
        self.keep = true; // nothing is left to remove
        Ok(found)
    }

    /// Gives up and removes the partial file.
    pub fn abandon(mut self) {
        self.keep = false;
    }

    fn label(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.name.clone(), ToString::to_string)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(|e| match e {
            Error::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        })?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
        self.content.end_ingest(&self.name);
    }
}
