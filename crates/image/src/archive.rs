//! Image archives as they come in: members of the outer tar, held as blobs or, if small, in memory.
//!
//! Standards: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>, and the format of `docker save`
//! (`manifest.json` beside configurations and layers). Invariant: a member of `blobs/` is believed only if it has the
//! digest that its name says; nothing is written outside the content store, whatever a member is called.
use crate::early::Early;
use crate::error::Error;
use knarr_content::{Content, Ingest, Lease};
use knarr_oci::digest::Digest;
use knarr_oci::image::MAX_MANIFEST_LEN;
use knarr_snapshot::decompress::Decompressor;
use knarr_snapshot::{Archive, Entry, EntryKind, Limits};
use std::collections::HashMap;
use std::io::{BufReader, Read};

/// Members that are not blobs by name stay in memory up to this size.
const MAX_SMALL_LEN: u64 = 256 << 10;
/// Memory for all of them together.
const MAX_SMALL_TOTAL: u64 = 64 << 20;
/// Members of one archive.
const MAX_MEMBERS: u64 = 100_000;
/// Links that are followed from one member to another.
const MAX_LINKS: usize = 8;
/// Documents that every archive has under the same name.
const DOCUMENTS: [&str; 4] = ["manifest.json", "index.json", "oci-layout", "repositories"];
const READ_BUFFER_LEN: usize = 1 << 20;

/// Where a member's bytes are.
enum Member {
    Memory(Vec<u8>),
    Blob { digest: Digest, size: u64 },
    Link(String),
}

/// The members of an archive, by their plain path.
pub(crate) struct Members(HashMap<String, Member>);

impl Members {
    /// Reads the whole archive, compressed or not. What looks like a layer goes to `early` meanwhile.
    pub(crate) fn read(
        source: &mut dyn Read,
        content: &Content,
        lease: &Lease,
        limits: Limits,
        early: &mut Early,
    ) -> Result<Self, Error> {
        let source = Decompressor::new(source)?;
        let limits = Limits { entries: MAX_MEMBERS, ..limits };
        let mut archive = Archive::new(BufReader::with_capacity(READ_BUFFER_LEN, source), limits);
        let mut members = Self(HashMap::new());
        let mut memory = 0;
        while let Some(entry) = archive.next_entry()? {
            let Some(path) = plain_path(&entry.path) else { continue };
            let member = match entry.kind {
                EntryKind::File => {
                    let mut place = Place { content, lease, early: &mut *early, memory: &mut memory };
                    member(&path, &entry, &mut archive, &mut place)?
                }
                EntryKind::Symlink => match target(&path, &entry.link) {
                    Some(target) => Member::Link(target),
                    None => continue,
                },
                EntryKind::HardLink => match plain_path(&entry.link) {
                    Some(target) => Member::Link(target),
                    None => continue,
                },
                _ => continue,
            };
            members.0.insert(path, member);
        }
        Ok(members)
    }

    fn find(&self, path: &str) -> Option<&Member> {
        let mut path = plain_path(path.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match self.0.get(&path)? {
                Member::Link(target) => path.clone_from(target),
                member => return Some(member),
            }
        }
        None
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The bytes of a document of at most `limit` bytes.
    pub(crate) fn document(&self, path: &str, limit: usize, content: &Content) -> Result<Vec<u8>, Error> {
        match self.find(path) {
            Some(Member::Memory(bytes)) if bytes.len() <= limit => Ok(bytes.clone()),
            Some(Member::Blob { digest, .. }) => Ok(content.read(digest, limit)?),
            Some(_) => Err(Error::Archive(format!("{path} is larger than {limit} bytes"))),
            None => Err(Error::Archive(format!("{path} is missing"))),
        }
    }

    /// Digest and size of a member, which is a blob afterwards.
    pub(crate) fn blob(&self, path: &str, content: &Content, lease: &Lease) -> Result<(Digest, u64), Error> {
        match self.find(path) {
            Some(Member::Blob { digest, size }) => Ok((digest.clone(), *size)),
            Some(Member::Memory(bytes)) => Ok((content.put(lease, bytes)?, bytes.len() as u64)),
            _ => Err(Error::Archive(format!("{path} is missing"))),
        }
    }
}

/// Path of the blob of this digest in an image layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Where members go.
struct Place<'a> {
    content: &'a Content,
    lease: &'a Lease,
    early: &'a mut Early,
    /// Used by those that are kept in memory.
    memory: &'a mut u64,
}

