//! Project quotas: a directory's files and everything made below it count for one project, and a project has a limit.
//!
//! Standard: quotactl(2) with the XFS commands (ext4, f2fs and xfs answer them), `FS_IOC_FSSETXATTR` of `linux/fs.h`. The
//! file system is named by a descriptor (quotactl_fd, Linux 5.14), so no device node is needed.
use crate::path::Dir;
use crate::{Errno, Result, syscall};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    unused: [u8; 8],
}

/// `struct fs_disk_quota`.
#[repr(C)]
#[derive(Default)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    hard_blocks: u64,
    soft_blocks: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    blocks: u64,
    inodes: u64,
    /// Timers, warnings and limits of the real-time section.
    rest: [u64; 7],
}

const _: () = assert!(size_of::<Attributes>() == 28 && size_of::<DiskQuota>() == 112);

/// `_IOR('X', 31, struct fsxattr)`, `_IOW('X', 32, struct fsxattr)`.
const GET_ATTRIBUTES: libc::c_ulong = 2 << 30 | 28 << 16 | 0x58 << 8 | 31;
const SET_ATTRIBUTES: libc::c_ulong = 1 << 30 | 28 << 16 | 0x58 << 8 | 32;
/// `FS_XFLAG_PROJINHERIT`: what is made below belongs to the project, too.
const INHERIT: u32 = 0x200;
/// `QCMD(Q_XGETQUOTA, PRJQUOTA)`, `QCMD(Q_XSETQLIM, PRJQUOTA)`.
const GET_QUOTA: libc::c_uint = 0x5803 << 8 | 2;
const SET_LIMIT: libc::c_uint = 0x5804 << 8 | 2;
/// `FS_PROJ_QUOTA`.
const PROJECT: i8 = 2;
/// `FS_DQ_BSOFT | FS_DQ_BHARD`.
const BLOCK_LIMITS: u16 = 1 << 2 | 1 << 3;
/// What limits count in.
const BLOCK: u64 = 512;

/// What a project has and may have, in bytes; no limit is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    pub limit: u64,
}

/// Makes a directory, and what will be made in it, part of a project.
pub fn set_project(dir: &Dir, project: u32) -> Result<()> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes one structure of 28 bytes, which the type is.
    let read = unsafe {
        libc::ioctl(dir.as_fd().as_raw_fd(), GET_ATTRIBUTES as _, std::ptr::from_mut(&mut attributes))
    };
    syscall::check(read.into())?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the kernel reads one structure of 28 bytes, which the type is.
    let written =
        unsafe { libc::ioctl(dir.as_fd().as_raw_fd(), SET_ATTRIBUTES as _, std::ptr::from_ref(&attributes)) };
    syscall::check(written.into()).map(drop)
}

/// Limits the bytes of a project on the file system of a descriptor. 0: no limit.
pub fn set_limit(filesystem: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<()> {
    let blocks = bytes / BLOCK;
    let mut quota = DiskQuota {
        version: 1,
        flags: PROJECT,
        fields: BLOCK_LIMITS,
        id: project,
        hard_blocks: blocks,
        soft_blocks: blocks,
        ..DiskQuota::default()
    };
    call(filesystem, SET_LIMIT, project, &mut quota)
}

/// What a project has; nothing is known of one that has neither files nor a limit.
pub fn usage(filesystem: BorrowedFd<'_>, project: u32) -> Result<Usage> {
    let mut quota = DiskQuota::default();
    match call(filesystem, GET_QUOTA, project, &mut quota) {
        Err(Errno::NOENT) => Ok(Usage::default()),
        done => done.map(|()| Usage { used: quota.blocks * BLOCK, limit: quota.hard_blocks * BLOCK }),
    }
}

fn call(
    filesystem: BorrowedFd<'_>,
    command: libc::c_uint,
    project: u32,
    quota: &mut DiskQuota,
) -> Result<()> {
    // SAFETY: both commands read or write one structure of 112 bytes, which the type is, and keep nothing of it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            filesystem.as_raw_fd(),
            command,
            project,
            std::ptr::from_mut(quota),
        )
    };
    syscall::check(result).map(drop)
}

/// Whether an error says that the file system has no project quotas.
pub fn is_unsupported(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::SRCH
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::NOTTY
            | Errno::INVAL
            | Errno::NOTBLK
            | Errno::NODEV
    )
}
