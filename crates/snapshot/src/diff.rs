//! A directory as a tar stream: the upper directory of a container as a layer, or a whole tree as it is.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/layer.md>. Invariant: the same tree gives the same
//! bytes; order is by path, hard links go to the first name of their file.
use crate::apply::Whiteouts;
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
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
    let mut writer = TarWriter::new(sink);
    let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    walk(top, &mut |visit| {
        if whiteouts == Whiteouts::Overlay && visit.is_whiteout() {
            writer.entry(&marker(visit, &[b".wh.", visit.name].concat()), &mut io::empty())?;
            return Ok(false);
        }
        let Some(mut entry) = visit.entry()? else { return Ok(false) };
        if entry.kind != EntryKind::Directory
            && visit.stat.st_nlink > 1
            && let Some(first) = links.insert((visit.stat.st_dev, visit.stat.st_ino), visit.path.to_vec())
        {
            links.insert((visit.stat.st_dev, visit.stat.st_ino), first.clone());
            entry.kind = EntryKind::HardLink;
            entry.link = first;
            entry.size = 0;
            entry.xattrs.clear();
        }
        if whiteouts == Whiteouts::Overlay {
            refuse_redirects(visit)?;
        }
        if entry.kind == EntryKind::File {
            writer.entry(&entry, &mut visit.open()?)?;
        } else {
            writer.entry(&entry, &mut io::empty())?;
        }
        if whiteouts == Whiteouts::Overlay && entry.kind == EntryKind::Directory && visit.is_opaque()? {
            let path = [visit.path, b"/.wh..wh..opq"].concat();
            writer.entry(&at_path(marker(visit, b""), path), &mut io::empty())?;
        }
        Ok(true)
    })?;
    writer.finish()
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

/// An empty file that stands for something removed.
fn marker(visit: &Visit<'_>, name: &[u8]) -> Entry {
    let parent = visit.path.len() - visit.name.len();
    let path = [&visit.path[..parent], name].concat();
    Entry {
        uid: visit.stat.st_uid,
        gid: visit.stat.st_gid,
        ..Entry::new(EntryKind::File, path, 0o600, 0, visit.stat.st_mtime)
    }
}

fn at_path(entry: Entry, path: Vec<u8>) -> Entry {
    Entry { path, ..entry }
}
