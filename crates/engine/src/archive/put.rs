//! Into a container: a tar stream unpacked into an existing directory.
use super::tree::Tree;
use crate::error::{Error, Result};
use knarr_linux::Errno;
use knarr_linux::path::{Dir, Root};
use knarr_linux::user_namespace::with_file_ids;
use knarr_snapshot::decompress::Decompressor;
use knarr_snapshot::{Archive, Entry, EntryKind, Limits};
use rustix::fs::{FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

const BUFFER_BYTES: usize = 64 << 10;
/// Longest name in an archive, as the kernel's PATH_MAX.
const MAX_NAME_BYTES: usize = 4096;
/// Memory for the directories of one archive, whose attributes are set at the end: about a million.
const MAX_HELD_BYTES: usize = 512 << 20;
/// What one of them takes beside its names and attributes.
const DIRECTORY_BYTES: usize = 320;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user afterwards.
    pub owner: Option<(u32, u32)>,
}

type Source<R> = Archive<BufReader<Decompressor<R>>>;

/// Unpacks `source` (plain, gzip or zstd) into the directory.
pub(crate) fn extract<R: Read>(tree: &Tree, source: R, options: Options) -> Result<()> {
    let Some(ids) = &tree.ids else { return unpack(tree, source, options) };
    // Only ids of the user namespace can own what is made there.
    let root = ids.user_outside(0).zip(ids.group_outside(0));
    let (user, group) = root.ok_or_else(|| Error::Invalid("the container has no root".to_owned()))?;
    with_file_ids(user, group, || Ok(unpack(tree, source, options)))
        .map_err(|errno| Error::io("take the ids of the container's root")(errno.into()))?
}

fn unpack<R: Read>(tree: &Tree, source: R, options: Options) -> Result<()> {
    let directory = tree.root.open_dir(&tree.path).map_err(|errno| match errno {
        Errno::NOENT => Error::NotFound(format!("Could not find the file {} in container", tree.path)),
        Errno::NOTDIR => Error::Invalid("extraction point is not a directory".to_owned()),
        errno => Error::io(format!("open {} in the container", tree.path))(errno.into()),
    })?;
    drop(directory);
    let decompressor = Decompressor::new(source)?;
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER_BYTES, decompressor), Limits::default());
    let mut extraction = Extraction {
        tree,
        root: &tree.root,
        base: PathBuf::from(&tree.path),
        options,
        directories: Vec::new(),
        held: 0,
    };
    while let Some(entry) = archive.next_entry()? {
        extraction.entry(&entry, &mut archive)?;
    }
    archive.drain()?;
    extraction.finish()
}

struct Extraction<'a> {
    tree: &'a Tree,
    root: &'a Root,
    base: PathBuf,
    options: Options,
    /// Their attributes are set when nothing more is made in them.
    directories: Vec<(PathBuf, Entry)>,
    /// Bytes that these take.
    held: usize,
}

