//! Walking a directory tree by descriptors, in one order everywhere: a directory, then its members by name.
//!
//! Invariant: no symbolic link is followed; another filesystem mounted in the tree is not entered.
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
use crate::tree::os;
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use rustix::fs::{FileType, OFlags, Stat};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Names and values of extended attributes.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Deepest directory: each level keeps a descriptor open.
pub(crate) const MAX_DEPTH: usize = 400;

/// One object on the way.
pub(crate) struct Visit<'a> {
    /// Its directory, open.
    pub dir: &'a Dir,
    pub name: &'a [u8],
    /// Path from the top of the walk.
    pub path: &'a [u8],
    pub stat: &'a Stat,
}

impl Visit<'_> {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
    /// What overlayfs takes for a removed name.
    pub(crate) fn is_whiteout(&self) -> bool {
        is_whiteout(self.stat)
    }
    pub(crate) fn fail(&self, action: &'static str) -> impl FnOnce(Errno) -> Error + use<> {
        let name = crate::apply::text(self.path);
        move |errno| Error::Apply { name, action, errno }
    }
    pub(crate) fn xattr(&self, attribute: &str) -> Result<Option<Vec<u8>>, Error> {
        self.dir.xattr(os(self.name), attribute).map_err(self.fail("read attribute of"))
    }
    pub(crate) fn is_opaque(&self) -> Result<bool, Error> {
        Ok(self.xattr(crate::apply::OPAQUE_XATTR)?.as_deref() == Some(b"y"))
    }
    /// The object's facts as an archive entry; none for a socket, which archives do not know.
    pub(crate) fn entry(&self) -> Result<Option<Entry>, Error> {
        let kind = match self.kind() {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(None),
        };
        let link = match kind {
            EntryKind::Symlink => {
                self.dir.read_link(os(self.name)).map_err(self.fail("read link"))?.as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        let stat = self.stat;
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = if is_device {
            (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
        } else {
            (0, 0)
        };
        Ok(Some(Entry {
            kind,
            path: self.path.to_vec(),
            link,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, 0),
            atime: None,
            size: if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            device,
            xattrs: self.xattrs()?,
            sparse: None,
        }))
    }

    /// Attributes that belong into an archive, sorted: none of overlayfs's own, none of the host's labels.
    pub(crate) fn xattrs(&self) -> Result<Xattrs, Error> {
        let mut names = self.dir.xattrs(os(self.name)).map_err(self.fail("list attributes of"))?;
        names.retain(|n| !n.starts_with(b"trusted.") && n.as_slice() != b"security.selinux");
        names.sort();
        let mut list = Vec::new();
        for name in names {
            if let Some(value) =
                self.dir.xattr(os(self.name), os(&name)).map_err(self.fail("read attribute of"))?
            {
                list.push((name, value));
            }
        }
        Ok(list)
    }

    /// Opens a regular file for reading; never anything else that may have taken its place.
    pub(crate) fn open(&self) -> Result<std::fs::File, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd =
            self.dir.open_with(os(self.name), flags, rustix::fs::Mode::empty()).map_err(self.fail("open"))?;
        let stat = rustix::fs::fstat(&fd).map_err(self.fail("stat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.fail("open")(Errno::INVAL));
        }
        Ok(fd.into())
    }
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Visits all below `top`; `visit` says whether a directory is to be entered.
pub(crate) fn walk(top: &Dir, visit: &mut dyn FnMut(&Visit<'_>) -> Result<bool, Error>) -> Result<(), Error> {
    let device = top.self_metadata().map_err(Error::errno("stat", "/"))?.st_dev;
    let mut path = Vec::new();
    below(top, &mut path, device, 0, visit)
}

fn below(
    dir: &Dir,
    path: &mut Vec<u8>,
    device: u64,
    depth: usize,
    visit: &mut dyn FnMut(&Visit<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(crate::apply::problem(path, "directories are nested too deep"));
    }
    let shown = crate::apply::text(path);
    let mut entries: Vec<(OsString, FileType)> =
        dir.entries().map_err(|errno| Error::Apply { name: shown, action: "read directory", errno })?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, _) in entries {
        let len = path.len();
        if len > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let stat = match dir.metadata(&name) {
            Ok(stat) => stat,
            // Gone meanwhile: the tree may be in use.
            Err(Errno::NOENT) => {
                path.truncate(len);
                continue;
            }
            Err(errno) => {
                return Err(Error::Apply { name: crate::apply::text(path), action: "stat", errno });
            }
        };
        let here = Visit { dir, name: name.as_bytes(), path, stat: &stat };
        let enter = visit(&here)?;
        if enter && FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_dev == device {
            match dir.open_dir(&name) {
                Ok(child) => below(&child, path, device, depth + 1, visit)?,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => {
                    return Err(Error::Apply { name: crate::apply::text(path), action: "open", errno });
                }
            }
        }
        path.truncate(len);
    }
    Ok(())
}

/// Bytes of all regular files in a tree, each counted once: what `docker ps -s` shows of a container's own layer.
pub fn tree_size(top: &Dir) -> Result<u64, Error> {
    let mut size = 0u64;
    let mut seen = std::collections::HashSet::new();
    walk(top, &mut |visit| {
        let first = visit.stat.st_nlink <= 1 || seen.insert(visit.stat.st_ino);
        if visit.kind() == FileType::RegularFile && first {
            size = size.saturating_add(u64::try_from(visit.stat.st_size).unwrap_or(0));
        }
        Ok(true)
    })?;
    Ok(size)
}
