//! Unpacking a layer: tar stream to directory.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/layer.md>; whiteouts become what overlayfs takes for
//! them (<https://docs.kernel.org/filesystems/overlayfs.html>). Invariants: every name is one component below a directory
//! that this code opened itself, and no symbolic link is ever followed; a layer needs nothing below it. Directories get
//! owner, mode, attributes and times last, when nothing more is made in them.
use crate::archive::{Archive, Limits};
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
use crate::hidden::Hidden;
use crate::pipeline::{self, Chunks};
use crate::tree::{Path, Tree};
use crate::walk::is_whiteout;
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use knarr_oci::digest::Digest;
use rustix::fs::{FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Attribute by which overlayfs hides what lies below a directory.
pub const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Attributes that overlayfs reads: an archive cannot set them.
const OVERLAY_XATTR_PREFIX: &[u8] = b"trusted.overlay.";

/// How whiteouts in the archive are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// The archive is a layer; what it hides becomes overlayfs's marks in the tree.
    Overlay,
    /// The archive is a layer; what it hides is listed beside the tree.
    Listed,
    /// The archive is a whole tree; names that look like whiteouts are files.
    Literal,
}

/// What unpacking a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Digest of the uncompressed stream.
    pub diff_id: Digest,
    /// Bytes of the stream, uncompressed.
    pub stream_len: u64,
    /// Bytes of all regular files.
    pub size: u64,
    pub entries: u64,
    /// With [`Whiteouts::Listed`].
    pub hidden: Hidden,
}

/// Unpacks a tar stream (plain, gzip or zstd) into an empty directory.
pub fn apply<R: Read + Send>(
    source: R,
    dir: Dir,
    whiteouts: Whiteouts,
    limits: Limits,
) -> Result<Applied, Error> {
    let unpack = |chunks: Chunks| {
        let mut archive = Archive::new(chunks, limits);
        let mut unpacker = Unpacker {
            tree: Tree::new(dir),
            directories: BTreeMap::new(),
            whiteouts,
            limits,
            size: 0,
            held: 0,
            hidden: Hidden::default(),
        };
        let mut entries = 0;
        while let Some(entry) = archive.next_entry()? {
            unpacker.entry(&entry, &mut archive)?;
            entries += 1;
        }
        archive.drain()?;
        unpacker.finish()?;
        Ok((archive.offset(), unpacker.size, entries, unpacker.hidden))
    };
    let ((stream_len, size, entries, hidden), diff_id) = pipeline::run(source, unpack)?;
    Ok(Applied { diff_id, stream_len, size, entries, hidden })
}

/// Memory for names and attributes of a layer's directories, which are kept to the end: about a million directories.
const MAX_HELD: u64 = 512 << 20;
/// What one directory takes beside its names and attributes.
const DIRECTORY_LEN: u64 = 320;

/// Attributes of a directory, set at the end.
struct DirectoryFacts {
    entry: Entry,
}

struct Unpacker {
    tree: Tree,
    directories: BTreeMap<Path, Option<DirectoryFacts>>,
    whiteouts: Whiteouts,
    limits: Limits,
    size: u64,
    /// Bytes that `directories` and `hidden` take.
    held: u64,
    /// With [`Whiteouts::Listed`].
    hidden: Hidden,
}

type Source = Archive<Chunks>;

