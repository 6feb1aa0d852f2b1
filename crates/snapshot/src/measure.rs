//! What a tree takes on the disk, and whether anything touched it: both from the facts of its inodes, without reading a file.
//!
//! Invariant: two equal seals of one directory mean that no file of it was written, replaced, renamed, linked, or changed in
//! owner, mode or attributes in between: the kernel sets an inode's change time at each of these, and nobody can set it back.
//! What a disk does to blocks behind the kernel's back only reading them shows.
use crate::error::Error;
use crate::layers::open_dir;
use crate::walk::MAX_DEPTH;
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use knarr_oci::digest::{Digest, Hasher, sha256_of};
use rustix::fs::{FileType, Stat};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Facts about a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of all blocks, directories included, each file once: what `du` counts.
    pub disk: u64,
    /// Everything below the top.
    pub entries: u64,
    /// Over the facts of all inodes.
    pub seal: Digest,
}

/// Measures a tree, the directory itself included. Another file system mounted in it is not entered.
///
/// It is done for each layer of an image that is pulled again, so no path is made and nothing is sorted: the seal is a sum
/// over the inodes of a hash of each, its name and its directory.
pub fn measure(path: &Path) -> Result<Measure, Error> {
    let top = open_dir(path)?;
    let own = top.self_metadata().map_err(Error::errno("stat", path))?;
    let mut looking =
        Looking { device: own.st_dev, seen: HashSet::new(), disk: blocks(&own), entries: 0, sum: [0; 4] };
    looking.add(0, b"", &own);
    looking.below(&top, own.st_ino, 0)?;
    let mut hasher = Hasher::sha256();
    hasher.update(&looking.entries.to_le_bytes());
    looking.sum.iter().for_each(|part| hasher.update(&part.to_le_bytes()));
    Ok(Measure { disk: looking.disk, entries: looking.entries, seal: hasher.finish() })
}

struct Looking {
    device: u64,
    seen: HashSet<u64>,
    disk: u64,
    entries: u64,
    sum: [u64; 4],
}

impl Looking {
    fn below(&mut self, dir: &Dir, inode: u64, depth: usize) -> Result<(), Error> {
        let fail = |name: &OsStr, action| {
            let name = name.to_string_lossy().into_owned();
            move |errno| Error::Apply { name, action, errno }
        };
        if depth > MAX_DEPTH {
            return Err(crate::apply::problem(b"", "directories are nested too deep"));
        }
        for (name, _) in dir.entries().map_err(fail(OsStr::new(""), "read directory"))? {
            let stat = match dir.metadata(&name) {
                Ok(stat) => stat,
                // Gone meanwhile: the tree may be in use.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(fail(&name, "stat")(errno)),
            };
            self.entries += 1;
            if stat.st_nlink <= 1 || self.seen.insert(stat.st_ino) {
                self.disk = self.disk.saturating_add(blocks(&stat));
            }
            self.add(inode, name.as_bytes(), &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_dev == self.device {
                match dir.open_dir(&name) {
                    Ok(child) => self.below(&child, stat.st_ino, depth + 1)?,
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(errno) => return Err(fail(&name, "open")(errno)),
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_sign_loss, reason = "bits for a hash")]
    fn add(&mut self, parent: u64, name: &[u8], stat: &Stat) {
        let facts: [u64; 13] = [
            parent,
            stat.st_ino,
            u64::from(stat.st_mode),
            u64::from(stat.st_uid),
            u64::from(stat.st_gid),
            // Reading a directory's count of links or size tells nothing that its members do not.
            stat.st_nlink,
            stat.st_rdev,
            stat.st_size as u64,
            stat.st_blocks as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            stat.st_ctime as u64,
            stat.st_ctime_nsec,
        ];
        let mut bytes = [0; 13 * 8];
        for (place, fact) in bytes.chunks_exact_mut(8).zip(facts) {
            place.copy_from_slice(&fact.to_le_bytes());
        }
        let hash = sha256_of(&[&bytes, name]);
        for (part, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            *part = part.wrapping_add(bytes.try_into().map_or(0, u64::from_le_bytes));
        }
    }
}

/// Bytes that a tree or a file takes on the disk; 0 if it is not there.
pub fn disk_usage(path: &Path) -> Result<u64, Error> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(knarr_linux::Errno::NOENT) => return Ok(0),
        Err(errno) => return Err(Error::errno("stat", path)(errno)),
    };
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
        measure(path).map(|measure| measure.disk)
    } else {
        Ok(blocks(&stat))
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seal_breaks_with_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let (top, file) = (dir.path(), dir.path().join("a/file"));
        fs::create_dir(top.join("a")).unwrap();
        fs::write(&file, "content").unwrap();
        fs::hard_link(&file, top.join("link")).unwrap();
        let first = measure(top).unwrap();
        assert_eq!((first.entries, measure(top).unwrap()), (3, first.clone()));
        let mut seals = HashSet::from([first.seal.clone()]);
        let mut changed = |what: &str| {
            assert!(seals.insert(measure(top).unwrap().seal), "{what}");
        };
        let times = fs::FileTimes::new().set_modified(fs::metadata(&file).unwrap().modified().unwrap());
        // The same size and modification time.
        fs::write(&file, "CONTENT").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        changed("content");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        changed("mode");
        fs::remove_file(top.join("link")).unwrap();
        changed("link");
        fs::rename(&file, top.join("a/other")).unwrap();
        changed("name");
    }

    #[test]
    fn usage_is_that_of_du() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40 {
            fs::write(dir.path().join(n.to_string()), vec![1; n * 1000]).unwrap();
        }
        fs::hard_link(dir.path().join("39"), dir.path().join("again")).unwrap();
        let du = std::process::Command::new("du").args(["-s", "-B1"]).arg(dir.path()).output().unwrap();
        let expected: u64 =
            String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(disk_usage(dir.path()).unwrap(), expected);
        assert_eq!(disk_usage(&dir.path().join("nothing")).unwrap(), 0);
    }
}