impl Extraction<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Source<R>) -> Result<()> {
        let Some(relative) = inside(&entry.path)? else { return Ok(()) };
        let path = self.base.join(&relative);
        let name = relative.file_name().map(OsStr::to_owned).unwrap_or_default();
        let shown = relative.display().to_string();
        let dir = self
            .root
            .mkdir_all(path.parent().unwrap_or(Path::new("/")), 0o755)
            .map_err(fail("make the directory of", &shown))?;
        if !self.make_room(&dir, &name, entry, &shown)? {
            self.finish_later(path, entry)?;
            return Ok(());
        }
        match entry.kind {
            EntryKind::Directory => {
                dir.mkdir(&name, 0o700).map_err(fail("make", &shown))?;
                self.finish_later(path, entry)?;
                return Ok(());
            }
            EntryKind::File => {
                let mut file = File::from(dir.create_new(&name, 0o600).map_err(fail("make", &shown))?);
                archive.write_file(entry, &mut file)?;
                file.set_len(entry.size).map_err(Error::io(format!("write {shown}")))?;
                return self.file_attributes(&file, entry, &shown);
            }
            EntryKind::HardLink => {
                let Some(target) = inside(&entry.link)? else {
                    return Err(Error::Invalid(format!("invalid hard link {shown}")));
                };
                let (from, old) =
                    self.root.parent(self.base.join(target)).map_err(fail("find the target of", &shown))?;
                return from.link(&old, &dir, &name).map_err(fail("link", &shown));
            }
            EntryKind::Symlink => {
                dir.symlink(OsStr::from_bytes(&entry.link), &name).map_err(fail("make", &shown))?;
            }
            EntryKind::CharDevice => self.node(&dir, &name, FileType::CharacterDevice, entry, &shown)?,
            EntryKind::BlockDevice => self.node(&dir, &name, FileType::BlockDevice, entry, &shown)?,
            EntryKind::Fifo => self.node(&dir, &name, FileType::Fifo, entry, &shown)?,
        }
        self.attributes(&dir, &name, entry, &shown)
    }

    fn finish_later(&mut self, path: PathBuf, entry: &Entry) -> Result<()> {
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.held += DIRECTORY_BYTES + path.as_os_str().len() + entry.path.len() + attributes;
        if self.held > MAX_HELD_BYTES {
            return Err(Error::Invalid(format!(
                "archive exceeds the limit of {MAX_HELD_BYTES} bytes of facts of directories"
            )));
        }
        self.directories.push((path, entry.clone()));
        Ok(())
    }

    fn node(&self, dir: &Dir, name: &OsStr, kind: FileType, entry: &Entry, shown: &str) -> Result<()> {
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        dir.mknod(name, kind, 0o600, device).map_err(fail("make", shown))
    }

    /// Takes away what is in the way. False: a directory is there already and stays.
    fn make_room(&self, dir: &Dir, name: &OsStr, entry: &Entry, shown: &str) -> Result<bool> {
        let existing = match dir.metadata(name) {
            Err(Errno::NOENT) => return Ok(true),
            found => found.map_err(fail("look at", shown))?,
        };
        let is_dir = FileType::from_raw_mode(existing.st_mode) == FileType::Directory;
        let wants_dir = entry.kind == EntryKind::Directory;
        if is_dir && wants_dir {
            return Ok(false);
        }
        if self.options.no_overwrite_dir_non_dir && is_dir != wants_dir {
            return Err(Error::Invalid(if is_dir {
                format!("cannot overwrite directory {shown:?} with non-directory {shown:?}")
            } else {
                format!("cannot overwrite non-directory {shown:?} with directory {shown:?}")
            }));
        }
        dir.remove_tree(name).map_err(fail("replace", shown))?;
        Ok(true)
    }

    fn attributes(&self, dir: &Dir, name: &OsStr, entry: &Entry, shown: &str) -> Result<()> {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let (uid, gid) = self.outside(uid, gid)?;
        dir.chown(name, uid, gid).map_err(fail("change the owner of", shown))?;
        if entry.kind != EntryKind::Symlink {
            dir.chmod(name, entry.mode & 0o7777).map_err(fail("change the mode of", shown))?;
        }
        for (attribute, value) in allowed(entry) {
            match dir.set_xattr(name, attribute, value) {
                Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                done => done.map_err(fail("set an attribute of", shown))?,
            }
        }
        dir.set_times(name, &times(entry)).map_err(fail("set the times of", shown))
    }

    /// By the descriptor: a process of the container that owns the directory could put a program of its own in the place of a
    /// name, and would have it with somebody else's owner and a set-user-id bit.
    fn file_attributes(&self, file: &File, entry: &Entry, shown: &str) -> Result<()> {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let (uid, gid) = self.outside(uid, gid)?;
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(fail("change the owner of", shown))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))
            .map_err(fail("change the mode of", shown))?;
        for (attribute, value) in allowed(entry) {
            match rustix::fs::fsetxattr(file, attribute, value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                done => done.map_err(fail("set an attribute of", shown))?,
            }
        }
        rustix::fs::futimens(file, &times(entry)).map_err(fail("set the times of", shown))
    }

    /// Ids of the container as the host knows them.
    fn outside(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let Some(ids) = &self.tree.ids else { return Ok((uid, gid)) };
        let pair = ids.user_outside(uid).zip(ids.group_outside(gid));
        pair.ok_or_else(|| Error::Invalid(format!("the container's user namespace has no ids {uid}:{gid}")))
    }

    /// Deepest first.
    fn finish(mut self) -> Result<()> {
        for (path, entry) in std::mem::take(&mut self.directories).into_iter().rev() {
            let shown = path.display().to_string();
            match self.root.parent(&path) {
                Ok((dir, name)) => self.attributes(&dir, &name, &entry, &shown)?,
                Err(errno) => return Err(fail("find", &shown)(errno)),
            }
        }
        Ok(())
    }
}

