//! A directory by descriptor and operations on the names in it. A name is one component and is never followed.
use crate::{Errno, Result};
use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timestamps, Uid};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// One component: not empty, no slash, neither `.` nor `..`.
pub(super) fn check_name(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    let bad =
        bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|&b| b == b'/' || b == 0);
    if bad { Err(Errno::INVAL) } else { Ok(()) }
}

impl Dir {
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
    pub fn try_clone(&self) -> Result<Self> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map(Self::from_fd)
    }

    /// `O_PATH` descriptor of the object itself.
    pub fn open_path(&self, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
        self.open_with(name, OFlags::PATH, Mode::empty())
    }
    /// Any flags of open(2); `O_NOFOLLOW` and `O_CLOEXEC` are added.
    pub fn open_with(&self, name: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::openat(&self.fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
    }
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        self.open_with(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self::from_fd)
    }
    /// New regular file for writing: an error if something has that name.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        self.open_with(name, flags, Mode::from_raw_mode(mode))
    }
    pub fn mkdir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))
    }
    pub fn symlink(&self, target: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::symlinkat(target.as_ref(), &self.fd, name)
    }
    /// Hard link `name` of this directory as `new` in `to`.
    pub fn link(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> Result<()> {
        let (name, new) = (name.as_ref(), new.as_ref());
        check_name(name)?;
        check_name(new)?;
        rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())
    }
    pub fn mknod(&self, name: impl AsRef<OsStr>, kind: FileType, mode: u32, device: Dev) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::mknodat(&self.fd, name, kind, Mode::from_raw_mode(mode), device)
    }
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> Result<()> {
        self.rename_with(name, to, new, RenameFlags::empty())
    }
    pub fn rename_with(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        new: impl AsRef<OsStr>,
        flags: RenameFlags,
    ) -> Result<()> {
        let (name, new) = (name.as_ref(), new.as_ref());
        check_name(name)?;
        check_name(new)?;
        rustix::fs::renameat_with(&self.fd, name, &to.fd, new, flags)
    }
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
    }
    pub fn rmdir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }

    pub fn metadata(&self, name: impl AsRef<OsStr>) -> Result<Stat> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
    /// Of the directory itself.
    pub fn self_metadata(&self) -> Result<Stat> {
        rustix::fs::fstat(&self.fd)
    }
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> Result<OsString> {
        let name = name.as_ref();
        check_name(name)?;
        Ok(OsString::from_vec(rustix::fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes()))
    }
    pub fn chown(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }
    /// Not for symbolic links: `EOPNOTSUPP`.
    pub fn chmod(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        let text = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
        match crate::syscall::fchmodat2(self.fd.as_fd(), &text, mode, libc::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::NOSYS) => {}
            done => return done,
        }
        let fd = self.open_path(name)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode))
    }
    pub fn set_times(&self, name: impl AsRef<OsStr>, times: &Timestamps) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        rustix::fs::utimensat(&self.fd, name, times, AtFlags::SYMLINK_NOFOLLOW)
    }
    /// Names in the directory, without `.` and `..`, in the filesystem's order.
    pub fn entries(&self) -> Result<Vec<(OsString, FileType)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let again = rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::new(again)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                found.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
            }
        }
        Ok(found)
    }
    /// Gives each of those names to `each` without keeping any, through the caller's buffer. It goes on where an earlier
    /// scan of this descriptor ended, so it is for one scan.
    pub fn scan(
        &self,
        buffer: &mut [MaybeUninit<u8>],
        mut each: impl FnMut(Member<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut entries = rustix::fs::RawDir::new(&self.fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                each(Member { dir: self, name: entry.file_name(), kind: entry.file_type() })?;
            }
        }
        Ok(())
    }
}

/// A name that the kernel read in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    dir: &'a Dir,
    name: &'a CStr,
    /// `Unknown` where the file system does not say.
    pub kind: FileType,
}

impl Member<'_> {
    pub fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }
    pub fn metadata(&self) -> Result<Stat> {
        rustix::fs::statat(&self.dir.fd, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
