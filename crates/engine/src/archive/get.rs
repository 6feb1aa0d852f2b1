//! Out of a container: stat, and a tree as a tar stream.
use super::tree::Tree;
use crate::error::{Error, Result};
use knarr_docker_types::container::{PathStat, file_mode};
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use knarr_linux::user_namespace::IdMaps;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Deepest nesting that is packed.
const MAX_DEPTH: usize = 512;

/// What a path names: an object in a directory, or a directory itself (`/`, `/dir/`, `/dir/.`).
enum Target {
    Named { dir: Dir, name: OsString },
    Inside(Dir),
}

impl Target {
    fn open(tree: &Tree, asked: &str) -> Result<Self> {
        let path = tree.path.as_str();
        let fail = |errno| not_found(asked, errno);
        if path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") {
            return tree.root.open_dir(path).map(Self::Inside).map_err(fail);
        }
        let (dir, name) = tree.root.parent(path).map_err(fail)?;
        Ok(Self::Named { dir, name })
    }

    fn stat(&self) -> Result<Stat, Errno> {
        match self {
            Self::Named { dir, name } => dir.metadata(name),
            Self::Inside(dir) => dir.self_metadata(),
        }
    }
}

fn not_found(asked: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => Error::NotFound(format!("Could not find the file {asked} in container")),
        Errno::NOTDIR => Error::Invalid("not a directory".to_owned()),
        errno => Error::io(format!("open {asked} in the container"))(errno.into()),
    }
}

/// The facts of a path, as Docker's header has them.
pub(crate) fn stat(tree: &Tree, asked: &str) -> Result<PathStat> {
    let target = Target::open(tree, asked)?;
    let stat = target.stat().map_err(|errno| not_found(asked, errno))?;
    let link_target = match &target {
        Target::Named { dir, name } if kind(&stat) == FileType::Symlink => {
            let text = dir.read_link(name).map_err(|errno| not_found(asked, errno))?;
            absolute_target(&tree.path, &text)
        }
        _ => String::new(),
    };
    Ok(PathStat {
        name: base_name(asked),
        size: stat.st_size,
        mode: file_mode::from_unix(stat.st_mode),
        mtime: crate::record::Time(
            stat.st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        )
        .rfc3339(),
        link_target,
    })
}

/// Where a link leads, as a path in the container.
fn absolute_target(path: &str, text: &OsStr) -> String {
    let text = text.to_string_lossy();
    if text.starts_with('/') {
        return crate::create::mounts::clean_path(&text);
    }
    let dir = Path::new(path).parent().unwrap_or(Path::new("/")).to_string_lossy();
    crate::create::mounts::clean_path(&format!("{dir}/{text}"))
}

