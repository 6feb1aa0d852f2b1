//! The blobs of one data root.
use crate::ahead::blob_name;
use crate::error::Error;
use crate::ingest::Ingest;
use crate::lease::Lease;
use knarr_oci::digest::{Algorithm, Digest, Hasher};
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Largest blob that is taken when no size was announced.
pub const MAX_BLOB_LEN: u64 = 1 << 40;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) leases: HashMap<Digest, usize>,
    active: HashSet<String>,
    next_name: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The blobs of one data root. Cheap to clone.
#[derive(Clone)]
pub struct Content {
    root: PathBuf,
    shared: Arc<Shared>,
}

/// What [`Content::begin`] found.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Begin {
    /// The blob is there, this long.
    Present(u64),
    /// Somebody else is fetching it: [`Content::wait`], then begin again.
    Busy,
    /// It is yours to write, from [`Ingest::offset`] on.
    Started(Ingest),
}

impl Content {
    /// Opens `<data_root>/content` and makes what is missing.
    pub fn open(data_root: &Path) -> Result<Self, Error> {
        let root = data_root.join("content");
        for dir in ["blobs/sha256", "blobs/sha512", "ingest"] {
            let path = root.join(dir);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(Error::io("create", &path))?;
        }
        for dir in [root.join("blobs"), root.clone(), data_root.to_owned()] {
            sync_dir(&dir)?;
        }
        Ok(Self { root, shared: Arc::default() })
    }

    /// A new lease, which holds nothing yet.
    pub fn lease(&self) -> Lease {
        Lease::new(Arc::clone(&self.shared))
    }

    /// Begins, or goes on with, the ingest of a blob whose digest is known. `lease` holds the digest from now on.
    /// A blob of the wrong size is taken for damaged and is fetched again.
    pub fn begin(&self, lease: &Lease, digest: &Digest, size: Option<u64>) -> Result<Begin, Error> {
        lease.hold(digest);
        let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
        {
            let mut state = self.shared.lock();
            if state.active.contains(&name) {
                return Ok(Begin::Busy);
            }
            match self.size(digest) {
                Ok(len) if size.is_none_or(|size| size == len) => return Ok(Begin::Present(len)),
                Ok(len) => tracing::warn!(%digest, len, expected = size, "blob has the wrong size: replaced"),
                Err(Error::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
            state.active.insert(name.clone());
        }
        let limit = size.unwrap_or(MAX_BLOB_LEN).min(MAX_BLOB_LEN);
        Ingest::open(self.clone(), name, Some(digest.clone()), size, limit).map(Begin::Started)
    }

    /// Like [`Content::begin`], but waits while somebody else writes the same blob. None means that it is there.
    pub fn begin_or_wait(
        &self,
        lease: &Lease,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Ingest>, Error> {
        loop {
            match self.begin(lease, digest, size)? {
                Begin::Present(_) => return Ok(None),
                Begin::Started(ingest) => return Ok(Some(ingest)),
                Begin::Busy => self.wait(digest),
            }
        }
    }

    /// Blocks until nobody is writing this blob.
    pub fn wait(&self, digest: &Digest) {
        let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
        let mut state = self.shared.lock();
        while state.active.contains(&name) {
            state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Begins a blob whose digest is not known yet, of at most `limit` bytes.
    pub fn create(&self, limit: u64) -> Result<Ingest, Error> {
        let name = {
            let mut state = self.shared.lock();
            state.next_name += 1;
            let name = format!("new-{}-{}", std::process::id(), state.next_name);
            state.active.insert(name.clone());
            name
        };
        Ingest::open(self.clone(), name, None, None, limit)
    }

    /// Stores a small blob that is in memory.
    pub fn put(&self, lease: &Lease, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::sha256(bytes);
        if let Some(mut ingest) = self.begin_or_wait(lease, &digest, Some(bytes.len() as u64))? {
            if ingest.offset() > 0 {
                ingest.restart()?;
            }
            ingest.append(bytes)?;
            ingest.commit(lease)?;
        }
        Ok(digest)
    }

    pub(crate) fn end_ingest(&self, name: &str) {
        self.shared.lock().active.remove(name);
        self.shared.ended.notify_all();
    }

    pub(crate) fn ingest_dir(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// Where the blob is or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub fn exists(&self, digest: &Digest) -> bool {
        self.size(digest).is_ok()
    }

    pub fn size(&self, digest: &Digest) -> Result<u64, Error> {
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound(digest.clone())),
            Err(e) => Err(Error::io("stat", path)(e)),
        }
    }

    /// Opens a blob for reading. The file stays readable even if the blob is deleted meanwhile.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::NotFound(digest.clone()),
            _ => Error::io("open", path)(e),
        })
    }

