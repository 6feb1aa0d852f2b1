//! A directory as a tar stream: the upper directory of a container as a layer, or a whole tree as it is.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/layer.md>. Invariant: the same tree gives the same
//! bytes; order is by path, hard links go to the first name of their file, and what stands for something removed has no
//! owner and no time of its own.
use crate::apply::Whiteouts;
use crate::compare::{Found, Moment, compare};
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
use crate::union::Union;
use crate::walk::{Visit, walk};
use crate::writer::TarWriter;
use knarr_linux::path::Dir;
use std::collections::HashMap;
use std::io::{self, Write};

/// Attributes that make an upper directory depend on its lower ones by more than names.
const REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// Writes the tree as a tar stream. With [`Whiteouts::Overlay`] the tree is an upper directory of overlayfs, whose
/// whiteouts and opaque directories become those of a layer.
pub fn diff<W: Write>(top: &Dir, whiteouts: Whiteouts, sink: W) -> Result<W, Error> {
    let mut archive = Objects::new(sink);
    walk(top, &mut |visit| {
        if whiteouts == Whiteouts::Overlay && visit.is_whiteout() {
            archive.removed(visit.path)?;
            return Ok(false);
        }
        if whiteouts == Whiteouts::Overlay {
            refuse_redirects(visit)?;
        }
        let Some(kind) = archive.object(visit)? else { return Ok(false) };
        if whiteouts == Whiteouts::Overlay && kind == EntryKind::Directory && visit.is_opaque()? {
            archive.marker([visit.path, b"/.wh..wh..opq"].concat())?;
        }
        Ok(true)
    })?;
    archive.writer.finish()
}

/// Writes what a plain directory has that the layers which it was made from have not.
pub(crate) fn difference<W: Write>(union: &Union, top: &Dir, complete: Moment, sink: W) -> Result<W, Error> {
    let mut archive = Objects::new(sink);
    compare(union, top, complete, &mut |found| match found {
        Found::Deleted(path) => archive.removed(path),
        Found::Added(visit) | Found::Modified(visit) | Found::Touched(visit) | Found::Parent(visit) => {
            archive.object(visit).map(drop)
        }
    })?;
    archive.writer.finish()
}

/// An archive of objects on disk.
struct Objects<W: Write> {
    writer: TarWriter<W>,
    /// First name of each file that has more than one.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Objects<W> {
    fn new(sink: W) -> Self {
        Self { writer: TarWriter::new(sink), links: HashMap::new() }
    }

    /// What it was written as; none for what archives do not know.
    fn object(&mut self, visit: &Visit<'_>) -> Result<Option<EntryKind>, Error> {
        let Some(mut entry) = visit.entry()? else { return Ok(None) };
        if entry.kind != EntryKind::Directory && visit.stat.st_nlink > 1 {
            let id = (visit.stat.st_dev, visit.stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                entry.xattrs.clear();
            } else {
                self.links.insert(id, visit.path.to_vec());
            }
        }
        let kind = entry.kind;
        if kind == EntryKind::File {
            self.writer.entry(&entry, &mut visit.open()?)?;
        } else {
            self.writer.entry(&entry, &mut io::empty())?;
        }
        Ok(Some(kind))
    }

    /// An empty file that stands for something removed.
    fn removed(&mut self, path: &[u8]) -> Result<(), Error> {
        let at = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        self.marker([&path[..at], b".wh.", &path[at..]].concat())
    }

    fn marker(&mut self, path: Vec<u8>) -> Result<(), Error> {
        self.writer.entry(&Entry::new(EntryKind::File, path, 0o600, 0, 0), &mut io::empty())
    }
}

/// Such a directory or file has its content elsewhere below; the engine mounts without these features.
fn refuse_redirects(visit: &Visit<'_>) -> Result<(), Error> {
    for attribute in REDIRECTS {
        if visit.xattr(attribute)?.is_some() {
            return Err(crate::apply::problem(visit.path, "upper directory uses overlay redirects"));
        }
    }
    Ok(())
}