/// The entry's place below the directory; `None` for the directory itself. Nothing may lead up.
fn inside(path: &[u8]) -> Result<Option<PathBuf>> {
    if path.len() > MAX_NAME_BYTES {
        return Err(Error::Invalid(format!("archive entry has a name longer than {MAX_NAME_BYTES} bytes")));
    }
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                let shown = String::from_utf8_lossy(path);
                return Err(Error::Invalid(format!(
                    "archive entry {shown:?} leads outside of its directory"
                )));
            }
        }
    }
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}

/// An archive cannot speak to the overlay.
fn allowed(entry: &Entry) -> impl Iterator<Item = (&OsStr, &[u8])> {
    let all = entry.xattrs.iter().map(|(name, value)| (OsStr::from_bytes(name), value.as_slice()));
    all.filter(|(name, _)| !name.as_bytes().starts_with(b"trusted.overlay."))
}

fn times(entry: &Entry) -> Timestamps {
    let time = |(seconds, nanos): (i64, u32)| Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time(entry.atime.unwrap_or(entry.mtime)), last_modification: time(entry.mtime) }
}

fn fail(action: &'static str, shown: &str) -> impl FnOnce(Errno) -> Error {
    let shown = shown.to_owned();
    move |errno| Error::io(format!("{action} {shown}"))(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::pack;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn tree(dir: &Path, path: &str) -> Tree {
        Tree {
            root: Root::open(dir).unwrap(),
            path: path.to_owned(),
            ids: None,
            _namespace: None,
            _volumes: None,
        }
    }

    #[test]
    fn out_and_in_again() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(a.path().join("dir/sub")).unwrap();
        std::fs::write(a.path().join("dir/file"), "text").unwrap();
        std::fs::hard_link(a.path().join("dir/file"), a.path().join("dir/sub/hard")).unwrap();
        symlink("/etc/passwd", a.path().join("dir/link")).unwrap();
        let tar = pack(&tree(a.path(), "/dir"), "/dir", Vec::new()).unwrap();
        std::fs::create_dir(b.path().join("to")).unwrap();
        extract(&tree(b.path(), "/to"), tar.as_slice(), Options::default()).unwrap();
        let to = b.path().join("to/dir");
        assert_eq!(std::fs::read_to_string(to.join("sub/hard")).unwrap(), "text");
        assert_eq!(
            std::fs::metadata(to.join("file")).unwrap().ino(),
            std::fs::metadata(to.join("sub/hard")).unwrap().ino()
        );
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    }

    /// A link in the destination leads to where it would for the container's own processes, never to the host.
    #[test]
    fn links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let (a, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(a.path().join("x")).unwrap();
        std::fs::write(a.path().join("x/file"), "text").unwrap();
        let tar = pack(&tree(a.path(), "/x/"), "/x/.", Vec::new()).unwrap();
        symlink(outside.path(), root.path().join("escape")).unwrap();
        symlink("../../../../..", root.path().join("up")).unwrap();
        assert!(extract(&tree(root.path(), "/escape"), tar.as_slice(), Options::default()).is_err());
        extract(&tree(root.path(), "/up"), tar.as_slice(), Options::default()).unwrap();
        assert!(root.path().join("file").exists());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn entries_that_lead_up_are_refused_and_kinds_are_not_mixed() {
        assert!(inside(b"../x").is_err() && inside(b"a/../../x").is_err());
        assert!(inside(&b"x/".repeat(2048)).is_ok() && inside(&b"x/".repeat(2049)).is_err());
        assert_eq!(inside(b"./").unwrap(), None);
        assert_eq!(inside(b"/abs/x").unwrap().unwrap(), Path::new("abs/x"));
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(a.path().join("thing"), "").unwrap();
        std::fs::create_dir(b.path().join("thing")).unwrap();
        let tar = pack(&tree(a.path(), "/thing"), "/thing", Vec::new()).unwrap();
        let options = Options { no_overwrite_dir_non_dir: true, ..Options::default() };
        let error = extract(&tree(b.path(), "/"), tar.as_slice(), options).unwrap_err();
        assert!(error.to_string().starts_with("cannot overwrite directory"), "{error}");
        extract(&tree(b.path(), "/"), tar.as_slice(), Options::default()).unwrap();
        assert!(b.path().join("thing").is_file());
    }
}