    /// Reads a document of at most `limit` bytes and verifies it once more.
    pub fn read(&self, digest: &Digest, limit: usize) -> Result<Vec<u8>, Error> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(Error::io("read", self.blob_path(digest)))?;
        if bytes.len() > limit {
            return Err(Error::TooLarge { name: digest.to_string(), limit: limit as u64 });
        }
        let found = {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(&bytes);
            hasher.finish()
        };
        if found != *digest {
            return Err(Error::DigestMismatch { expected: digest.clone(), found });
        }
        Ok(bytes)
    }

    /// Whether a blob is here as it came. What tells is its size and the mark that [`Ingest::verify`] left and that goes with
    /// any write to the file; without the mark the blob is hashed anew. One that is damaged is taken away, so that it can
    /// come again.
    pub fn is_whole(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("stat", path)(e)),
        };
        if meta.is_file() && meta.len() == size {
            if is_marked(&meta) {
                return Ok(true);
            }
            match self.verify(digest) {
                Ok(()) => {
                    let marked = self.open_blob(digest).and_then(|file| mark(&file, &path));
                    marked.unwrap_or_else(|error| tracing::debug!(%digest, %error, "blob not marked"));
                    return Ok(true);
                }
                Err(Error::NotFound(_)) => return Ok(false),
                Err(Error::DigestMismatch { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        tracing::warn!(%digest, "blob is damaged: taken away");
        self.discard(digest)?;
        Ok(false)
    }

    /// Takes a damaged blob away, whoever holds it.
    pub fn discard(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove", path)(e)),
        }
    }

    /// Hashes a blob anew.
    pub fn verify(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", path)(e)),
            }
        }
        let found = hasher.finish();
        if found == *digest { Ok(()) } else { Err(Error::DigestMismatch { expected: digest.clone(), found }) }
    }

    /// Whether somebody works with the blob.
    pub fn is_leased(&self, digest: &Digest) -> bool {
        self.shared.lock().leases.contains_key(digest)
    }

    /// Deletes a blob, unless a lease holds it. True if it was there.
    pub fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let state = self.shared.lock();
        if state.leases.contains_key(digest) {
            return Err(Error::Leased(digest.clone()));
        }
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("remove", path)(e)),
        }
    }

    /// All blobs with their sizes. Files that are not named as blobs are not ours and are left alone.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let mut list = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.root.join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
                let entry = entry.map_err(Error::io("read", &dir))?;
                let name = entry.file_name();
                let digest =
                    name.to_str().and_then(|hex| Digest::parse(&format!("{}:{hex}", algorithm.name())).ok());
                if let (Some(digest), Ok(meta)) = (digest, entry.metadata()) {
                    list.push((digest, meta.len()));
                }
            }
        }
        list.sort();
        Ok(list)
    }

    /// Removes partial blobs that nobody is writing and that are not to be kept. Returns how many.
    pub fn sweep_ingests(&self, keep: impl Fn(&Digest) -> bool) -> Result<usize, Error> {
        let dir = self.ingest_dir();
        let state = self.shared.lock();
        let mut removed = 0;
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let entry = entry.map_err(Error::io("read", &dir))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let blob = blob_name(name);
            let digest = Digest::parse(&blob.replacen('-', ":", 1));
            if !state.active.contains(blob)
                && !digest.is_ok_and(|digest| keep(&digest))
                && fs::remove_file(entry.path()).is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// When verified blobs say that they were changed last, in seconds since the epoch.
const MARK: i64 = 1;

/// Marks a file whose bytes were verified: any write takes the mark away.
pub(crate) fn mark(file: &File, path: &Path) -> Result<(), Error> {
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let time = rustix::fs::Timespec { tv_sec: MARK, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: omit, last_modification: time };
    rustix::fs::futimens(file, &times).map_err(|errno| Error::io("mark", path)(errno.into()))
}

fn is_marked(meta: &fs::Metadata) -> bool {
    meta.mtime() == MARK && meta.mtime_nsec() == 0
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", path))
}
