//! Removal of whole trees by descriptors, with bounded depth of open directories whatever the tree's depth.
use super::dir::{Dir, check_name};
use crate::{Errno, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::ffi::{OsStr, OsString};

/// Deeper directories are first moved up beside the tree's top, so that neither descriptors nor stack grow with the depth.
const MAX_DEPTH: usize = 64;
/// How often a directory that fills again while it is emptied is emptied.
const MAX_REFILLS: usize = 16;

struct Removal<'a> {
    top: &'a Dir,
    moved: Vec<OsString>,
    count: usize,
    /// Directories may be subvolumes.
    btrfs: bool,
}

impl Dir {
    /// Remove a file or a whole tree; nothing there is no error. A mount inside is not entered: `EXDEV` or `EBUSY`.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        let mut removal = Removal {
            top: self,
            moved: vec![name.to_owned()],
            count: 0,
            btrfs: crate::btrfs::is_btrfs(self).unwrap_or(false),
        };
        while let Some(name) = removal.moved.pop() {
            removal.remove(self, &name, 0)?;
        }
        Ok(())
    }
}

impl Removal<'_> {
    fn remove(&mut self, dir: &Dir, name: &OsStr, depth: usize) -> Result<()> {
        match dir.unlink(name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => self.remove_dir(dir, name, depth),
            Err(errno) => Err(errno),
        }
    }

    fn remove_dir(&mut self, dir: &Dir, name: &OsStr, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return self.move_up(dir, name);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let child = match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
            Ok(fd) => Dir::from_fd(fd),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        // A subvolume goes at once. One with another inside, or without the privilege, is emptied as any directory.
        if self.btrfs && crate::btrfs::is_subvolume(&child)? && crate::btrfs::destroy(dir, name).is_ok() {
            return Ok(());
        }
        for _ in 0..MAX_REFILLS {
            for (entry, kind) in child.entries()? {
                match kind {
                    FileType::Directory => self.remove_dir(&child, &entry, depth + 1)?,
                    _ => self.remove(&child, &entry, depth + 1)?,
                }
            }
            match dir.rmdir(name) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::NOTEMPTY)
    }

    fn move_up(&mut self, dir: &Dir, name: &OsStr) -> Result<()> {
        self.count += 1;
        let id = rustix::process::getpid().as_raw_nonzero();
        let to = OsString::from(format!(".knarr-removing-{id}-{}", self.count));
        dir.rename(name, self.top, &to)?;
        self.moved.push(to);
        Ok(())
    }
}