/// Go's `filepath.Base`.
fn base_name(path: &str) -> String {
    if path.ends_with("/.") || path == "." {
        return ".".to_owned();
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Who owns what belongs to nobody in the container (proc(5), overflowuid).
const NOBODY: u32 = 65534;

struct Packer<'a, W: Write> {
    writer: TarWriter<W>,
    /// What is seen are the host's ids; what is written are the container's.
    ids: Option<&'a IdMaps>,
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// Writes what `asked` names; the top entry has its base name.
pub(crate) fn pack<W: Write>(tree: &Tree, asked: &str, sink: W) -> Result<W> {
    let target = Target::open(tree, asked)?;
    let stat = target.stat().map_err(|errno| not_found(asked, errno))?;
    let base = match base_name(asked).as_str() {
        "/" => ".".to_owned(),
        name => name.to_owned(),
    };
    let mut packer = Packer { writer: TarWriter::new(sink), ids: tree.ids.as_ref(), links: HashMap::new() };
    match &target {
        Target::Inside(dir) => packer.directory(dir, &stat, base.as_bytes(), 0)?,
        Target::Named { dir, name } => packer.object(dir, name, &stat, base.as_bytes(), 0)?,
    }
    Ok(packer.writer.finish()?)
}

impl<W: Write> Packer<'_, W> {
    fn object(&mut self, dir: &Dir, name: &OsStr, stat: &Stat, path: &[u8], depth: usize) -> Result<()> {
        let entry_kind = match kind(stat) {
            FileType::Directory => {
                let Some(inside) = gone(dir.open_dir(name), path)? else { return Ok(()) };
                let stat = inside.self_metadata().map_err(fail("look at", path))?;
                return self.directory(&inside, &stat, path, depth);
            }
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            // A socket means nothing elsewhere.
            _ => return Ok(()),
        };
        let mut entry = facts(entry_kind, path, stat);
        if stat.st_nlink > 1 && entry_kind != EntryKind::Symlink {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                return self.write(&entry, None);
            }
            self.links.insert(key, path.to_vec());
        }
        entry.xattrs = attributes(dir, name);
        match entry_kind {
            EntryKind::Symlink => {
                let Some(text) = gone(dir.read_link(name), path)? else { return Ok(()) };
                entry.link = text.as_bytes().to_vec();
                self.write(&entry, None)
            }
            EntryKind::File => {
                let opened =
                    dir.open_with(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
                let Some(fd) = gone(opened, path)? else { return Ok(()) };
                // It may be another object by now.
                let stat = rustix::fs::fstat(&fd).map_err(fail("look at", path))?;
                if kind(&stat) != FileType::RegularFile {
                    return Ok(());
                }
                entry.size = u64::try_from(stat.st_size).unwrap_or(0);
                self.write(&entry, Some(File::from(fd)))
            }
            _ => {
                entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                self.write(&entry, None)
            }
        }
    }

    fn directory(&mut self, dir: &Dir, stat: &Stat, path: &[u8], depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(fail("enter", path)(Errno::NAMETOOLONG));
        }
        let entry = facts(EntryKind::Directory, path, stat);
        self.write(&entry, None)?;
        let mut names: Vec<OsString> =
            dir.entries().map_err(fail("list", path))?.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        for name in names {
            let Some(stat) = gone(dir.metadata(&name), path)? else { continue };
            let below = [path, b"/", name.as_bytes()].concat();
            self.object(dir, &name, &stat, &below, depth + 1)?;
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry, data: Option<File>) -> Result<()> {
        let mapped = self.ids.map(|ids| {
            let mut entry = entry.clone();
            entry.uid = ids.user_inside(entry.uid).unwrap_or(NOBODY);
            entry.gid = ids.group_inside(entry.gid).unwrap_or(NOBODY);
            entry
        });
        let entry = mapped.as_ref().unwrap_or(entry);
        match data {
            Some(mut file) => self.writer.entry(entry, &mut file)?,
            None => self.writer.entry(entry, &mut std::io::empty())?,
        }
        Ok(())
    }
}

fn facts(kind: EntryKind, path: &[u8], stat: &Stat) -> Entry {
    let size = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    let mut path = path.to_vec();
    if kind == EntryKind::Directory {
        path.push(b'/');
    }
    let mut entry = Entry::new(kind, path, stat.st_mode & 0o7777, size, stat.st_mtime);
    (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
    entry
}

/// Capabilities of programs travel; other attributes do not, as with Docker.
fn attributes(dir: &Dir, name: &OsStr) -> Vec<(Vec<u8>, Vec<u8>)> {
    const CAPABILITY: &str = "security.capability";
    match dir.xattr(name, CAPABILITY) {
        Ok(Some(value)) => vec![(CAPABILITY.as_bytes().to_vec(), value)],
        _ => Vec::new(),
    }
}

/// What vanished while a running container worked is left out.
fn gone<T>(result: Result<T, Errno>, path: &[u8]) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(fail("open", path)(errno)),
    }
}

fn fail(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    let path = String::from_utf8_lossy(path).into_owned();
    move |errno| Error::io(format!("{action} {path} in the container"))(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names_are_those_of_go() {
        for (path, base) in [("/", "/"), ("/a", "a"), ("/a/", "a"), ("/a/.", "."), ("a/b", "b"), ("//", "/")]
        {
            assert_eq!(base_name(path), base, "{path}");
        }
        assert_eq!(absolute_target("/usr/bin/x", OsStr::new("../lib/y")), "/usr/lib/y");
        assert_eq!(absolute_target("/a/x", OsStr::new("../../../../etc")), "/etc");
    }
}
