//! A directory that paths are resolved in and cannot leave.
use super::dir::{Dir, check_name};
use super::walk;
use crate::{Errno, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What symbolic links mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// As for a process whose root this is: absolute links and `..` stay inside.
    InRoot,
    /// No symbolic link may occur and `..` may not leave: for archives.
    Beneath,
    /// Links are followed, but nothing may lead out, also not by way of the root: that is `EXDEV`.
    Inside,
}

impl Resolve {
    fn flags(self) -> ResolveFlags {
        match self {
            Self::InRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Self::Beneath => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            Self::Inside => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        }
    }
}

/// An open directory with a rule how paths are resolved in it. Paths may begin with `/`; they are relative to it all the same.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    resolve: Resolve,
}

impl Root {
    /// Open a directory of the host as the root of a container's tree.
    pub fn open(path: &Path) -> Result<Self> {
        let fd =
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, resolve: Resolve::InRoot })
    }
    /// Open a directory of the host to unpack an archive into.
    pub fn open_beneath(path: &Path) -> Result<Self> {
        Ok(Self { resolve: Resolve::Beneath, ..Self::open(path)? })
    }
    /// Open a directory of the host whose links count only as far as they stay in it.
    pub fn open_inside(path: &Path) -> Result<Self> {
        Ok(Self { resolve: Resolve::Inside, ..Self::open(path)? })
    }
    /// An already opened directory (an `O_PATH` descriptor or a mount will do).
    pub fn from_fd(fd: OwnedFd, resolve: Resolve) -> Self {
        Self { fd, resolve }
    }
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { fd: rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)?, resolve: self.resolve })
    }
    pub fn resolve(&self) -> Resolve {
        self.resolve
    }
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// `openat2`: any flags and mode of open(2). `O_CLOEXEC` is added.
    pub fn open_with(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let path = relative(path.as_ref());
        super::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, self.resolve.flags())
    }
    /// A descriptor that only names the object; the last component is followed if it is a link.
    pub fn open_path(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_with(path, OFlags::PATH, Mode::empty())
    }
    /// For reading. A FIFO or device does not block and does not become a controlling terminal.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
    }
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Dir> {
        self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Dir::from_fd)
    }
    /// New or truncated regular file for writing; the last component is never followed.
    pub fn create(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        self.open_with(path, flags, Mode::from_raw_mode(mode))
    }
    /// New regular file for writing: an error if something has that name.
    pub fn create_new(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.open_with(path, flags, Mode::from_raw_mode(mode))
    }
    /// Make the directory and what is missing above it; returns it. Links on the way are followed as [`Resolve`] says, also
    /// when what they point to is missing.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<Dir> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open_with(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            found => return found.map(Dir::from_fd),
        }
        let fd = walk::mkdir_all(self.fd.as_fd(), path, Mode::from_raw_mode(mode), self.resolve)?;
        let fd = rustix::fs::openat(&fd, ".", flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Dir::from_fd(fd))
    }
    /// An `O_PATH` descriptor of whatever is there; an empty file is made, with its directories, if nothing is. Links are
    /// followed as [`Resolve`] says, also when what they point to is missing.
    pub fn ensure_file(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        match self.open_path(&path) {
            Err(Errno::NOENT) => walk::make_file(self.fd.as_fd(), path.as_ref(), mode, self.resolve),
            found => found,
        }
    }
    /// The same directory with the other rule.
    pub fn with_resolve(&self, resolve: Resolve) -> Result<Self> {
        Ok(Self { resolve, ..self.try_clone()? })
    }
    /// The directory that holds the last component, and that component's name, which is not looked at.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(Dir, OsString)> {
        let (parent, name) = split(path.as_ref())?;
        Ok((self.open_dir(parent)?, name.to_owned()))
    }
    /// As [`Root::parent`], and the directory is made if it is missing.
    pub fn make_parent(&self, path: impl AsRef<Path>, mode: u32) -> Result<(Dir, OsString)> {
        let (parent, name) = split(path.as_ref())?;
        Ok((self.mkdir_all(parent, mode)?, name.to_owned()))
    }

    /// Of the object itself: a link is not followed.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let fd = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        rustix::fs::fstat(fd)
    }
    /// Links are followed inside of the root.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Stat> {
        rustix::fs::fstat(self.open_path(path)?)
    }
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<OsString> {
        let fd = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let text = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
        Ok(OsStr::from_bytes(text.as_bytes()).to_owned())
    }
    pub fn symlink(&self, target: impl AsRef<OsStr>, path: impl AsRef<Path>) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        dir.symlink(target, &name)
    }
    /// Hard link to an object of the same root; neither name is followed.
    pub fn link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let (from, old) = self.parent(existing)?;
        let (to, new) = self.parent(path)?;
        from.link(&old, &to, &new)
    }
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        dir.unlink(&name)
    }
    /// Remove a file or a whole tree; nothing there is no error. Mounts inside are not entered.
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        match self.parent(path) {
            Ok((dir, name)) => dir.remove_tree(&name),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
    /// A part of this tree as a root of its own.
    pub fn sub(&self, path: impl AsRef<Path>) -> Result<Self> {
        let fd = self.open_with(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd, resolve: self.resolve })
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Without leading slashes; `.` for the root itself.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|&b| b != b'/').unwrap_or(bytes.len());
    if start == bytes.len() { Path::new(".") } else { Path::new(OsStr::from_bytes(&bytes[start..])) }
}

/// Parent and last component. A path that ends in `..` or is the root has no name.
fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    check_name(name)?;
    Ok((path.parent().unwrap_or(Path::new(".")), name))
}
