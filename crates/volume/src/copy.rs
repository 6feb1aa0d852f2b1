//! Copying a tree between directory descriptors, exactly: content, holes, owners, modes, times, attributes, hard links,
//! devices. Symbolic links are copied, never followed.
use knarr_linux::path::Dir;
use knarr_linux::{Errno, Result};
use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Deepest nesting that is copied.
const MAX_DEPTH: usize = 256;
/// Hard links that are remembered; further ones become copies.
const MAX_LINKS: usize = 1 << 20;
/// Directories that are kept open for them; files of further ones are not remembered.
const MAX_OPEN: usize = 4096;

struct Copy {
    /// First place of each file with several names.
    links: HashMap<(u64, u64), (Rc<Dir>, OsString)>,
    /// Directories that these are in.
    open: usize,
}

/// A directory that is being filled.
struct Target<'a> {
    dir: &'a Dir,
    /// The same, for whoever links to what is in it later.
    kept: Option<Rc<Dir>>,
}

/// Copies what is in `from`, and the attributes of `from` itself, to the empty directory `to`.
pub fn copy_tree(from: &Dir, to: &Dir) -> Result<()> {
    let mut copy = Copy { links: HashMap::new(), open: 0 };
    copy.children(from, to, 0)?;
    attributes_of_dir(from, to)
}

impl Copy {
    fn children(&mut self, from: &Dir, to: &Dir, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        let mut target = Target { dir: to, kept: None };
        for (name, _) in from.entries()? {
            self.entry(from, &mut target, &name, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Dir, target: &mut Target<'_>, name: &OsStr, depth: usize) -> Result<()> {
        let to = target.dir;
        let stat = from.metadata(name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = stat.st_nlink > 1 && kind != FileType::Directory;
        let key = (stat.st_dev, stat.st_ino);
        if several && let Some((dir, first)) = self.links.get(&key) {
            return dir.link(first, to, name);
        }
        match kind {
            FileType::Directory => {
                to.mkdir(name, 0o700)?;
                self.children(&from.open_dir(name)?, &to.open_dir(name)?, depth + 1)?;
            }
            FileType::RegularFile => copy_file(from, to, name)?,
            FileType::Symlink => to.symlink(from.read_link(name)?, name)?,
            other => to.mknod(name, other, stat.st_mode & 0o7777, stat.st_rdev)?,
        }
        attributes(from, to, name, &stat)?;
        if several
            && self.links.len() < MAX_LINKS
            && let Some(dir) = self.keep(target)?
        {
            self.links.insert(key, (dir, name.to_owned()));
        }
        Ok(())
    }

    /// One descriptor for all links into a directory.
    fn keep(&mut self, target: &mut Target<'_>) -> Result<Option<Rc<Dir>>> {
        if target.kept.is_none() && self.open < MAX_OPEN {
            target.kept = Some(Rc::new(target.dir.try_clone()?));
            self.open += 1;
        }
        Ok(target.kept.clone())
    }
}

fn copy_file(from: &Dir, to: &Dir, name: &OsStr) -> Result<()> {
    let source = from.open_with(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let target = to.create_new(name, 0o600)?;
    // `io::copy` uses copy_file_range(2), which shares blocks where the file system can.
    io::copy(&mut File::from(source), &mut File::from(target)).map_err(errno)?;
    Ok(())
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Owner before mode (chown clears set-user-id), both before attributes, times last.
fn attributes(from: &Dir, to: &Dir, name: &OsStr, stat: &Stat) -> Result<()> {
    to.chown(name, stat.st_uid, stat.st_gid)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        to.chmod(name, stat.st_mode & 0o7777)?;
    }
    for attribute in from.xattrs(name)? {
        let attribute = OsStr::from_bytes(&attribute);
        if attribute.as_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = from.xattr(name, attribute)? {
            match to.set_xattr(name, attribute, &value) {
                Err(Errno::OPNOTSUPP) => {}
                done => done?,
            }
        }
    }
    to.set_times(name, &times(stat))
}

/// Longest list of names and longest value of attributes that the kernel has.
const MAX_XATTR: usize = 65536;

fn attributes_of_dir(from: &Dir, to: &Dir) -> Result<()> {
    let stat = from.self_metadata()?;
    rustix::fs::fchown(to.as_fd(), Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to.as_fd(), Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0; MAX_XATTR];
    let length = match rustix::fs::flistxattr(from.as_fd(), &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let (name, mut value) = (OsStr::from_bytes(name), vec![0; MAX_XATTR]);
        let length = match rustix::fs::fgetxattr(from.as_fd(), name, &mut value[..]) {
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        match rustix::fs::fsetxattr(to.as_fd(), name, &value[..length], XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {}
            done => done?,
        }
    }
    rustix::fs::futimens(to.as_fd(), &times(&stat))
}

fn times(stat: &Stat) -> Timestamps {
    let nanos = |n: u64| i64::try_from(n).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    }
}
