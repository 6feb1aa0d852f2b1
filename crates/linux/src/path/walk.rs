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

pub(super) fn mkdir_all(root: BorrowedFd<'_>, path: &Path, mode: Mode, resolve: Resolve) -> Result<OwnedFd> {
    let mut walk = Walk { root, stack: Vec::new(), left: VecDeque::new(), links: 0 };
    walk.push_front(path);
    while let Some(part) = walk.left.pop_front() {
        match part {
            Part::Root => walk.stack.clear(),
            Part::Up if resolve == Resolve::Beneath => return Err(Errno::XDEV),
            Part::Up => {
                walk.stack.pop();
            }
            Part::Name(name) => walk.enter(&name, mode, resolve)?,
        }
    }
    match walk.stack.pop() {
        Some(fd) => Ok(fd),
        None => rustix::io::fcntl_dupfd_cloexec(root, 3),
    }
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
