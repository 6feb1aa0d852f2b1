//! `-v /src:/dst:z` and `:Z`: the files of a bind get the container's SELinux label.
//!
//! Standard: xattr(7), `security.selinux`. Invariants: links are never followed; parts of the host that everybody uses are refused.
use crate::error::{Error, Result};
use rustix::fs::XattrFlags;
use std::path::Path;

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
    let canonical = path.canonicalize().map_err(Error::path("resolve", path))?;
    if REFUSED.iter().any(|refused| canonical == Path::new(refused)) {
        return Err(Error::Invalid(format!("SELinux relabeling of {} is not allowed", path.display())));
    }
    apply(&canonical, &label_of(label, shared), 0)
}

/// A shared label has a level without categories.
fn label_of(label: &str, shared: bool) -> String {
    let mut parts = label.splitn(4, ':');
    match (shared, parts.next(), parts.next(), parts.next(), parts.next()) {
        (true, Some(user), Some(role), Some(kind), Some(_)) => format!("{user}:{role}:{kind}:s0"),
        _ => label.to_owned(),
    }
}

fn apply(path: &Path, label: &str, depth: usize) -> Result<()> {
    let mut value = label.as_bytes().to_vec();
    value.push(0);
    match rustix::fs::lsetxattr(path, ATTRIBUTE, &value, XattrFlags::empty()) {
        // A file system without labels has one for everything.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Error::path("label", path)(errno.into())),
    }
    let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if !is_dir || depth >= MAX_DEPTH {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(Error::path("list", path))?.flatten() {
        apply(&entry.path(), label, depth + 1)?;
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
