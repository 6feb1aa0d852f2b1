//! Extended attributes of an object in a directory, links included and never followed.
//!
//! Standard: xattr(7). The `l*xattr` calls take no descriptor before Linux 6.13, so the directory is named as
//! `/proc/self/fd/N`, whose magic link leads to exactly that directory.
use super::dir::{Dir, check_name};
use crate::{Errno, Result};
use rustix::fs::XattrFlags;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

/// The kernel's limits for a list of names and for a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MAX_SIZE: usize = 65536;

impl Dir {
    fn proc_path(&self, name: &OsStr) -> Result<CString> {
        check_name(name)?;
        let mut path = format!("/proc/self/fd/{}/", self.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        CString::new(path).map_err(|_| Errno::INVAL)
    }
    pub fn set_xattr(
        &self,
        name: impl AsRef<OsStr>,
        attribute: impl AsRef<OsStr>,
        value: &[u8],
    ) -> Result<()> {
        let path = self.proc_path(name.as_ref())?;
        rustix::fs::lsetxattr(path.as_c_str(), attribute.as_ref(), value, XattrFlags::empty())
    }
    pub fn remove_xattr(&self, name: impl AsRef<OsStr>, attribute: impl AsRef<OsStr>) -> Result<()> {
        rustix::fs::lremovexattr(self.proc_path(name.as_ref())?.as_c_str(), attribute.as_ref())
    }
    /// `None` when the object has no such attribute or its filesystem has none at all.
    pub fn xattr(&self, name: impl AsRef<OsStr>, attribute: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
        let path = self.proc_path(name.as_ref())?;
        let mut value = vec![0; 256];
        loop {
            match rustix::fs::lgetxattr(path.as_c_str(), attribute.as_ref(), &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    return Ok(Some(value));
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
                Err(Errno::RANGE) if value.len() < MAX_SIZE => value.resize(MAX_SIZE, 0),
                Err(errno) => return Err(errno),
            }
        }
    }
    /// Names of all attributes, in the filesystem's order.
    pub fn xattrs(&self, name: impl AsRef<OsStr>) -> Result<Vec<Vec<u8>>> {
        let path = self.proc_path(name.as_ref())?;
        let mut list = vec![0; 256];
        loop {
            match rustix::fs::llistxattr(path.as_c_str(), &mut list[..]) {
                Ok(length) => {
                    list.truncate(length);
                    return Ok(list
                        .split(|&b| b == 0)
                        .filter(|n| !n.is_empty())
                        .map(<[u8]>::to_vec)
                        .collect());
                }
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                Err(Errno::RANGE) if list.len() < MAX_SIZE => list.resize(MAX_SIZE, 0),
                Err(errno) => return Err(errno),
            }
        }
    }
}
