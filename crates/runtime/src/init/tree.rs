//! Mounts, devices and links of the container's tree. Every place is a descriptor before anything is put there.
use super::root::{PRIVATE, path};
use super::{Detail, Failure, Init, Outcome};
use crate::plan::{Device, Filesystem, MountStep, RemountStep, Source, Target};
use knarr_linux::mount::{self, Attributes};
use knarr_linux::path::{Dir, Root};
use knarr_linux::{Errno, Result};
use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOEXEC.
const NOSUID: u64 = 2;
const NOEXEC: u64 = 8;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

impl Init<'_> {
    pub(super) fn mount(&mut self, step: &MountStep) -> Outcome {
        let mounted = match &step.source {
            Source::New(fs) => new(fs, self.inherited_mode(step, fs)?).map_err(|errno| {
                let refused = errno == Errno::PERM && fs.kind.as_c_str() == c"proc";
                Failure::new(errno, refused.then_some(Detail::NoProcfs))
            })?,
            Source::Bind { path, recursive, mapping } => self.clone_mapped(path, *recursive, *mapping)?,
            Source::Opened { number, .. } => {
                let source = self.sources.get(*number).ok_or(Errno::BADF)?;
                rustix::io::fcntl_dupfd_cloexec(source, 3)?
            }
            Source::Foreign { number, .. } | Source::Descriptor { number, .. } => {
                let tree = self.handles.foreign.get(*number).ok_or(Errno::BADF)?;
                rustix::io::fcntl_dupfd_cloexec(tree, 3)?
            }
            Source::Group { path } => mount::clone_path(path, true)?,
        };
        if self.detached {
            mount::set_attributes(mounted.as_fd(), &PRIVATE)?;
        }
        let is_new = matches!(step.source, Source::New(_));
        if !is_new {
            change(mounted.as_fd(), &step.attributes)?;
            change(mounted.as_fd(), &step.recursive)?;
        }
        // What is written to /proc would be believed.
        if step.target == Target::Procfs && !is_procfs(mounted.as_fd())? {
            return Err(Failure::new(Errno::PERM, Some(Detail::NotProcfs)));
        }
        let target = self.target(step, mounted.as_fd())?;
        if step.copy_up {
            super::tree::copy_up(target.as_fd(), mounted.as_fd())?;
        }
        if is_new {
            change(mounted.as_fd(), &step.attributes)?;
        }
        if let Some((propagation, recursive)) = step.propagation {
            let attributes =
                Attributes { propagation: Some(propagation), recursive, ..Attributes::default() };
            mount::set_attributes(mounted.as_fd(), &attributes)?;
        }
        mount::attach(mounted.as_fd(), target.as_fd()).map_err(|errno| {
            let too_old = self.detached && errno == Errno::INVAL;
            Failure::new(errno, too_old.then_some(Detail::NoDetachedMounts))
        })?;
        if let Source::New(fs) = &step.source
            && fs.kind.as_c_str() == c"proc"
            && u64::from(fs.attributes) & 1 == 0
        {
            self.keep_procfs(mounted.as_fd())?;
        }
        Ok(())
    }

    /// A tmpfs has the mode of the directory that it covers, unless it has one of its own.
    fn inherited_mode(&self, step: &MountStep, fs: &Filesystem) -> Result<Option<CString>> {
        if fs.kind.as_c_str() != c"tmpfs" || fs.parameters.iter().any(|(key, _)| key.as_c_str() == c"mode") {
            return Ok(None);
        }
        let root = if step.target == Target::Strict { self.strict()? } else { self.root()? };
        match root.metadata(path(&step.destination)) {
            Ok(stat) => {
                CString::new(format!("{:o}", stat.st_mode & 0o7777)).map(Some).map_err(|_| Errno::INVAL)
            }
            // The kernel's own then.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Change a mount that is in place. In a detached tree the kernel lets nobody do that, so a changed copy covers it.
    pub(super) fn change_attached(&self, place: BorrowedFd<'_>, changes: &[&Attributes]) -> Result<()> {
        if !self.detached {
            return changes.iter().try_for_each(|attributes| change(place, attributes));
        }
        let copy = mount::clone_fd(place, true)?;
        changes.iter().try_for_each(|attributes| change(copy.as_fd(), attributes))?;
        mount::attach(copy.as_fd(), place)
    }

    pub(super) fn remount(&self, step: &RemountStep) -> Outcome {
        let place = self.root()?.open_path(path(&step.path))?;
        self.change_attached(place.as_fd(), &[&step.attributes, &step.recursive])?;
        if !step.parameters.is_empty() {
            mount::reconfigure(place.as_fd(), &step.parameters)?;
        }
        Ok(())
    }

    /// Where to attach: made if it is missing, a directory for a directory and a file for anything else.
    fn target(&self, step: &MountStep, mounted: BorrowedFd<'_>) -> Result<OwnedFd> {
        let strict = matches!(step.target, Target::Strict | Target::Procfs);
        let root = if strict { self.strict()? } else { self.root()? };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(mounted)?.st_mode);
        let place = path(&step.destination);
        let target = if kind == FileType::Directory {
            root.mkdir_all(place, DIRECTORY_MODE)?.into_fd()
        } else {
            root.ensure_file(place, FILE_MODE)?
        };
        // A link may have led a bind into procfs, where a false file would be believed (CVE-2019-16884).
        if step.target == Target::Follow && is_procfs(target.as_fd())? {
            return Err(Errno::PERM);
        }
        Ok(target)
    }

    /// The directory that holds a node or link: nothing below `/dev` may be reached over a link (CVE-2026-41579).
    fn place(&self, at: &CStr) -> Result<(Dir, std::ffi::OsString)> {
        let root: &Root = if at.to_bytes().starts_with(b"/dev/") { self.strict()? } else { self.root()? };
        root.make_parent(path(at), DIRECTORY_MODE)
    }

    pub(super) fn device(&self, device: &Device) -> Outcome {
        let (dir, name) = self.place(&device.path)?;
        let number = rustix::fs::makedev(device.major, device.minor);
        match dir.mknod(&name, device.kind, device.mode, number) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let found = dir.metadata(&name)?;
                let same = FileType::from_raw_mode(found.st_mode) == device.kind
                    && (device.kind == FileType::Fifo || found.st_rdev == number);
                if !same {
                    return Err(Failure::from(Errno::EXIST));
                }
                dir.chmod(&name, device.mode)?;
            }
            // No new nodes in this filesystem or namespace: the host's own, if it is that device.
            Err(Errno::PERM) => return self.bind_device(device, &dir, &name),
            Err(errno) => return Err(Failure::from(errno)),
        }
        Ok(dir.chown(&name, device.uid, device.gid)?)
    }

    fn bind_device(&self, device: &Device, dir: &Dir, name: &std::ffi::OsStr) -> Outcome {
        let copy = mount::clone_path(&device.path, false)?;
        let stat = rustix::fs::fstat(&copy)?;
        let number = rustix::fs::makedev(device.major, device.minor);
        if FileType::from_raw_mode(stat.st_mode) != device.kind || stat.st_rdev != number {
            return Err(Failure::from(Errno::NODEV));
        }
        change(copy.as_fd(), &Attributes { set: NOSUID | NOEXEC, ..Attributes::default() })?;
        match dir.create_new(name, FILE_MODE) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Failure::from(errno)),
        }
        Ok(mount::attach(copy.as_fd(), dir.open_path(name)?.as_fd())?)
    }

    pub(super) fn link(&self, at: &CStr, target: &CStr) -> Outcome {
        let (dir, name) = self.place(at)?;
        let target = path(target).as_os_str();
        match dir.symlink(target, &name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                if dir.read_link(&name).is_ok_and(|found| found == target) {
                    return Ok(());
                }
                dir.unlink(&name)?;
                Ok(dir.symlink(target, &name)?)
            }
            Err(errno) => Err(Failure::from(errno)),
        }
    }
}

