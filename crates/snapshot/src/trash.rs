//! Deleting directory trees: renamed out of sight at once, deleted by one thread in the background, and what a crash left
//! again at the next start.
//!
//! Invariants: `<data-root>/trash` belongs to nobody; a tree in it is deleted through descriptors, never by its path; there is
//! at most one deleting thread, and it ends when the directory is empty.
use crate::error::Error;
use crate::layers::open_dir;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The trash of a data root. Cheap to clone.
#[derive(Clone)]
pub struct Trash(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    number: AtomicU64,
    worker: Mutex<Worker>,
    idle: Condvar,
}

#[derive(Default)]
struct Worker {
    running: bool,
    /// Something came after it had looked.
    again: bool,
}

impl Trash {
    /// For a directory that exists; what is in it is deleted in the background.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let shared =
            Shared { dir, number: AtomicU64::new(0), worker: Mutex::default(), idle: Condvar::new() };
        let trash = Self(Arc::new(shared));
        trash.empty();
        trash
    }

    /// Takes a file or tree away. Whether it was there.
    pub fn take(&self, path: &Path) -> Result<bool, Error> {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let short: String = name.chars().take(64).collect();
        // Others may put things there; a name of a process that was is not used again by chance.
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let target = self.0.dir.join(format!("{short}-{}-{number}", nanos.as_nanos()));
        match fs::rename(path, &target) {
            Ok(()) => {
                self.empty();
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("rename", path)(error)),
        }
    }

    /// The same for what may stay: it is reported, and found again by whoever sweeps.
    pub fn discard(&self, path: &Path) {
        if let Err(error) = self.take(path) {
            tracing::warn!(%error, "not moved to the trash");
        }
    }

    /// Deletes what is there, also what others put there, in the background.
    pub fn empty(&self) {
        let mut worker = self.0.lock();
        if worker.running {
            worker.again = true;
            return;
        }
        worker.running = true;
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("trash".to_owned()).spawn(move || shared.work());
        if let Err(error) = thread {
            worker.running = false;
            tracing::warn!(%error, "trash not emptied");
        }
    }

    /// Waits until nothing is being deleted.
    pub fn settle(&self) {
        let mut worker = self.0.lock();
        while worker.running {
            worker = self.0.idle.wait(worker).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            if let Err(error) = self.delete_all() {
                tracing::warn!(%error, "trash not emptied");
            }
            let mut worker = self.lock();
            if !std::mem::take(&mut worker.again) {
                worker.running = false;
                self.idle.notify_all();
                return;
            }
        }
    }

    /// One tree that cannot be deleted does not keep the others.
    fn delete_all(&self) -> Result<(), Error> {
        let dir = open_dir(&self.dir)?;
        for (name, _) in dir.entries().map_err(Error::errno("read", &self.dir))? {
            if let Err(errno) = dir.remove_tree(&name) {
                let path = self.dir.join(&name);
                tracing::warn!(path = %path.display(), %errno, "trash not deleted");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_sight_at_once_and_gone_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, outside) = (dir.path().join("trash"), dir.path().join("outside"));
        fs::create_dir_all(bin.join("left by a crash/deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        let trash = Trash::open(bin.clone());
        for number in 0..20 {
            let tree = dir.path().join(format!("tree{number}"));
            fs::create_dir_all(tree.join("a/b")).unwrap();
            std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
            assert!(trash.take(&tree).unwrap());
            assert!(!tree.exists());
        }
        assert!(!trash.take(&dir.path().join("tree0")).unwrap());
        fs::write(bin.join("a file"), "").unwrap();
        trash.empty();
        trash.settle();
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 0);
        assert!(outside.join("file").exists(), "links are not followed");
    }
}