impl Unpacker {
    fn entry(&mut self, entry: &Entry, archive: &mut Source) -> Result<(), Error> {
        let path = Path::parse(&entry.path).map_err(|reason| problem(&entry.path, reason))?;
        let Some((parent, name)) = path.split() else {
            // The root of the layer itself.
            if entry.kind != EntryKind::Directory {
                return Err(problem(&entry.path, "the root of a layer is a directory"));
            }
            return self.finish_later(path, entry);
        };
        if self.whiteouts != Whiteouts::Literal
            && let Some(above) = parent.components().find(|name| name.starts_with(WHITEOUT_PREFIX))
        {
            // A directory of such a name would be a whiteout for the next reader of the tree.
            return match above.starts_with(WHITEOUT_META_PREFIX) && above != OPAQUE_MARKER {
                true => Ok(()), // bookkeeping of a union filesystem of old
                false => Err(problem(&entry.path, "name goes through a whiteout")),
            };
        }
        if self.whiteouts != Whiteouts::Literal && name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&parent, name, &entry.path);
        }
        self.parent(&parent, &entry.path)?;
        match entry.kind {
            EntryKind::Directory => self.directory(entry, path.clone(), name),
            EntryKind::File => self.file(entry, &path, name, archive),
            EntryKind::HardLink => self.hard_link(entry, &path, &parent, name),
            EntryKind::Symlink | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                self.special(entry, &path, name)
            }
        }
    }

    /// Goes into the parent; what is missing of it is made, mode 0755, owner root.
    fn parent(&mut self, parent: &Path, entry: &[u8]) -> Result<(), Error> {
        let made = self.tree.enter(parent).map_err(|e| e.into_error(entry))?;
        for path in made {
            self.hidden.directory_made(&path);
            self.hold(&path, 0)?;
            self.directories.entry(path).or_insert(None);
        }
        Ok(())
    }

    /// Counts what a directory or a hidden name takes in memory until the end.
    fn hold(&mut self, path: &Path, more: u64) -> Result<(), Error> {
        self.held += DIRECTORY_LEN + path.memory() + more;
        if self.held > MAX_HELD {
            return Err(Error::Limit { what: "bytes of facts of directories", limit: MAX_HELD });
        }
        Ok(())
    }

    /// Repeats `make` after the way was cleared, if something of that name is in it.
    fn replacing<T>(
        &mut self,
        path: &Path,
        name: &[u8],
        make: impl Fn(&Dir, &std::ffi::OsStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let os = crate::tree::os(name);
        self.hidden.replaced(path);
        match make(self.tree.current(), os) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
        self.forget(path);
        self.tree.current().remove_tree(os)?;
        make(self.tree.current(), os)
    }

    /// A tree that is about to go: nothing of it is to be finished later.
    fn forget(&mut self, path: &Path) {
        let below: Vec<Path> = self
            .directories
            .range(path.clone()..)
            .map(|(p, _)| p.clone())
            .take_while(|p| p.is_within(path))
            .collect();
        for path in below {
            self.directories.remove(&path);
        }
    }

    fn directory(&mut self, entry: &Entry, path: Path, name: &[u8]) -> Result<(), Error> {
        let os = crate::tree::os(name);
        let fail = |action| move |errno| Error::Apply { name: text(&entry.path), action, errno };
        match self.tree.current().mkdir(os, 0o700) {
            Ok(()) => self.hidden.directory_made(&path),
            Err(Errno::EXIST) => {
                let stat = self.tree.current().metadata(os).map_err(fail("stat"))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    let was_whiteout = is_whiteout(&stat);
                    self.tree.current().unlink(os).map_err(fail("replace"))?;
                    self.tree.current().mkdir(os, 0o700).map_err(fail("make directory"))?;
                    if was_whiteout && self.whiteouts == Whiteouts::Overlay {
                        set_opaque(self.tree.current(), name).map_err(fail("make opaque"))?;
                    }
                }
            }
            Err(errno) => return Err(fail("make directory")(errno)),
        }
        self.finish_later(path, entry)
    }

    /// A directory's attributes are set when nothing is put into it any more; until then they are in memory.
    fn finish_later(&mut self, path: Path, entry: &Entry) -> Result<(), Error> {
        let attributes = entry.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64);
        self.hold(&path, attributes.sum::<u64>() + entry.path.len() as u64)?;
        self.directories.insert(path, Some(DirectoryFacts { entry: entry.clone() }));
        Ok(())
    }

    fn file(&mut self, entry: &Entry, path: &Path, name: &[u8], archive: &mut Source) -> Result<(), Error> {
        let fail = |action| move |errno| Error::Apply { name: text(&entry.path), action, errno };
        let fd =
            self.replacing(path, name, |dir, os| dir.create_new(os, 0o600)).map_err(fail("create file"))?;
        self.size = self.size.saturating_add(entry.size);
        if self.size > self.limits.bytes {
            return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
        }
        match &entry.sparse {
            None => write_data(fd.as_fd(), archive, u64::MAX, None, &entry.path)?,
            Some(map) => {
                rustix::fs::ftruncate(&fd, entry.size).map_err(fail("set size"))?;
                for (offset, len) in map {
                    write_data(fd.as_fd(), archive, *len, Some(*offset), &entry.path)?;
                }
            }
        }
        set_facts(fd.as_fd(), entry, false).map_err(|(action, errno)| fail(action)(errno))
    }

    fn hard_link(&mut self, entry: &Entry, path: &Path, parent: &Path, name: &[u8]) -> Result<(), Error> {
        let target = Path::parse(&entry.link).map_err(|reason| problem(&entry.path, reason))?;
        let Some((target_parent, target_name)) = target.split() else {
            return Err(problem(&entry.path, "hard link to the root"));
        };
        if target == *path {
            return Err(problem(&entry.path, "hard link to itself"));
        }
        let from = self.tree.open(&target_parent).map_err(|e| match e.errno {
            Errno::NOENT => problem(&entry.path, "hard link to a file that is not in the archive before it"),
            _ => e.into_error(&entry.path),
        })?;
        self.tree.enter(parent).map_err(|e| e.into_error(&entry.path))?;
        let target_os = crate::tree::os(target_name);
        match from.metadata(target_os) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(problem(&entry.path, "hard link to a directory"));
            }
            Ok(stat) if self.whiteouts == Whiteouts::Overlay && is_whiteout(&stat) => {
                return Err(problem(&entry.path, "hard link to a whiteout"));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                return Err(problem(&entry.path, "hard link to a file that is not in the archive before it"));
            }
            Err(errno) => {
                return Err(Error::Apply { name: text(&entry.path), action: "stat link target", errno });
            }
        }
        self.replacing(path, name, |dir, os| from.link(target_os, dir, os)).map_err(|errno| Error::Apply {
            name: text(&entry.path),
            action: "hard link",
            errno,
        })
    }

    fn special(&mut self, entry: &Entry, path: &Path, name: &[u8]) -> Result<(), Error> {
        let fail = |action| move |errno| Error::Apply { name: text(&entry.path), action, errno };
        if entry.kind == EntryKind::Symlink {
            if entry.link.is_empty() {
                return Err(problem(&entry.path, "symbolic link without a target"));
            }
            let target = crate::tree::os(&entry.link);
            self.replacing(path, name, |dir, os| dir.symlink(target, os))
                .map_err(fail("make symbolic link"))?;
        } else {
            let (kind, device) = match entry.kind {
                EntryKind::CharDevice => (FileType::CharacterDevice, entry.device),
                EntryKind::BlockDevice => (FileType::BlockDevice, entry.device),
                _ => (FileType::Fifo, (0, 0)),
            };
            let device = rustix::fs::makedev(device.0, device.1);
            self.replacing(path, name, |dir, os| dir.mknod(os, kind, 0o600, device))
                .map_err(fail("make node"))?;
        }
        let os = crate::tree::os(name);
        let dir = self.tree.current();
        dir.chown(os, entry.uid, entry.gid).map_err(fail("change owner of"))?;
        if entry.kind != EntryKind::Symlink {
            dir.chmod(os, entry.mode).map_err(fail("change mode of"))?;
        }
        for (attribute, value) in allowed_xattrs(entry) {
            match dir.set_xattr(os, crate::tree::os(attribute), value) {
                // `user.*` is for files and directories only; other systems' archives may say otherwise.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(errno) => return Err(fail("set attribute of")(errno)),
            }
        }
        dir.set_times(os, &times(entry)).map_err(fail("set times of"))
    }

    fn whiteout(&mut self, parent: &Path, name: &[u8], entry: &[u8]) -> Result<(), Error> {
        let fail = |action| move |errno| Error::Apply { name: text(entry), action, errno };
        if name == OPAQUE_MARKER {
            self.parent(parent, entry)?;
            if self.whiteouts == Whiteouts::Listed {
                self.hold(parent, 0)?;
                self.hidden.make_opaque(parent.clone());
                return Ok(());
            }
            return rustix::fs::fsetxattr(self.tree.current(), OPAQUE_XATTR, b"y", XattrFlags::empty())
                .map_err(fail("make opaque"));
        }
        if name.starts_with(WHITEOUT_META_PREFIX) {
            return Ok(()); // bookkeeping of a union filesystem of old
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(problem(entry, "whiteout without a name"));
        }
        self.parent(parent, entry)?;
        let os = crate::tree::os(hidden);
        if self.whiteouts == Whiteouts::Listed {
            let path = parent.child(hidden);
            // A list takes no inode of the disk for each name, so that nothing else bounds it.
            self.hold(&path, 0)?;
            match self.tree.current().metadata(os) {
                Err(Errno::NOENT) => self.hidden.hide(path),
                Err(errno) => return Err(fail("stat")(errno)),
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.hidden.make_opaque(path);
                }
                Ok(_) => {}
            }
            return Ok(());
        }
        match self.tree.current().mknod(os, FileType::CharacterDevice, 0, 0) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                // A whiteout hides what lies below the layer, never what is in it.
                let stat = self.tree.current().metadata(os).map_err(fail("stat"))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    set_opaque(self.tree.current(), hidden).map_err(fail("make opaque"))?;
                }
                Ok(())
            }
            Err(errno) => Err(fail("make whiteout")(errno)),
        }
    }

    /// Owner, mode, attributes and times of directories, deepest first.
    fn finish(&mut self) -> Result<(), Error> {
        for (path, facts) in std::mem::take(&mut self.directories).into_iter().rev() {
            let shown = path.display();
            let fail = |action| move |errno| Error::Apply { name: shown.clone(), action, errno };
            let dir = self.tree.open(&path).map_err(|e| e.into_error(path.display().as_bytes()))?;
            let set = match &facts {
                Some(facts) => set_facts(dir.as_fd(), &facts.entry, true),
                None => {
                    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(|e| ("change mode of", e))
                }
            };
            set.map_err(|(action, errno)| fail(action)(errno))?;
        }
        Ok(())
    }
}

