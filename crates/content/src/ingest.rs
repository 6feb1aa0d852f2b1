//! One blob on its way in: written to a private file, hashed as it passes, verified, synced, renamed.
//!
//! Invariant: [`Ingest::commit`] and [`Content::publish`] return only after the bytes, the name and the directory are on disk.
use crate::ahead::Ahead;
use crate::error::Error;
use crate::growth::{Follower, Growth};
use crate::lease::Lease;
use crate::store::{Content, mark, sync_dir};
use knarr_oci::digest::{Digest, Hasher};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    growth: Arc<Growth>,
    ahead: Option<Ahead>,
}

/// A blob whose size and digest were right, not named yet. Dropping it keeps the file for the next ingest of that digest.
pub struct Verified {
    ingest: Ingest,
    digest: Digest,
    synced: std::sync::atomic::AtomicBool,
}

impl Verified {
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    pub fn size(&self) -> u64 {
        self.ingest.offset
    }
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
        let growth = Growth::new(0);
        let mut ingest = Self {
            content,
            name,
            path,
            file,
            hasher,
            offset: 0,
            digest,
            size,
            limit,
            keep,
            growth,
            ahead: None,
        };
        if ingest.digest.is_some() {
            let mut ahead = Ahead::find(&ingest.content.ingest_dir(), &ingest.name)?;
            if ahead.end() > ingest.limit {
                ahead.remove_all();
            }
            ingest.ahead = Some(ahead);
        }
        ingest.rehash()?;
        ingest.growth.reach(ingest.offset);
        ingest.absorb()?;
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

    /// Pieces that are there before what comes before them: offsets and lengths.
    pub fn ahead(&self) -> Vec<(u64, u64)> {
        self.ahead.as_ref().map(Ahead::list).unwrap_or_default()
    }
    /// All bytes that are there, in order or not.
    pub fn received(&self) -> u64 {
        self.offset + self.ahead.as_ref().map_or(0, Ahead::len)
    }

    /// Reads the blob from its beginning while it grows.
    pub fn follow(&self) -> Result<Follower, Error> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        Ok(Follower::new(file, Arc::clone(&self.growth)))
    }

    /// Forgets what was written, for a server that cannot go on in the middle. Who follows is told.
    pub fn restart(&mut self) -> Result<(), Error> {
        if let Some(ahead) = &mut self.ahead {
            ahead.remove_all();
        }
        if self.offset > 0 {
            self.growth.broken();
            self.growth = Growth::new(0);
        }
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
        self.growth.reach(end);
        Ok(())
    }

    /// Puts bytes where they belong: onto the end, or aside, in the piece that begins at `piece`, until the blob has come that
    /// far. What is there is left.
    pub fn put_at(&mut self, piece: u64, at: u64, bytes: &[u8]) -> Result<(), Error> {
        if at > self.offset {
            let end = at.saturating_add(bytes.len() as u64);
            let limit = self.size.unwrap_or(self.limit).min(self.limit);
            if end > limit {
                self.keep = false;
                return Err(Error::SizeMismatch { name: self.label(), expected: limit, found: end });
            }
            return match &mut self.ahead {
                Some(ahead) => ahead.write(piece, at, bytes),
                None => Err(Error::Gap { name: self.label(), at }),
            };
        }
        let known = usize::try_from(self.offset - at).unwrap_or(usize::MAX).min(bytes.len());
        if known < bytes.len() {
            self.append(&bytes[known..])?;
        }
        self.absorb()
    }

    /// Appends the pieces that the blob has reached.
    fn absorb(&mut self) -> Result<(), Error> {
        let mut buffer = Vec::new();
        while let Some(taken) = self.ahead.as_mut().and_then(|ahead| ahead.take(self.offset)) {
            buffer.resize(READ_BUFFER_LEN, 0);
            let from = self.offset;
            taken.copy_from(from, &mut buffer, |bytes| self.append(bytes))?;
        }
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

    /// Whether size and digest are right. If not, what is there is of no use but as a beginning that is too short.
    pub fn check(&mut self) -> Result<Digest, Error> {
        if let Some(expected) = self.size.filter(|size| *size != self.offset) {
            // Too short: what is there may still be right, and the next attempt goes on from it.
            return Err(Error::SizeMismatch { name: self.label(), expected, found: self.offset });
        }
        let found = self.hasher.clone().finish();
        match self.digest.clone().filter(|expected| *expected != found) {
            Some(expected) => {
                self.keep = false;
                Err(Error::DigestMismatch { expected, found })
            }
            None => Ok(found),
        }
    }

    /// Verifies size and digest; followers see the end.
    pub fn verify(mut self) -> Result<Verified, Error> {
        let digest = self.check()?;
        mark(&self.file, &self.path)?;
        self.growth.verified();
        Ok(Verified { ingest: self, digest, synced: false.into() })
    }

    /// Verifies size and digest, makes the blob durable and names it by its digest, which `lease` holds from then on.
    pub fn commit(self, lease: &Lease) -> Result<Digest, Error> {
        let (content, verified) = (self.content.clone(), self.verify()?);
        verified.sync()?;
        let digest = verified.digest.clone();
        content.publish(lease, vec![verified])?;
        Ok(digest)
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
        self.growth.broken();
        if !self.keep {
            if let Some(ahead) = &mut self.ahead {
                ahead.remove_all();
            }
            let _ = fs::remove_file(&self.path);
        }
        self.content.end_ingest(&self.name);
    }
}

