//! Unpacked layers: `<data-root>/layers/<diff-id hex>/{fs, meta.json}`.
//!
//! What a layer hides of those below it is in its tree, as overlayfs has it. On a file system that cannot keep such marks
//! (overlayfs itself, network file systems) it is a list beside the tree, for all layers of the data root: `layers/listed`
//! says so. Invariants: a layer appears under its diff id only after its content was verified; it is made in `tmp/` and
//! renamed; it goes by a rename to `trash/`. What lies in `tmp/` and `trash/` belongs to nobody.
use crate::apply::{self, Applied, Whiteouts};
use crate::archive::Limits;
pub use crate::claims::Claim;
use crate::claims::Claims;
use crate::error::Error;
use crate::fresh::Fresh;
use crate::hidden;
use crate::trash::Trash;
use knarr_linux::path::{Dir, Root};
use knarr_oci::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Mode of the directories that trees lie in: an ordinary user of the host must not reach the set-user-id programs of
/// images and containers (CVE-2021-41091).
const PRIVATE: u32 = 0o700;
/// File in `layers/`.
const LISTED: &str = "listed";

/// Asks the file system to begin each directory made in `dir` somewhere else, as far as it knows of that (ext2 to ext4). Where inodes
/// were freed lately ext4 looks at each of them before it makes a new one, for minutes: next to a tree that was just deleted,
/// making another takes seven times as long. Layers that are unpacked side by side do not meet either.
fn spread(dir: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(dir) = File::open(dir) else { return };
    // No other file system has the flag, and none needs it.
    if let Ok(flags) = ioctl_getflags(&dir)
        && !flags.contains(IFlags::TOPDIR)
    {
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// Facts about an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerMeta {
    pub diff_id: Digest,
    /// Bytes of all regular files.
    pub size: u64,
    /// Bytes of the uncompressed tar.
    pub stream_len: u64,
    pub entries: u64,
}

/// A layer that is unpacked and verified but has no name yet. Dropping it throws it away.
pub struct Staged {
    pub meta: LayerMeta,
    dir: PathBuf,
    layers: Layers,
    armed: bool,
}

impl Staged {
    /// How the layer with these facts, as it is unpacked, differs from this one; none if it does not.
    pub fn differs(&self) -> Result<Option<String>, Error> {
        let there = self.layers.dir(&self.meta.diff_id);
        if let Some(difference) = crate::difference(&there.join("fs"), &self.dir.join("fs"))? {
            return Ok(Some(difference));
        }
        for name in ["meta.json", hidden::FILE] {
            let read = |dir: &Path| match fs::read(dir.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io("read", dir.join(name))(e)),
            };
            if read(&there)? != read(&self.dir)? {
                return Ok(Some(format!("{name}: content")));
            }
        }
        Ok(None)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.armed {
            self.layers.discard(&self.dir);
        }
    }
}

#[derive(Default)]
struct Shared {
    claims: Claims,
    next: AtomicU64,
    listed: bool,
    made: Mutex<HashMap<Digest, u64>>,
}

/// The unpacked layers of a data root. Cheap to clone.
#[derive(Clone)]
pub struct Layers {
    data_root: PathBuf,
    shared: Arc<Shared>,
    trash: Trash,
    fresh: Fresh,
    is_new_boot: bool,
}

