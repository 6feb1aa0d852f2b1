//! Limits of size: each volume with one is a project of its file system.
use crate::error::Error;
use crate::{Result, Volume};
use knarr_linux::path::Dir;
use knarr_linux::{Errno, project_quota};
use std::os::fd::AsFd;

/// Numbers of projects that are tried; below are those that people give.
const FIRST: u32 = 0x4b4e_0000;
const LAST: u32 = 0x4b4e_ffff;

/// Makes an empty directory a project of its own, limited to `bytes`. `taken` are the numbers of other volumes.
pub(crate) fn limit(name: &str, dir: &Dir, bytes: u64, taken: &[u32]) -> Result<u32> {
    let failed = |errno: Errno| match project_quota::is_unsupported(errno) {
        true => Error::NoQuota(name.to_owned()),
        false => Error::Quota { name: name.to_owned(), errno },
    };
    for project in (FIRST..=LAST).filter(|project| !taken.contains(project)) {
        // Another engine may have volumes on this file system.
        if project_quota::usage(dir.as_fd(), project).map_err(failed)? != project_quota::Usage::default() {
            continue;
        }
        project_quota::set_limit(dir.as_fd(), project, bytes).map_err(failed)?;
        return match project_quota::set_project(dir, project) {
            Ok(()) => Ok(project),
            Err(errno) => {
                // Without files the limit is of no use to anybody.
                let _ = project_quota::set_limit(dir.as_fd(), project, 0);
                Err(failed(errno))
            }
        };
    }
    Err(Error::Quota { name: name.to_owned(), errno: Errno::NOSPC })
}

/// The number may be another volume's from now on.
pub(crate) fn forget(volume: &Volume, dir: &Dir) {
    if let Some(project) = volume.project
        && let Err(errno) = project_quota::set_limit(dir.as_fd(), project, 0)
    {
        tracing::debug!(volume = %volume.name, %errno, "limit not taken back");
    }
}
