//! Subvolumes of btrfs: made, copied and removed as a whole.
//!
//! Standard: <https://btrfs.readthedocs.io/en/latest/ch-subvolume-intro.html>, `linux/btrfs.h`. Invariant: a subvolume is
//! named by its directory's descriptor and one component, so no path is walked.
use crate::path::Dir;
use crate::{Errno, Result, syscall};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// What statfs(2) calls btrfs.
const MAGIC: i64 = 0x9123_683e;
/// Inode number of a subvolume's top directory.
const TOP_INODE: u64 = 256;
/// Longest name in a directory.
const MAX_NAME: usize = 255;

/// `BTRFS_IOC_SUBVOL_CREATE`, `BTRFS_IOC_SNAP_DESTROY`, `BTRFS_IOC_SNAP_CREATE_V2`: writing 4096 bytes, magic 0x94.
const SUBVOL_CREATE: libc::c_ulong = request(14);
const SNAP_DESTROY: libc::c_ulong = request(15);
const SNAP_CREATE_V2: libc::c_ulong = request(23);

const fn request(number: libc::c_ulong) -> libc::c_ulong {
    const WRITE: libc::c_ulong = 1;
    WRITE << 30 | (ARGUMENT_SIZE as libc::c_ulong) << 16 | 0x94 << 8 | number
}

const ARGUMENT_SIZE: usize = 4096;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Arguments {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct ArgumentsV2 {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<Arguments>() == ARGUMENT_SIZE && size_of::<ArgumentsV2>() == ARGUMENT_SIZE);

fn put(name: &OsStr, field: &mut [u8]) -> Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_NAME || bytes == b"." || bytes == b".." {
        return Err(Errno::INVAL);
    }
    if bytes.iter().any(|&b| b == b'/' || b == 0) {
        return Err(Errno::INVAL);
    }
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(())
}

fn plain(name: &OsStr) -> Result<Arguments> {
    let mut arguments = Arguments { fd: 0, name: [0; 4088] };
    put(name, &mut arguments.name)?;
    Ok(arguments)
}

fn call<T>(dir: BorrowedFd<'_>, request: libc::c_ulong, arguments: &T) -> Result<()> {
    // SAFETY: all three requests read one structure of 4096 bytes, which the types above are, and keep nothing of it.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), request as _, std::ptr::from_ref(arguments)) };
    syscall::check(result.into()).map(drop)
}

/// Whether a descriptor is on btrfs.
pub fn is_btrfs(fd: impl AsFd) -> Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64 == MAGIC)
}

/// Whether a directory is the top of a subvolume.
pub fn is_subvolume(fd: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstat(&fd)?;
    let top = stat.st_ino == TOP_INODE && FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(top && is_btrfs(fd)?)
}

/// A new, empty subvolume.
pub fn create(dir: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    call(dir.as_fd(), SUBVOL_CREATE, &plain(name.as_ref())?)
}

/// A writable copy of a subvolume that shares everything with it until one of them is changed. Subvolumes inside of it are
/// empty directories in the copy.
pub fn snapshot(source: impl AsFd, dir: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    let fd = i64::from(source.as_fd().as_raw_fd());
    let mut arguments = ArgumentsV2 { fd, transaction: 0, flags: 0, unused: [0; 4], name: [0; 4040] };
    put(name.as_ref(), &mut arguments.name)?;
    call(dir.as_fd(), SNAP_CREATE_V2, &arguments)
}

/// Removes a subvolume with all that is in it; the kernel gives the space back later. `ENOTEMPTY` when another one is inside.
pub fn destroy(dir: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    call(dir.as_fd(), SNAP_DESTROY, &plain(name.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_component() {
        for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(plain(OsStr::new(bad)).err(), Some(Errno::INVAL), "{bad:?}");
        }
        assert_eq!(&plain(OsStr::new("ab")).unwrap().name[..3], b"ab\0");
        assert_eq!((SNAP_DESTROY, SNAP_CREATE_V2), (0x5000_940f, 0x5000_9417));
    }

    #[test]
    fn other_file_systems_have_none() {
        let dir = Dir::from_fd(
            rustix::fs::open("/proc", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap(),
        );
        assert!(!is_subvolume(&dir).unwrap() && !is_btrfs(&dir).unwrap());
        assert!(create(&dir, "x").is_err() && destroy(&dir, "x").is_err());
    }
}