fn member<R: std::io::BufRead>(
    path: &str,
    entry: &Entry,
    archive: &mut Archive<R>,
    place: &mut Place<'_>,
) -> Result<Member, Error> {
    let size = entry.size;
    // Looked at before a byte of it is read (CVE-2023-25153).
    if DOCUMENTS.contains(&path) && size > MAX_MANIFEST_LEN as u64 {
        return Err(Error::Archive(format!("{path} is larger than {MAX_MANIFEST_LEN} bytes")));
    }
    if let Some(digest) = digest_of(path) {
        if let Some(mut ingest) = place.content.begin_or_wait(place.lease, &digest, Some(size))? {
            ingest.restart()?;
            blob(archive, entry, ingest, place)?;
        }
        return Ok(Member::Blob { digest, size });
    }
    if size <= MAX_SMALL_LEN {
        *place.memory += size;
        if *place.memory > MAX_SMALL_TOTAL {
            return Err(Error::Archive("too many small members".to_owned()));
        }
        let mut bytes = Vec::new();
        let read = archive.file(entry).read_to_end(&mut bytes);
        read.map_err(|e| Error::Snapshot(knarr_snapshot::Error::Source(e)))?;
        return Ok(Member::Memory(bytes));
    }
    let ingest = place.content.create(size)?;
    Ok(Member::Blob { digest: blob(archive, entry, ingest, place)?, size })
}

/// Copies a member into a blob.
fn blob<R: std::io::BufRead>(
    archive: &mut Archive<R>,
    entry: &Entry,
    mut ingest: Ingest,
    place: &mut Place<'_>,
) -> Result<Digest, Error> {
    let is_early =
        entry.size > MAX_SMALL_LEN && !entry.is_sparse() && place.early.begin(&ingest, archive.fill()?)?;
    // Unlike a download, an archive is not resumed: a partial blob would only take space.
    if let Err(error) = copy(archive, entry, &mut ingest) {
        ingest.abandon();
        return Err(error);
    }
    Ok(if is_early { place.early.end(ingest)? } else { ingest.commit(place.lease)? })
}

/// The member as a file: without copying unless it is sparse.
fn copy<R: std::io::BufRead>(
    archive: &mut Archive<R>,
    entry: &Entry,
    ingest: &mut Ingest,
) -> Result<(), Error> {
    if entry.is_sparse() {
        let mut buffer = vec![0; READ_BUFFER_LEN];
        let mut file = archive.file(entry);
        loop {
            let read = file.read(&mut buffer);
            match read.map_err(|e| Error::Snapshot(knarr_snapshot::Error::Source(e)))? {
                0 => return Ok(()),
                len => ingest.append(&buffer[..len])?,
            }
        }
    }
    loop {
        let bytes = archive.fill()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        ingest.append(bytes)?;
        archive.consume(len);
    }
}

/// The digest that a member of `blobs/` must have.
fn digest_of(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

/// A path without `.`, empty and `..` components; none if it is not plain text or is nothing.
fn plain_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { None } else { Some(parts.join("/")) }
}

/// Where a symbolic link leads within the archive.
fn target(path: &str, link: &[u8]) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { None } else { Some(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_archives() {
        assert_eq!(plain_path(b"./a//b").as_deref(), Some("a/b"));
        assert_eq!(plain_path(b"../a"), None);
        assert_eq!(plain_path(b"./"), None);
        assert_eq!(target("x/layer.tar", b"../y/layer.tar").as_deref(), Some("y/layer.tar"));
        assert_eq!(target("x/layer.tar", b"../../y"), None);
    }
}
