//! Layers that have their name and are not on the disk for sure yet.
//!
//! A layer's tree can be made again from its blob, which is durable, so nobody waits for the disk to take thousands of files.
//! Invariants: while a tree may still be lost with the power, `fresh/<hex>` says so, with the boot that it was made in;
//! the mark is made before the tree gets its name, and goes after a sync of the whole file system. A mark of another boot,
//! whatever it holds, means that the tree is not believed: it goes, and is unpacked again. File systems keep the order of the
//! two in their journals; no data is needed of the mark but its name.
use crate::error::Error;
use crate::trash::Trash;
use knarr_oci::digest::Digest;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Directory of the marks below the data root.
const DIR: &str = "fresh";
/// The boot in which an engine was here last.
const BOOT: &str = "boot";
/// Layers that come within this time are synced together.
const SYNC_AFTER: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    /// Marks whose trees are to be synced.
    waiting: HashSet<String>,
    running: bool,
}

/// The marks of one data root. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fresh {
    dir: PathBuf,
    boot: Arc<str>,
    state: Arc<Mutex<State>>,
}

impl Fresh {
    /// Opens the marks. Trees of another boot go into the trash. Whether the machine was started anew since the last time.
    pub(crate) fn open(data_root: &Path, trash: &Trash) -> Result<(Self, bool), Error> {
        let dir = data_root.join(DIR);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create", dir)(e)),
            _ => {}
        }
        let path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(path).map_err(Error::io("read", path))?.trim().to_owned();
        let known = dir.join(BOOT);
        let same = fs::read_to_string(&known).is_ok_and(|text| text == boot);
        let fresh = Self { dir, boot: boot.as_str().into(), state: Arc::default() };
        let mut waiting = HashSet::new();
        for entry in fs::read_dir(&fresh.dir).map_err(Error::io("read", &fresh.dir))? {
            let entry = entry.map_err(Error::io("read", &fresh.dir))?;
            let Ok(hex) = entry.file_name().into_string() else { continue };
            if hex == BOOT {
                continue;
            }
            if fs::read_to_string(entry.path()).is_ok_and(|text| text == boot) {
                waiting.insert(hex);
                continue;
            }
            if trash.take(&data_root.join("layers").join(&hex))? {
                tracing::warn!(
                    layer = hex,
                    "layer was not on the disk for sure when the machine went down: made again"
                );
            }
            remove(&entry.path())?;
        }
        if !same {
            fs::write(&known, &boot).map_err(Error::io("write", &known))?;
        }
        fresh.sync_later(waiting);
        Ok((fresh, !same))
    }

    fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(diff_id.hex())
    }

    /// Before the tree gets its name.
    pub(crate) fn mark(&self, diff_id: &Digest) -> Result<(), Error> {
        let path = self.path(diff_id);
        fs::write(&path, self.boot.as_bytes()).map_err(Error::io("write", path))
    }

    /// The trees have their names: they reach the disk in a while.
    pub(crate) fn named(&self, diff_ids: impl Iterator<Item = Digest>) {
        self.sync_later(diff_ids.map(|diff_id| diff_id.hex().to_owned()).collect());
    }

    fn sync_later(&self, names: HashSet<String>) {
        if names.is_empty() {
            return;
        }
        let begin = {
            let mut state = self.lock();
            state.waiting.extend(names);
            !std::mem::replace(&mut state.running, true)
        };
        let fresh = self.clone();
        let work = move || fresh.sync_all();
        if begin && thread::Builder::new().name("layer-sync".to_owned()).spawn(work).is_err() {
            // The marks stay: the next one, or the next engine, does it.
            self.lock().running = false;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_all(&self) {
        loop {
            thread::sleep(SYNC_AFTER);
            let names = {
                let mut state = self.lock();
                let names = std::mem::take(&mut state.waiting);
                state.running = !names.is_empty();
                names
            };
            if names.is_empty() {
                return;
            }
            let synced = File::open(&self.dir).map_err(Error::io("open", &self.dir)).and_then(|dir| {
                rustix::fs::syncfs(&dir).map_err(Error::errno("sync", &self.dir))?;
                names.iter().try_for_each(|name| remove(&self.dir.join(name)))
            });
            if let Err(error) = synced {
                tracing::warn!(%error, "layers are not on the disk for sure");
            }
        }
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn trees_of_another_boot_go_and_marks_of_this_one_go_after_a_sync() {
        let root = tempfile::tempdir().unwrap();
        let (layers, trash) = (root.path().join("layers"), Trash::open(root.path().join("trash")));
        fs::create_dir(root.path().join("trash")).unwrap();
        let ids: Vec<Digest> =
            ["lost", "empty", "kept"].iter().map(|t| Digest::sha256(t.as_bytes())).collect();
        for id in &ids {
            fs::create_dir_all(layers.join(id.hex()).join("fs")).unwrap();
        }
        let (fresh, new_boot) = Fresh::open(root.path(), &trash).unwrap();
        assert!(new_boot);
        fs::write(fresh.path(&ids[0]), "another boot").unwrap();
        fs::write(fresh.path(&ids[1]), "").unwrap();
        fresh.mark(&ids[2]).unwrap();
        let (fresh, new_boot) = Fresh::open(root.path(), &trash).unwrap();
        assert!(!new_boot);
        let there: Vec<bool> = ids.iter().map(|id| layers.join(id.hex()).exists()).collect();
        assert_eq!(there, [false, false, true]);
        let end = Instant::now() + Duration::from_secs(60);
        while ids.iter().any(|id| fresh.path(id).exists()) {
            assert!(Instant::now() < end, "the marks go");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
