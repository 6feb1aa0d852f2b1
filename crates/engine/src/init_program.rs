//! `/sbin/docker-init` of containers with `--init`: a copy of the executable that nothing else is executed from.
//!
//! Whoever is root in a container can reach the file behind `/proc/1/exe`, and a privileged one can mount it writable
//! (CVE-2019-5736 is the class). Invariant: that file is never the installed program, nor the sealed copy that the
//! supervisors run from. The copy is made when the first container asks for it; containers that run when the engine ends
//! keep theirs by their mounts, and the next engine makes a new one. It lies below the data root: `/run` is often `noexec`.
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "docker-init";

pub(crate) struct InitProgram {
    dir: PathBuf,
    /// The sealed copy of the executable.
    source: OwnedFd,
    making: Mutex<()>,
}

impl InitProgram {
    /// Forgets the copies of earlier engines.
    pub fn open(dir: PathBuf, source: OwnedFd) -> Result<Self> {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::path("clear", &dir)(error))
            }
            _ => Ok(Self { dir, source, making: Mutex::default() }),
        }
    }

    /// The copy to mount.
    pub fn path(&self) -> Result<PathBuf> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(NAME);
        if !path.exists() {
            self.make(&path).map_err(Error::path("make", &path))?;
        }
        Ok(path)
    }

    fn make(&self, path: &Path) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let unfinished = self.dir.join(format!("{NAME}.new"));
        let mut copy =
            File::options().write(true).create(true).truncate(true).mode(0o555).open(&unfinished)?;
        // The descriptor has one position, which others may use: it is read by offset.
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let count = rustix::io::pread(self.source.as_fd(), &mut buffer[..], at)?;
            if count == 0 {
                break;
            }
            copy.write_all(&buffer[..count])?;
            at += count as u64;
        }
        drop(copy);
        fs::rename(&unfinished, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_of_its_own_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "text").unwrap();
        let open =
            || InitProgram::open(dir.path().join("init"), File::open(&program).unwrap().into()).unwrap();
        let init = open();
        let path = init.path().unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!((first.mode() & 0o7777, first.nlink()), (0o555, 1));
        assert_ne!(first.ino(), fs::metadata(&program).unwrap().ino());
        assert_eq!(fs::metadata(init.path().unwrap()).unwrap().ino(), first.ino());
        // The next engine's is another file, and one that was deleted comes back.
        let held = File::open(&path).unwrap();
        let path = open().path().unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), held.metadata().unwrap().ino());
        fs::remove_file(&path).unwrap();
        assert!(init.path().unwrap().exists());
    }
}
