//! The container's root and what is protected in it.
use super::{Failure, Init, Outcome};
use knarr_linux::mount::{self, Attributes, Propagation};
use knarr_linux::path::{Resolve, Root};
use knarr_linux::{Errno, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC.
const RDONLY: u64 = 1;
const LOCKED_DOWN: u32 = 1 | 2 | 4 | 8;

pub(super) const PRIVATE: Attributes =
    Attributes { set: 0, clear: 0, propagation: Some(Propagation::Private), recursive: true };

pub(super) fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// The host's null device: nothing in the container can have replaced it.
fn null_device() -> Result<OwnedFd> {
    let copy = mount::clone_path(c"/dev/null", false)?;
    if is_null(copy.as_fd())? { Ok(copy) } else { Err(Errno::NODEV) }
}

/// Whether a descriptor is the real null device (CVE-2025-31133).
pub(super) fn is_null(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3))
}

impl Init<'_> {
    pub(super) fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or(Errno::BADF)
    }
    pub(super) fn strict(&self) -> Result<&Root> {
        self.strict.as_ref().ok_or(Errno::BADF)
    }

    pub(super) fn attach_root(&mut self) -> Outcome {
        let mounted = self.opened_root.take().ok_or(Errno::BADF)?;
        match self.root_place() {
            Some(place) => mount::attach(mounted.as_fd(), place.as_fd())?,
            None => mount::attach_over_root(mounted.as_fd())?,
        }
        self.keep_root(Root::from_fd(mounted, Resolve::InRoot))
    }

    /// Where hooks find the root with all that is mounted in it, and where it hides nothing: over the host's own root it would be what a
    /// bind of `/` shows. `None` where the container's root may not go, and where the place may be shared with the host's mounts.
    fn root_place(&self) -> Option<OwnedFd> {
        let place = self.root_place.filter(|_| !self.shared_host)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(place, flags, Mode::empty()).ok()
    }

    pub(super) fn keep_root_detached(&mut self) -> Outcome {
        let mounted = self.opened_root.take().ok_or(Errno::BADF)?;
        self.detached = true;
        // Nothing that is mounted in it may travel to where it was copied from.
        mount::set_attributes(mounted.as_fd(), &PRIVATE)?;
        self.keep_root(Root::from_fd(mounted, Resolve::InRoot))
    }

    /// Above the root of a detached tree there is nothing.
    pub(super) fn change_root(&mut self) -> Outcome {
        rustix::process::fchdir(self.root()?.as_fd())?;
        rustix::process::chroot(c".")?;
        (self.null, self.empty) = (None, None);
        Ok(())
    }

    pub(super) fn enter_root(&mut self) -> Outcome {
        rustix::process::fchdir(self.handles.container_root.ok_or(Errno::BADF)?)?;
        rustix::process::chroot(c".")?;
        self.take_current_root()
    }

    /// The root of the mount namespace that was joined.
    pub(super) fn take_current_root(&mut self) -> Outcome {
        self.keep_root(Root::open(Path::new("/"))?)
    }

    fn keep_root(&mut self, root: Root) -> Outcome {
        self.strict = Some(root.with_resolve(Resolve::Beneath)?);
        self.root = Some(root);
        Ok(())
    }

    pub(super) fn pivot(&mut self) -> Outcome {
        mount::pivot(self.root()?.as_fd(), self.shared_host)?;
        // Descriptors of the old tree are not needed any more.
        (self.null, self.empty) = (None, None);
        Ok(())
    }

    pub(super) fn read_only_root(&self) -> Outcome {
        let attributes = Attributes { set: RDONLY, ..Attributes::default() };
        Ok(mount::set_attributes(self.root()?.as_fd(), &attributes)?)
    }

    pub(super) fn set_attributes(&self, at: &CStr, attributes: &Attributes) -> Outcome {
        let target = self.strict()?.open_path(path(at))?;
        Ok(self.change_attached(target.as_fd(), &[attributes])?)
    }

    /// The procfs that was just mounted is as good as a private one: [`Init::sysctl`] crosses no mount that lies over it, and no
    /// process of the container exists that could have made one.
    pub(super) fn keep_procfs(&mut self, mounted: BorrowedFd<'_>) -> Outcome {
        let fd = rustix::io::fcntl_dupfd_cloexec(mounted, 3)?;
        self.procfs.get_or_insert(Root::from_fd(fd, Resolve::Beneath));
        Ok(())
    }

    /// A procfs of the new PID namespace that nobody has mounted anything over (CVE-2025-52881).
    pub(super) fn procfs(&mut self) -> Result<&Root> {
        if self.procfs.is_none() {
            let mounted = mount::filesystem_from(c"proc", c"proc", &[], LOCKED_DOWN & !(RDONLY as u32))?;
            self.procfs = Some(Root::from_fd(mounted, Resolve::Beneath));
        }
        self.procfs.as_ref().ok_or(Errno::BADF)
    }

    pub(super) fn sysctl(&mut self, name: &CStr, value: &CStr) -> Outcome {
        let procfs = self.procfs()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let sys = knarr_linux::path::openat2(procfs, c"sys", flags, Mode::empty(), resolve)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = knarr_linux::path::openat2(&sys, name, flags, Mode::empty(), resolve)?;
        rustix::io::write(&file, value.to_bytes())?;
        Ok(())
    }

    /// What is not there needs no mask.
    fn protected(&self, at: &CStr) -> Result<Option<OwnedFd>> {
        match self.root()?.open_path(path(at)) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The first mask of a kind is attached itself and the others are its copies: a detached mount that is thrown away costs
    /// the kernel a grace period.
    pub(super) fn mask(&mut self, at: &CStr) -> Outcome {
        let Some(target) = self.protected(at)? else { return Ok(()) };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
        let is_directory = kind == FileType::Directory;
        let before = if is_directory { &mut self.empty } else { &mut self.null };
        let mounted = match before {
            Some(attached) => mount::clone_fd(attached.as_fd(), false)?,
            None if is_directory => mount::filesystem_from(c"tmpfs", c"tmpfs", &[], LOCKED_DOWN)?,
            None => null_device()?,
        };
        mount::attach(mounted.as_fd(), target.as_fd())?;
        before.get_or_insert(mounted);
        Ok(())
    }

    pub(super) fn read_only_path(&self, at: &CStr) -> Outcome {
        let Some(target) = self.protected(at)? else { return Ok(()) };
        let copy = mount::clone_fd(target.as_fd(), true)?;
        let attributes = Attributes { set: RDONLY, recursive: true, ..Attributes::default() };
        mount::set_attributes(copy.as_fd(), &attributes)?;
        Ok(mount::attach(copy.as_fd(), target.as_fd())?)
    }

    pub(super) fn make_working_directory(&self, at: &CStr) -> Outcome {
        self.root()?.mkdir_all(path(at), 0o755).map(drop).map_err(Failure::from)
    }
}
