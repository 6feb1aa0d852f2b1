//! Deleting directory trees: renamed out of sight first, deleted in the background, and again at the next start.
use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
pub(crate) struct Trash {
    dir: PathBuf,
    number: Arc<AtomicU64>,
}

impl Trash {
    /// Opens the directory and deletes what is in it in the background.
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(Error::path("make", &dir))?;
        let trash = Self { dir, number: Arc::default() };
        trash.empty();
        Ok(trash)
    }

    /// Deletes what is there, also what others put there, in the background. What is being deleted already is deleted
    /// twice, which is no error.
    pub fn empty(&self) {
        match fs::read_dir(&self.dir) {
            Ok(entries) => entries.flatten().for_each(|entry| delete(entry.path())),
            Err(error) => tracing::warn!(path = %self.dir.display(), %error, "trash not listed"),
        }
    }

    /// Takes a tree away. What cannot be renamed is left for the sweep.
    pub fn discard(&self, path: &Path) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let target = self.dir.join(format!("{}-{number}", crate::record::Time::now().0));
        match fs::rename(path, &target) {
            Ok(()) => delete(target),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "not moved to the trash"),
        }
    }
}

fn delete(path: PathBuf) {
    let job = move || {
        let deleted = if path.is_dir() { remove_tree(&path) } else { fs::remove_file(&path) };
        if let Err(error) = deleted
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "trash not deleted");
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => drop(handle.spawn_blocking(job)),
        Err(_) => job(),
    }
}

/// Through descriptors: what a container made there is not followed.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    knarr_linux::path::Root::open_beneath(parent)?.remove_tree(Path::new(name)).map_err(Into::into)
}