impl Layers {
    /// Opens the layers of a data root and makes the directories that are missing.
    pub fn open(data_root: &Path) -> Result<Self, Error> {
        let is_new = !data_root.join("layers").exists();
        for dir in ["layers", "tmp", "trash"] {
            let path = data_root.join(dir);
            DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE)
                .create(&path)
                .map_err(Error::io("create", &path))?;
            // whoever made it, and with whatever mode
            fs::set_permissions(&path, fs::Permissions::from_mode(PRIVATE))
                .map_err(Error::io("change mode of", &path))?;
        }
        spread(&data_root.join("tmp"));
        let marker = data_root.join("layers").join(LISTED);
        if is_new && !crate::driver::keeps_marks(&data_root.join("tmp"))? {
            fs::write(&marker, "").map_err(Error::io("create", &marker))?;
        }
        sync_dir(data_root)?;
        let shared = Shared { listed: marker.exists(), ..Shared::default() };
        let trash = Trash::open(data_root.join("trash"));
        let (fresh, is_new_boot) = Fresh::open(data_root, &trash)?;
        Ok(Self { data_root: data_root.to_owned(), shared: Arc::new(shared), trash, fresh, is_new_boot })
    }

    pub(crate) fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// What layers hide is listed beside them: they are no lower directories for overlayfs.
    pub fn are_listed(&self) -> bool {
        self.shared.listed
    }

    /// The machine was started anew since these layers were opened the last time: some may not have reached the disk.
    pub fn is_new_boot(&self) -> bool {
        self.is_new_boot
    }

    /// Where what is removed goes; the one of the data root.
    pub fn trash(&self) -> &Trash {
        &self.trash
    }

    fn dir(&self, diff_id: &Digest) -> PathBuf {
        self.data_root.join("layers").join(diff_id.hex())
    }
    /// The layer's tree, a lower directory for overlayfs.
    pub fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir(diff_id).join("fs")
    }
    pub fn exists(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }
    pub fn meta(&self, diff_id: &Digest) -> Result<LayerMeta, Error> {
        let path = self.dir(diff_id).join("meta.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NoLayer(diff_id.clone())),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        serde_json::from_slice(&bytes).map_err(|e| Error::io("parse", path)(e.into()))
    }

    /// Diff ids of all layers.
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        let dir = self.data_root.join("layers");
        let mut list = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let entry = entry.map_err(Error::io("read", &dir))?;
            let name = entry.file_name();
            list.extend(name.to_str().and_then(|hex| Digest::parse(&format!("sha256:{hex}")).ok()));
        }
        list.sort();
        Ok(list)
    }

    /// The right to unpack a layer; none if it is there. Waits while somebody else unpacks it.
    pub fn claim(&self, diff_id: &Digest) -> Option<Claim> {
        self.shared.claims.claim(diff_id, || self.exists(diff_id))
    }

    /// Unpacks a layer into `tmp/` and verifies it.
    pub fn stage<R: Read + Send>(
        &self,
        source: R,
        expected: Option<&Digest>,
        whiteouts: Whiteouts,
        limits: Limits,
    ) -> Result<Staged, Error> {
        let dir = self.new_dir("layer")?;
        match self.fill(source, &dir, whiteouts, limits, expected) {
            Ok(meta) => Ok(Staged { meta, dir, layers: self.clone(), armed: true }),
            Err(e) => {
                self.discard(&dir);
                Err(e)
            }
        }
    }

    fn fill<R: Read + Send>(
        &self,
        source: R,
        dir: &Path,
        whiteouts: Whiteouts,
        limits: Limits,
        expected: Option<&Digest>,
    ) -> Result<LayerMeta, Error> {
        let tree = dir.join("fs");
        DirBuilder::new().mode(0o755).create(&tree).map_err(Error::io("create", &tree))?;
        let root = open_dir(&tree)?;
        // whatever the process's umask is
        rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(Error::errno("chmod", &tree))?;
        let whiteouts = match whiteouts {
            Whiteouts::Overlay if self.are_listed() => Whiteouts::Listed,
            asked => asked,
        };
        let Applied { diff_id, stream_len, size, entries, hidden } =
            apply::apply(source, root, whiteouts, limits)?;
        if let Some(expected) = expected.filter(|expected| **expected != diff_id) {
            return Err(Error::DiffId { expected: expected.clone(), found: diff_id });
        }
        if whiteouts == Whiteouts::Listed {
            let path = dir.join(hidden::FILE);
            fs::write(&path, hidden.encode()).map_err(Error::io("write", &path))?;
        }
        let meta = LayerMeta { diff_id, size, stream_len, entries };
        let path = dir.join("meta.json");
        let bytes = serde_json::to_vec(&meta).map_err(|e| Error::io("encode", &path)(e.into()))?;
        let mut file = File::create(&path).map_err(Error::io("create", &path))?;
        file.write_all(&bytes).map_err(Error::io("write", &path))?;
        Ok(meta)
    }

    /// Gives staged layers their names. They reach the disk in a while; until then they are marked (see `fresh`).
    pub fn commit(&self, staged: Vec<Staged>) -> Result<Vec<LayerMeta>, Error> {
        if staged.is_empty() {
            return Ok(Vec::new());
        }
        for layer in &staged {
            self.fresh.mark(&layer.meta.diff_id)?;
        }
        knarr_base::failpoint!("layers.marked", Error::Failpoint("layers.marked"));
        let mut done = Vec::new();
        for mut layer in staged {
            let target = self.dir(&layer.meta.diff_id);
            match fs::rename(&layer.dir, &target) {
                Ok(()) => {
                    layer.armed = false;
                    let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
                    self.made_lock().insert(layer.meta.diff_id.clone(), number);
                }
                // Somebody else was faster: the same content has the same name.
                Err(_) if self.exists(&layer.meta.diff_id) => {}
                Err(e) => return Err(Error::io("rename", target)(e)),
            }
            done.push(layer.meta.clone());
        }
        self.fresh.named(done.iter().map(|meta| meta.diff_id.clone()));
        knarr_base::failpoint!("layers.renamed", Error::Failpoint("layers.renamed"));
        Ok(done)
    }

    fn made_lock(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.shared.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Layers that were made by this process and not noted as seen ([`Layers::seen`]), each with the number of its making.
    pub fn made(&self) -> Vec<(Digest, u64)> {
        self.made_lock().iter().map(|(diff_id, number)| (diff_id.clone(), *number)).collect()
    }

    /// Whether it is among them.
    pub fn is_made(&self, diff_id: &Digest) -> bool {
        self.made_lock().contains_key(diff_id)
    }

    /// Somebody looked at the layer as it was made then. One that was made once more meanwhile stays noted.
    pub fn seen(&self, diff_id: &Digest, number: u64) {
        let mut made = self.made_lock();
        if made.get(diff_id) == Some(&number) {
            made.remove(diff_id);
        }
    }

    /// A new private directory in `tmp/`.
    pub fn new_dir(&self, kind: &str) -> Result<PathBuf, Error> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let path = self.data_root.join("tmp").join(format!("{kind}-{}-{number}", std::process::id()));
        if path.exists() {
            // of an earlier process with the same number
            self.discard(&path);
        }
        DirBuilder::new().mode(0o711).create(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    /// Takes a layer out of use: it is deleted in the background. True if it was there.
    pub fn remove(&self, diff_id: &Digest) -> Result<bool, Error> {
        self.trash.take(&self.dir(diff_id))
    }

    /// Removes what earlier processes left in `tmp/`. For the start of an engine.
    pub fn empty_tmp(&self) -> Result<(), Error> {
        let own = format!("-{}-", std::process::id());
        let tmp = self.data_root.join("tmp");
        for entry in fs::read_dir(&tmp).map_err(Error::io("read", &tmp))? {
            let entry = entry.map_err(Error::io("read", &tmp))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("layer-") && !name.contains(&own) {
                self.trash.take(&entry.path())?;
            }
        }
        Ok(())
    }

    fn discard(&self, path: &Path) {
        self.trash.discard(path);
    }
}

pub(crate) fn open_dir(path: &Path) -> Result<Dir, Error> {
    Root::open(path).and_then(|root| root.open_dir(".")).map_err(Error::errno("open", path))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", path))
}
