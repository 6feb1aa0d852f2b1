//! The container's root and the sources of its binds as detached mounts, id-mapped where they are shared between user namespaces.
//!
//! Standard: mount_setattr(2) MOUNT_ATTR_IDMAP, <https://docs.kernel.org/filesystems/overlayfs.html>. On disk everything has the
//! container's ids (0 is its root); the mapped mounts show them as the host's. Overlayfs makes its own files with the ids of
//! who mounted it, so that has to be an id that the mapping knows. Invariant: whatever is attached meanwhile is attached in a
//! mount namespace of this process's own, and detached again.
use super::root::path;
use super::{Detail, Failure, Init, Outcome};
use crate::plan::{MapBy, Mapping, OVERLAY_OPTIONS, RootSource, Shared};
use knarr_linux::mount::{self, Overlay};
use knarr_linux::{Errno, Result, path, user_namespace};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

type Mounted = std::result::Result<OwnedFd, Failure>;

impl<'a> Init<'a> {
    pub(super) fn open_root(&mut self, source: &'a RootSource) -> Outcome {
        self.root_place = Some(match source {
            RootSource::Directory(path) | RootSource::Copy { path, .. } => path,
            RootSource::Overlay { upper, .. } => upper,
        });
        self.opened_root = Some(match source {
            RootSource::Directory(path) => mount::clone_path(path, true)?,
            RootSource::Copy { path, mapped } => {
                let mapping = mapped.then_some(Mapping { by: MapBy::Container, recursive: false });
                self.clone_mapped(path, false, mapping)?
            }
            RootSource::Overlay { lower, upper, work, volatile, label, shared } => {
                let mut options = OVERLAY_OPTIONS.to_vec();
                options.extend(label.as_ref().map(|label| (c"context", label.as_c_str())));
                let overlay =
                    Overlay { lower, upper, work, options: &options, volatile: *volatile, place: upper };
                match shared {
                    None => overlay.mount()?,
                    Some(shared) => self.shared_overlay(&overlay, shared)?,
                }
            }
        });
        Ok(())
    }

    pub(super) fn clone_mapped(&self, path: &CStr, recursive: bool, mapping: Option<Mapping>) -> Mounted {
        let copy = mount::clone_path(path, recursive)?;
        if let Some(Mapping { by, recursive }) = mapping {
            let namespace = match by {
                MapBy::Container => self.handles.userns,
                MapBy::Own(number) => self.handles.id_maps.get(number).map(|fd| fd.as_fd()),
            };
            map(copy.as_fd(), namespace.ok_or(Errno::BADF)?, recursive)?;
        }
        Ok(copy)
    }

    fn shared_overlay(&self, plain: &Overlay<'_>, shared: &Shared) -> Mounted {
        let namespace = self.handles.userns.ok_or(Errno::BADF)?;
        let mut mapped = Mapped { namespace, mounts: Vec::new() };
        let layers = mapped.directories(plain.lower, &shared.lower)?;
        let own = mapped.directories(&[plain.upper.to_owned(), plain.work.to_owned()], &shared.upper)?;
        let name = |fd: &OwnedFd| {
            CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(|_| Errno::INVAL)
        };
        let layers = layers.iter().map(name).collect::<Result<Vec<_>>>()?;
        let [upper_fd, work_fd] = own.as_slice() else { return Err(Failure::from(Errno::INVAL)) };
        let (upper_name, work_name) = (name(upper_fd)?, name(work_fd)?);
        let overlay = Overlay { lower: &layers, upper: &upper_name, work: &work_name, ..*plain };
        let mounted = user_namespace::with_file_ids(shared.user, shared.group, || overlay.mount())?;
        mapped.detach()?;
        Ok(mounted)
    }
}

fn map(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>, recursive: bool) -> Outcome {
    mount::set_id_mapping(mount, namespace, recursive)
        .map_err(|errno| Failure::new(errno, (errno == Errno::INVAL).then_some(Detail::NotMappable)))
}

/// Mapped copies of mounts, attached for as long as an overlay is made of them: before Linux 6.15 overlayfs takes only what is
/// attached in its mount namespace.
struct Mapped<'a> {
    namespace: BorrowedFd<'a>,
    mounts: Vec<OwnedFd>,
}

impl Mapped<'_> {
    /// Directories as one mapped mount of what they have in common shows them, or else each in a mount of its own.
    fn directories(
        &mut self,
        paths: &[CString],
        common: &CStr,
    ) -> std::result::Result<Vec<OwnedFd>, Failure> {
        let all = self.mount(common)?;
        let below =
            paths.iter().map(|path| below(all.as_fd(), common, path)).collect::<Result<Option<Vec<_>>>>();
        self.mounts.push(all);
        if let Ok(Some(found)) = below {
            return Ok(found);
        }
        let each = |path: &CString| {
            let mounted = self.mount(path)?;
            let directory = rustix::io::fcntl_dupfd_cloexec(&mounted, 3)?;
            self.mounts.push(mounted);
            Ok(directory)
        };
        paths.iter().map(each).collect()
    }

    fn mount(&self, path: &CStr) -> Mounted {
        let copy = mount::clone_path(path, false)?;
        map(copy.as_fd(), self.namespace, false)?;
        mount::attach_over_root(copy.as_fd())?;
        Ok(copy)
    }

    fn detach(self) -> Result<()> {
        self.mounts.iter().rev().try_for_each(|mounted| mount::detach(mounted.as_fd()))
    }
}

/// A directory in a copy of one mount, `None` if it is not in that mount.
fn below(all: BorrowedFd<'_>, common: &CStr, wanted: &CStr) -> Result<Option<OwnedFd>> {
    let Ok(relative) = path(wanted).strip_prefix(path(common)) else { return Ok(None) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let found = path::openat2(all, relative, flags, Mode::empty(), resolve)?;
    let (is, should) = (rustix::fs::fstat(&found)?, rustix::fs::stat(wanted)?);
    Ok(((is.st_dev, is.st_ino) == (should.st_dev, should.st_ino)).then_some(found))
}