/// Filesystems of a kernel object that belongs to another user namespace than the container's cannot be mounted; the host's own is
/// shown instead, as it is or less, if the plan allows it.
const HOSTS: [(&CStr, &CStr); 3] = [(c"sysfs", c"/sys"), (c"proc", c"/proc"), (c"mqueue", c"/dev/mqueue")];

fn new(fs: &Filesystem, mode: Option<CString>) -> Result<OwnedFd> {
    let with_mode;
    let parameters = match mode {
        Some(mode) => {
            with_mode = [&fs.parameters[..], &[(c"mode".to_owned(), Some(mode))]].concat();
            &with_mode
        }
        None => &fs.parameters,
    };
    let refused = match mount::filesystem_from(&fs.kind, &fs.source, parameters, fs.attributes) {
        Err(Errno::PERM) => Errno::PERM,
        done => return done,
    };
    let Some((_, path)) = HOSTS.iter().find(|(kind, _)| fs.or_hosts && *kind == fs.kind.as_c_str()) else {
        return Err(refused);
    };
    let copy = mount::clone_path(path, true).map_err(|_| refused)?;
    let read_only = if fs.kind.as_c_str() == c"sysfs" { 1 } else { 0 };
    let set = u64::from(fs.attributes) | read_only;
    change(copy.as_fd(), &Attributes { set, recursive: true, ..Attributes::default() })?;
    Ok(copy)
}

fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64 == PROC_SUPER_MAGIC)
}

fn change(mounted: BorrowedFd<'_>, attributes: &Attributes) -> Result<()> {
    if *attributes == Attributes::default() { Ok(()) } else { mount::set_attributes(mounted, attributes) }
}

/// Copy directories, links and regular files with owner and mode.
fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let open = |fd: BorrowedFd<'_>| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(fd, c".", flags, Mode::empty()).map(Dir::from_fd)
    };
    copy_directory(&open(from)?, &open(to)?, 0)
}

/// Directories below each other that are copied.
const MAX_COPY_DEPTH: usize = 32;

fn copy_directory(from: &Dir, to: &Dir, depth: usize) -> Result<()> {
    if depth > MAX_COPY_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    for (name, kind) in from.entries()? {
        let stat = from.metadata(&name)?;
        match kind {
            FileType::Directory => {
                to.mkdir(&name, 0o700)?;
                copy_directory(&from.open_dir(&name)?, &to.open_dir(&name)?, depth + 1)?;
            }
            FileType::Symlink => to.symlink(from.read_link(&name)?, &name)?,
            FileType::RegularFile => {
                let source = from.open_with(&name, OFlags::RDONLY, Mode::empty())?;
                let copy = to.create_new(&name, 0o600)?;
                while rustix::fs::sendfile(&copy, &source, None, 1 << 20)? > 0 {}
            }
            _ => to.mknod(&name, kind, 0o600, stat.st_rdev)?,
        }
        to.chown(&name, stat.st_uid, stat.st_gid)?;
        if kind != FileType::Symlink {
            to.chmod(&name, stat.st_mode & 0o7777)?;
        }
    }
    Ok(())
}
