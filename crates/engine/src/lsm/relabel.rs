//! `-v /src:/dst:z` and `:Z`: the files of a bind get the container's SELinux label.
//!
//! Standard: xattr(7), `security.selinux`. Invariants: parts of the host that everybody uses are refused. The source is opened
//! once, and from there everything is reached by descriptors and links are never followed: a container that has the same
//! files can rename and replace what it will, nothing outside of them gets a label.
use crate::error::{Error, Result};
use knarr_linux::path::{Dir, openat2};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const ATTRIBUTE: &str = "security.selinux";
/// Deepest directory that is entered.
const MAX_DEPTH: usize = 256;
/// A label of these makes the host unusable.
const REFUSED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/system",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// `label` is the container's file label; `shared`: all containers may use the files.
pub(crate) fn relabel(path: &Path, label: &str, shared: bool) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(|errno| Error::path("resolve", path)(errno.into()))?;
    let canonical = std::fs::read_link(name_of(&opened)).map_err(Error::path("resolve", path))?;
    if REFUSED.iter().any(|refused| canonical == Path::new(refused)) {
        return Err(Error::Invalid(format!("SELinux relabeling of {} is not allowed", path.display())));
    }
    let mut value = label_of(label, shared).into_bytes();
    value.push(0);
    apply(opened, &canonical, &value, 0)
}

/// A shared label has a level without categories.
fn label_of(label: &str, shared: bool) -> String {
    let mut parts = label.splitn(4, ':');
    match (shared, parts.next(), parts.next(), parts.next(), parts.next()) {
        (true, Some(user), Some(role), Some(kind), Some(_)) => format!("{user}:{role}:{kind}:s0"),
        _ => label.to_owned(),
    }
}

/// The object of a descriptor itself, also when that is a link.
fn name_of(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// `path` is for messages.
fn apply(object: OwnedFd, path: &Path, value: &[u8], depth: usize) -> Result<()> {
    let failed = |action: &'static str, errno: Errno| Error::path(action, path)(errno.into());
    match rustix::fs::setxattr(name_of(&object), ATTRIBUTE, value, XattrFlags::empty()) {
        // A file system without labels has one for everything.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(failed("label", errno)),
    }
    let stat = rustix::fs::fstat(&object).map_err(|errno| failed("look at", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || depth >= MAX_DEPTH {
        return Ok(());
    }
    let dir = Dir::from_fd(object);
    for (name, _) in dir.entries().map_err(|errno| failed("list", errno))? {
        match dir.open_path(&name) {
            Ok(entry) => apply(entry, &path.join(&name), value, depth + 1)?,
            // Removed meanwhile.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::path("open", path.join(&name))(errno.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_files() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        assert_eq!(label_of(label, false), label);
        assert_eq!(label_of(label, true), "system_u:object_r:container_file_t:s0");
        let refused = relabel(Path::new("/usr/../etc"), label, false).unwrap_err().to_string();
        assert_eq!(refused, "SELinux relabeling of /usr/../etc is not allowed");
    }

    /// Any value is taken where the kernel has no SELinux, so the walk itself can be seen.
    #[test]
    fn links_are_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let label = "u:r:t:s0:c1,c2";
        if relabel(dir.path(), label, true).is_err() {
            // A kernel with SELinux, or a file system that refuses.
            return;
        }
        let read = |path: &Path| {
            let mut buffer = [0u8; 64];
            rustix::fs::lgetxattr(path, ATTRIBUTE, &mut buffer[..])
                .map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        };
        if let Ok(found) = read(&dir.path().join("sub/file")) {
            assert_eq!(found, "u:r:t:s0\0");
        }
        assert!(read(outside.path()).is_err());
    }
}
