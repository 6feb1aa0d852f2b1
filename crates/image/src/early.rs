//! Layers of an archive that are unpacked, and written to disk, while the archive is still being read.
//!
//! What a member is stands in a manifest, which may come last; a large member that is a tar, compressed or not, is nearly always a
//! layer. Invariants: nothing made here has a name before the archive was read to its end, and only what an image asks for by the
//! right diff id is used; the rest is thrown away. A failure here is nobody's: the layer is unpacked again the ordinary way, which tells.
use crate::error::Error;
use crate::service::Images;
use knarr_content::{Ingest, Lease, Verified};
use knarr_oci::digest::Digest;
use knarr_snapshot::decompress::Compression;
use knarr_snapshot::{Staged, Whiteouts};
use std::collections::HashMap;
use std::thread::{Builder, JoinHandle};

/// Layers that are unpacked at a time: each has two threads busy.
const MAX_PARALLEL: usize = 3;
/// Where a tar says that it is one.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

struct Job {
    unpacking: JoinHandle<Result<Staged, Error>>,
    syncing: Option<JoinHandle<Result<Verified, Error>>>,
}

/// What has begun. Dropping it waits for it and throws it away.
pub(crate) struct Early {
    images: Images,
    jobs: Vec<Job>,
}

impl Early {
    pub(crate) fn new(images: Images) -> Self {
        Self { images, jobs: Vec::new() }
    }

    /// A member whose first bytes are these begins to arrive in `ingest`. Whether it is unpacked; [`Self::end`] is called then.
    pub(crate) fn begin(&mut self, ingest: &Ingest, start: &[u8]) -> Result<bool, Error> {
        let busy = self.jobs.iter().filter(|job| !job.unpacking.is_finished()).count();
        if busy >= MAX_PARALLEL || !is_tar(start) {
            return Ok(false);
        }
        let (images, follower) = (self.images.clone(), ingest.follow()?);
        let work = move || Ok(images.layers.stage(follower, None, Whiteouts::Overlay, images.limits)?);
        // Without a thread it is unpacked later.
        let Ok(unpacking) = Builder::new().name("load-layer".to_owned()).spawn(work) else {
            return Ok(false);
        };
        self.jobs.push(Job { unpacking, syncing: None });
        Ok(true)
    }

    /// The member that began last is complete.
    pub(crate) fn end(&mut self, ingest: Ingest) -> Result<Digest, Error> {
        let verified = ingest.verify()?;
        let digest = verified.digest().clone();
        let work = move || {
            verified.sync()?;
            Ok(verified)
        };
        let thread = Builder::new().name("load-sync".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::Task(format!("start a thread: {e}")))?;
        if let Some(job) = self.jobs.last_mut() {
            job.syncing = Some(thread);
        }
        Ok(digest)
    }

    /// Gives the blobs their names. The trees, by the digest of their blob.
    pub(crate) fn finish(mut self, lease: &Lease) -> Result<HashMap<Digest, Staged>, Error> {
        let (mut staged, mut blobs, mut failed) = (HashMap::new(), Vec::new(), None);
        // To the end also after a failure: nobody else waits for them.
        for job in self.jobs.drain(..) {
            let (tree, blob) = job.wait();
            let blob = match blob {
                Some(Ok(blob)) => blob,
                Some(Err(error)) => {
                    failed.get_or_insert(error);
                    continue;
                }
                None => continue,
            };
            match tree {
                Ok(tree) => drop(staged.insert(blob.digest().clone(), tree)),
                Err(error) => {
                    tracing::debug!(%error, blob = %blob.digest(), "not unpacked while it was read")
                }
            }
            blobs.push(blob);
        }
        if let Some(error) = failed {
            blobs.into_iter().for_each(Verified::abandon);
            return Err(error);
        }
        self.images.content.publish(lease, blobs)?;
        Ok(staged)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            if let (_, Some(Ok(blob))) = job.wait() {
                blob.abandon();
            }
        }
    }
}

impl Job {
    fn wait(self) -> (Result<Staged, Error>, Option<Result<Verified, Error>>) {
        let panicked = || Error::Task("a thread of a load panicked".to_owned());
        let tree = self.unpacking.join().unwrap_or_else(|_| Err(panicked()));
        (tree, self.syncing.map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))))
    }
}

fn is_tar(start: &[u8]) -> bool {
    Compression::detect(start) != Compression::None || start.get(TAR_MAGIC) == Some(b"ustar".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_layer() {
        let mut tar = vec![0; 512];
        assert!(!is_tar(&tar));
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_tar(&tar));
        assert!(is_tar(&[0x1f, 0x8b, 8, 0]));
        assert!(!is_tar(b"{\"schemaVersion\": 2}"));
        assert!(!is_tar(&tar[..261]));
    }
}
