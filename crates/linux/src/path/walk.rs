//! Making directories one component at a time: every step is relative to a descriptor, and none follows a link unseen.
use super::{MAX_LINKS, Resolve};
use crate::{Errno, Result};
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What is still to be walked.
enum Part {
    Root,
    Up,
    Name(Vec<u8>),
}

/// Opened directories from the root down; `..` takes one off, so it never leaves the root.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    stack: Vec<OwnedFd>,
    left: VecDeque<Part>,
    links: usize,
}

/// How often a component that vanishes between making and opening is made again.
const MAX_RACES: usize = 64;

/// Mode of directories that are made on the way to a file.
const PARENT_MODE: u32 = 0o755;

pub(super) fn mkdir_all(root: BorrowedFd<'_>, path: &Path, mode: Mode, resolve: Resolve) -> Result<OwnedFd> {
    let mut walk = Walk { root, stack: Vec::new(), left: VecDeque::new(), links: 0 };
    walk.push_front(path);
    while let Some(part) = walk.left.pop_front() {
        walk.step(part, mode, resolve)?;
    }
    match walk.stack.pop() {
        Some(fd) => Ok(fd),
        None => rustix::io::fcntl_dupfd_cloexec(root, 3),
    }
}

/// The last component is made as an empty file, unless something is there.
pub(super) fn make_file(root: BorrowedFd<'_>, path: &Path, mode: u32, resolve: Resolve) -> Result<OwnedFd> {
    let mut walk = Walk { root, stack: Vec::new(), left: VecDeque::new(), links: 0 };
    walk.push_front(path);
    while let Some(part) = walk.left.pop_front() {
        let Part::Name(name) = part else {
            walk.step(part, Mode::from_raw_mode(PARENT_MODE), resolve)?;
            continue;
        };
        if !walk.left.is_empty() {
            walk.enter(&name, Mode::from_raw_mode(PARENT_MODE), resolve)?;
            continue;
        }
        if let Some(fd) = walk.file(&name, mode, resolve)? {
            return Ok(fd);
        }
    }
    Err(Errno::ISDIR)
}

impl Walk<'_> {
    fn current(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.root, |fd| fd.as_fd())
    }

    fn push_front(&mut self, path: &Path) {
        for component in path.components().rev() {
            match component {
                Component::RootDir | Component::Prefix(_) => self.left.push_front(Part::Root),
                Component::CurDir => {}
                Component::ParentDir => self.left.push_front(Part::Up),
                Component::Normal(name) => self.left.push_front(Part::Name(name.as_bytes().to_vec())),
            }
        }
    }

    fn step(&mut self, part: Part, mode: Mode, resolve: Resolve) -> Result<()> {
        match part {
            Part::Root => self.stack.clear(),
            Part::Up if resolve == Resolve::Beneath => return Err(Errno::XDEV),
            Part::Up => {
                self.stack.pop();
            }
            Part::Name(name) => self.enter(&name, mode, resolve)?,
        }
        Ok(())
    }

    /// Find or make the file `name`; `None` when it was a link, which is walked next.
    fn file(&mut self, name: &[u8], mode: u32, resolve: Resolve) -> Result<Option<OwnedFd>> {
        let find = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..MAX_RACES {
            let fd = match rustix::fs::openat(self.current(), name, find, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::openat(self.current(), name, make, Mode::from_raw_mode(mode)) {
                        Err(Errno::EXIST) => continue,
                        made => return made.map(Some),
                    }
                }
                found => found?,
            };
            if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::Symlink {
                return Ok(Some(fd));
            }
            if resolve == Resolve::Beneath {
                return Err(Errno::LOOP);
            }
            self.follow(&fd)?;
            return Ok(None);
        }
        Err(Errno::AGAIN)
    }

    /// Go into `name`, making it if it is missing.
    fn enter(&mut self, name: &[u8], mode: Mode, resolve: Resolve) -> Result<()> {
        let open = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..MAX_RACES {
            let fd = match rustix::fs::openat(self.current(), name, open, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => match rustix::fs::mkdirat(self.current(), name, mode) {
                    Ok(()) | Err(Errno::EXIST) => continue,
                    Err(errno) => return Err(errno),
                },
                Err(errno) => return Err(errno),
            };
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
            return match kind {
                FileType::Directory => {
                    self.stack.push(fd);
                    Ok(())
                }
                FileType::Symlink if resolve == Resolve::InRoot => self.follow(&fd),
                FileType::Symlink => Err(Errno::LOOP),
                _ => Err(Errno::NOTDIR),
            };
        }
        Err(Errno::AGAIN)
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?;
        self.push_front(Path::new(std::ffi::OsStr::from_bytes(target.as_bytes())));
        Ok(())
    }
}