impl Verified {
    /// The bytes of a document of at most `limit` bytes.
    pub fn read(&self, limit: usize) -> Result<Vec<u8>, Error> {
        if self.ingest.offset > limit as u64 {
            return Err(Error::TooLarge { name: self.ingest.label(), limit: limit as u64 });
        }
        fs::read(&self.ingest.path).map_err(Error::io("read", &self.ingest.path))
    }

    /// Gives it up and removes the file.
    pub fn abandon(self) {
        self.ingest.abandon();
    }

    /// Writes the bytes to disk, once.
    pub fn sync(&self) -> Result<(), Error> {
        use std::sync::atomic::Ordering;
        if !self.synced.load(Ordering::Acquire) {
            self.ingest.file.sync_all().map_err(Error::io("sync", &self.ingest.path))?;
            self.synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn name_it(mut self, target: &Path) -> Result<(), Error> {
        fs::rename(&self.ingest.path, target).map_err(Error::io("rename", &self.ingest.path))?;
        self.ingest.keep = true; // nothing is left to remove
        Ok(())
    }
}

impl Content {
    /// Names blobs whose bytes are on disk already, by [`Verified::sync`] or a sync of the whole file system. `lease` holds
    /// them from then on.
    pub fn publish(&self, lease: &Lease, blobs: Vec<Verified>) -> Result<(), Error> {
        self.publish_each(lease, vec![blobs]).into_iter().collect()
    }

    /// The same for several at once, each with its own outcome: directories are synced once for all.
    pub fn publish_each(&self, lease: &Lease, all: Vec<Vec<Verified>>) -> Vec<Result<(), Error>> {
        let named: Vec<Result<Vec<PathBuf>, Error>> =
            all.into_iter().map(|blobs| self.name_all(lease, blobs)).collect();
        let directories: BTreeSet<&PathBuf> = named.iter().flatten().flatten().collect();
        let together = directories.into_iter().all(|directory| sync_dir(directory).is_ok());
        let synced = |directories: Vec<PathBuf>| match together {
            true => Ok(()),
            false => directories.iter().try_for_each(|directory| sync_dir(directory)),
        };
        named.into_iter().map(|directories| directories.and_then(synced)).collect()
    }

    /// Gives the directories that the names are in.
    fn name_all(&self, lease: &Lease, blobs: Vec<Verified>) -> Result<Vec<PathBuf>, Error> {
        let mut directories = Vec::new();
        for verified in blobs {
            lease.hold(&verified.digest);
            let target = self.blob_path(&verified.digest);
            verified.name_it(&target)?;
            let directory = target.parent().unwrap_or(&target).to_owned();
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        Ok(directories)
    }
}