fn write_data(
    fd: BorrowedFd<'_>,
    archive: &mut Source,
    mut len: u64,
    mut at: Option<u64>,
    name: &[u8],
) -> Result<(), Error> {
    while len > 0 {
        let bytes = archive.fill()?;
        if bytes.is_empty() {
            break;
        }
        let bytes = &bytes[..bytes.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
        let written = match at {
            None => rustix::io::write(fd, bytes),
            Some(offset) => rustix::io::pwrite(fd, bytes, offset),
        };
        let written = match written {
            Ok(written) => written,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::Apply { name: text(name), action: "write", errno }),
        };
        archive.consume(written);
        len -= written as u64;
        at = at.map(|offset| offset + written as u64);
    }
    Ok(())
}

/// Owner first, since a change of owner takes away set-user-id bits and capabilities; times last.
fn set_facts(fd: BorrowedFd<'_>, entry: &Entry, existing: bool) -> Result<(), (&'static str, Errno)> {
    // What this code makes belongs to root already: directories on the way have no set-group-id bit yet.
    if existing || entry.uid != 0 || entry.gid != 0 {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|e| ("change owner of", e))?;
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(|e| ("change mode of", e))?;
    for (attribute, value) in allowed_xattrs(entry) {
        match rustix::fs::fsetxattr(fd, crate::tree::os(attribute), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(("set attribute of", errno)),
        }
    }
    rustix::fs::futimens(fd, &times(entry)).map_err(|e| ("set times of", e))
}

fn allowed_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    all.filter(|(name, _)| !name.starts_with(OVERLAY_XATTR_PREFIX))
}

fn times(entry: &Entry) -> Timestamps {
    let spec = |(seconds, nanos): (i64, u32)| Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: spec(entry.atime.unwrap_or(entry.mtime)), last_modification: spec(entry.mtime) }
}

fn set_opaque(dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    dir.set_xattr(crate::tree::os(name), OPAQUE_XATTR, b"y")
}

pub(crate) fn text(name: &[u8]) -> String {
    const MAX_SHOWN: usize = 256;
    String::from_utf8_lossy(&name[..name.len().min(MAX_SHOWN)]).into_owned()
}

pub(crate) fn problem(name: &[u8], reason: &'static str) -> Error {
    Error::Entry { name: text(name), reason }
}
