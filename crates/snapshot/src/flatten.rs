//! Layers as one ordinary tree: the directory that a container gets where no overlay is mounted.
//!
//! Invariants: what is made looks as the union does, with owners, modes, attributes, times, holes and hard links; it shares
//! blocks with the layers where the file system can (`FICLONE`) and no inode, so that nothing written to it reaches them.
use crate::apply::text;
use crate::error::Error;
use crate::tree::{Path, os};
use crate::union::{Node, Place, Union};
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use rustix::fs::{FileType, Gid, Mode, SeekFrom, Stat, Timespec, Timestamps, Uid};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Longest piece of a file that is copied by one call.
const MAX_PIECE: usize = 1 << 30;
/// Buffer where the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;

/// Where a layer's files come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onto {
    /// An empty directory.
    Empty,
    /// The tree of the layers below these.
    Lower,
}

/// Makes in `target` what the union shows. Mode and owner of `target` itself are left as they are.
pub(crate) fn flatten(union: &Union, target: Dir, onto: Onto) -> Result<(), Error> {
    let mut work = Work { union, onto, links: HashMap::new(), clones: true, buffer: Vec::new(), top: target };
    let top = work.top.try_clone().map_err(Error::errno("open", "."))?;
    work.directory(&union.top()?, &top)
}

struct Work<'a> {
    union: &'a Union,
    onto: Onto,
    /// First name of each file of a layer that has more than one.
    links: HashMap<(usize, u64), Path>,
    /// The file system has not yet refused to share blocks.
    clones: bool,
    buffer: Vec<u8>,
    top: Dir,
}

impl Work<'_> {
    fn directory(&mut self, place: &Place, target: &Dir) -> Result<(), Error> {
        for (name, node) in self.union.children(place)? {
            let os = os(&name);
            let path = place.path.child(&name);
            let fail = |action| fail(&path, action);
            let exists = self.onto == Onto::Lower && target.metadata(os).is_ok();
            let Some(node) = node else {
                if exists {
                    target.remove_tree(os).map_err(fail("remove"))?;
                }
                continue;
            };
            if !node.is_directory() {
                if exists {
                    target.remove_tree(os).map_err(fail("replace"))?;
                }
                self.leaf(&node, &path, target, os)?;
                continue;
            }
            let stays = exists && !node.closed && is_directory(target, os);
            if exists && !stays {
                target.remove_tree(os).map_err(fail("replace"))?;
            }
            if !stays {
                target.mkdir(os, 0o700).map_err(fail("make directory"))?;
            }
            let child = target.open_dir(os).map_err(fail("open"))?;
            self.directory(&node.place(place, &name), &child)?;
            if stays {
                clear_attributes(target, os).map_err(fail("remove attributes of"))?;
            }
            self.facts(&node, &path, target, os)?;
        }
        Ok(())
    }

    fn leaf(&mut self, node: &Node, path: &Path, target: &Dir, name: &OsStr) -> Result<(), Error> {
        let fail = |action| fail(path, action);
        let stat = &node.stat;
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(node.layer, stat.st_ino)) {
                return self.link(first, path, target, name);
            }
            self.links.insert((node.layer, stat.st_ino), path.clone());
        }
        match node.kind() {
            FileType::RegularFile => {
                let source = self.union.file(node.layer, path)?;
                let copy = target.create_new(name, 0o600).map_err(fail("create"))?;
                self.content(&source, &copy, stat).map_err(fail("copy"))?;
            }
            FileType::Symlink => {
                let dir = self.parent(node, path)?;
                let link = dir.read_link(name).map_err(fail("read link"))?;
                target.symlink(link, name).map_err(fail("make symbolic link"))?;
            }
            kind => target.mknod(name, kind, 0o600, stat.st_rdev).map_err(fail("make node"))?,
        }
        self.facts(node, path, target, name)
    }

    fn link(&self, first: &Path, path: &Path, target: &Dir, name: &OsStr) -> Result<(), Error> {
        let Some((parent, first)) = first.split() else { return Ok(()) };
        let mut from = self.top.try_clone().map_err(fail(path, "open"))?;
        for component in parent.components() {
            from = from.open_dir(os(component)).map_err(fail(path, "open"))?;
        }
        from.link(os(first), target, name).map_err(fail(path, "link"))
    }

    /// The directory of the layer that something lies in.
    fn parent(&self, node: &Node, path: &Path) -> Result<Dir, Error> {
        let parent = path.split().map_or_else(Path::default, |(parent, _)| parent);
        self.union.directory(node.layer, &parent)
    }

    fn content(&mut self, source: &File, copy: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        if len == 0 {
            return Ok(());
        }
        if self.clones {
            match rustix::fs::ioctl_ficlone(copy, source) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => {
                    self.clones = false;
                }
                Err(errno) => return Err(errno),
            }
        }
        let has_holes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < len;
        if !has_holes {
            return self.range(source, copy, 0, len);
        }
        rustix::fs::ftruncate(copy, len)?;
        let mut at = 0;
        while at < len {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => return self.range(source, copy, at, len),
                Err(errno) => return Err(errno),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(start))?.min(len);
            self.range(source, copy, start, end)?;
            at = end;
        }
        Ok(())
    }

    fn range(&mut self, source: &File, copy: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
        let (mut from, mut to) = (start, start);
        while from < end {
            let piece = usize::try_from(end - from).unwrap_or(MAX_PIECE).min(MAX_PIECE);
            match rustix::fs::copy_file_range(source, Some(&mut from), copy, Some(&mut to), piece) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.by_buffer(source, copy, from, end);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn by_buffer(&mut self, source: &File, copy: &OwnedFd, mut at: u64, end: u64) -> Result<(), Errno> {
        self.buffer.resize(BUFFER, 0);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let read = match rustix::io::pread(source, &mut self.buffer[..len], at) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let mut bytes = &self.buffer[..read];
            while !bytes.is_empty() {
                match rustix::io::pwrite(copy, bytes, at) {
                    Ok(written) => {
                        bytes = &bytes[written..];
                        at += written as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    /// Owner first, since a change of owner takes away set-user-id bits and capabilities; times last.
    fn facts(&self, node: &Node, path: &Path, target: &Dir, name: &OsStr) -> Result<(), Error> {
        let fail = |action| fail(path, action);
        let stat = &node.stat;
        target.chown(name, stat.st_uid, stat.st_gid).map_err(fail("change owner of"))?;
        if node.kind() != FileType::Symlink {
            target.chmod(name, stat.st_mode & 0o7777).map_err(fail("change mode of"))?;
        }
        let source = self.parent(node, path)?;
        copy_attributes(&source, target, name).map_err(fail("copy attributes of"))?;
        target.set_times(name, &times(stat)).map_err(fail("set times of"))
    }
}

fn is_directory(dir: &Dir, name: &OsStr) -> bool {
    dir.metadata(name).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn fail(path: &Path, action: &'static str) -> impl FnOnce(Errno) -> Error {
    let name = text(&path.joined());
    move |errno| Error::Apply { name, action, errno }
}

/// All but overlayfs's own, and the host's labels, which the policy gives.
fn is_copied(attribute: &[u8]) -> bool {
    !attribute.starts_with(b"trusted.overlay.") && attribute != b"security.selinux"
}

fn copy_attributes(source: &Dir, target: &Dir, name: &OsStr) -> Result<(), Errno> {
    for attribute in source.xattrs(name)?.iter().filter(|attribute| is_copied(attribute)) {
        let Some(value) = source.xattr(name, os(attribute))? else { continue };
        match target.set_xattr(name, os(attribute), &value) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Of a directory that another layer's takes the place of.
fn clear_attributes(dir: &Dir, name: &OsStr) -> Result<(), Errno> {
    for attribute in dir.xattrs(name)?.iter().filter(|attribute| is_copied(attribute)) {
        match dir.remove_xattr(name, os(attribute)) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let spec = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Mode and owner of a container's top directory.
pub(crate) fn set_top(dir: &Dir, mode: u32, uid: u32, gid: u32) -> Result<(), Errno> {
    rustix::fs::fchown(dir.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(dir.as_fd(), Mode::from_raw_mode(mode & 0o7777))
}
