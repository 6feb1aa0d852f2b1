//! The service: rows and directories of volumes.
use crate::error::Error;
use crate::{Result, copy_tree};
use knarr_base::Id;
use knarr_linux::path::{Dir, Root};
use knarr_state::{Event, Record, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A volume; the row's key is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub created_nanos: i64,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made for one container without a name; removed with it by `rm -v`.
    #[serde(default)]
    pub anonymous: bool,
}

impl Record for Volume {
    const TABLE: &'static str = "volumes";
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct CreateVolume {
    /// Empty: an anonymous volume.
    pub name: String,
    /// Empty: `local`.
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// Label of anonymous volumes, as Docker writes it.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// Mode of the directory of all volumes: an ordinary user of the host must not reach set-user-id programs that a
/// container left in one (CVE-2021-41091).
const PRIVATE: u32 = 0o700;

/// All volumes of one engine.
pub struct Volumes {
    root: PathBuf,
    trash: PathBuf,
    store: Store,
}

impl Volumes {
    /// `data_root/volumes` is made; directories that no row owns, not even a damaged one, are moved to the trash.
    pub fn open(data_root: &Path, store: Store) -> Result<Self> {
        let this = Self { root: data_root.join("volumes"), trash: data_root.join("trash"), store };
        for dir in [&this.root, &this.trash] {
            let made = fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
            // Whoever made it, and with whatever mode.
            let made = made.and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE)));
            made.map_err(|source| Error::Io { action: "make", path: dir.clone(), source })?;
        }
        this.sweep()?;
        Ok(this)
    }

    fn sweep(&self) -> Result<()> {
        let rows: BTreeMap<String, Volume> = self.store.list::<Volume>()?.into_iter().collect();
        // After the list, which puts damaged rows aside: what a volume holds does not go with its record.
        let damaged = self.store.quarantined()?;
        let is_damaged = |name: &str| damaged.iter().any(|row| row.table == Volume::TABLE && row.key == name);
        let entries = fs::read_dir(&self.root);
        for entry in
            entries.map_err(|source| Error::Io { action: "list", path: self.root.clone(), source })?
        {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_damaged(&name) && !rows.contains_key(&name) {
                tracing::warn!(volume = %name, "volume with a damaged record left in place: create it again to use it");
            } else if !rows.contains_key(&name) {
                tracing::warn!(volume = %name, "volume directory without a record moved to the trash");
                self.discard(&name)?;
            } else {
                self.sweep_copies(&name)?;
            }
        }
        Ok(())
    }

    /// What an engine that died while it filled the volume left.
    fn sweep_copies(&self, name: &str) -> Result<()> {
        let dir = self.root.join(name);
        let list = |source| Error::Io { action: "list", path: dir.clone(), source };
        for entry in fs::read_dir(&dir).map_err(list)? {
            let entry = entry.map_err(list)?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                self.throw_away(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the volume, or returns the one of that name.
    pub fn create(&self, request: &CreateVolume) -> Result<Volume> {
        let anonymous = request.name.is_empty();
        let name = if anonymous { random_name() } else { request.name.clone() };
        check(&name, request)?;
        if let Some(volume) = self.store.get::<Volume>(&name)? {
            return if request.options.is_empty() || volume.options == request.options {
                Ok(volume)
            } else {
                Err(Error::Differs(name))
            };
        }
        self.make_directory(&name)?;
        let mut labels = request.labels.clone();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        let event = Event::now("volume", "create", &name).with("driver", "local");
        let volume = Volume {
            name: name.clone(),
            created_nanos: event.time_nanos,
            labels,
            options: request.options.clone(),
            anonymous,
        };
        self.store.write(|tx| match tx.get::<Volume>(&name)? {
            Some(other) => Ok(other),
            None => {
                tx.put(&name, &volume)?;
                tx.emit(event.clone());
                Ok(volume.clone())
            }
        })
    }

    /// `volumes/<name>/_data`, synced into its parents before the row names it.
    fn make_directory(&self, name: &str) -> Result<()> {
        let dir = self.root.join(name);
        let data = dir.join("_data");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o701).create(&dir).map_err(io("make", &dir))?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&data).map_err(io("make", &data))?;
        for path in [&dir, &self.root] {
            fs::File::open(path).and_then(|d| d.sync_all()).map_err(io("sync", path))?;
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<Volume> {
        self.store.get(name)?.ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    /// By name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        Ok(self.store.list::<Volume>()?.into_iter().map(|(_, volume)| volume).collect())
    }

    /// `in_use` names the containers that hold the volume.
    pub fn remove(&self, name: &str, in_use: &dyn Fn(&str) -> Vec<String>) -> Result<()> {
        let removed: Result<bool> = self.store.write(|tx| {
            let containers = in_use(name);
            if !containers.is_empty() {
                return Err(Error::InUse { name: name.to_owned(), containers });
            }
            let existed = tx.delete::<Volume>(name)?;
            if existed {
                tx.emit(Event::now("volume", "destroy", name).with("driver", "local"));
            }
            Ok(existed)
        });
        if !removed? {
            return Err(Error::NotFound(name.to_owned()));
        }
        self.discard(name)
    }

    /// Out of sight at once; deleted by the background sweep of the trash.
    fn discard(&self, name: &str) -> Result<()> {
        let from = self.root.join(name);
        let to = self.trash.join(format!("volume-{}", random_name()));
        match fs::rename(&from, &to) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| Error::Io { action: "remove", path: from, source }),
        }
    }

    /// The directory that containers see.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// Bytes on disk.
    pub fn size(&self, name: &str) -> Result<u64> {
        fn sum(dir: &Path) -> std::io::Result<u64> {
            let mut total = 0;
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                total += metadata.blocks() * 512;
                if metadata.is_dir() {
                    total += sum(&entry.path()).unwrap_or(0);
                }
            }
            Ok(total)
        }
        let path = self.mountpoint(name);
        sum(&path).map_err(|source| Error::Io { action: "measure", path, source })
    }

    /// Fills an empty volume with what the image has at `path`, as Docker does when a container is created with it.
    pub fn copy_up(&self, name: &str, image: &Root, path: &Path, how: CopyUp) -> Result<()> {
        let to = self.mountpoint(name);
        let copy = |errno| Error::Copy { path: path.to_owned(), errno };
        let open = |dir: &Path| Root::open(dir).and_then(|root| root.open_dir(".")).map_err(copy);
        let target = open(&to)?;
        if !target.entries().map_err(copy)?.is_empty() {
            return Ok(());
        }
        let source: Dir = match image.open_dir(path) {
            Ok(dir) => dir,
            Err(knarr_linux::Errno::NOENT | knarr_linux::Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(copy(errno)),
        };
        if how == CopyUp::InPlace {
            return copy_tree(&source, &target).map_err(copy);
        }
        let unfinished = self.root.join(name).join(format!("{UNFINISHED}{}", random_name()));
        let io = |action| {
            let path = unfinished.clone();
            move |source| Error::Io { action, path, source }
        };
        fs::DirBuilder::new().mode(0o700).create(&unfinished).map_err(io("make"))?;
        let copied = copy_tree(&source, &open(&unfinished)?).map_err(copy);
        knarr_base::failpoint!("volume.copied");
        // A directory takes the place of an empty one only: what somebody else has put there meanwhile stays.
        let done = copied.and_then(|()| match fs::rename(&unfinished, &to) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
            renamed => renamed.map(|()| true).map_err(io("rename")),
        });
        if !matches!(done, Ok(true)) {
            self.throw_away(&unfinished)?;
        }
        done.map(drop)
    }

    fn throw_away(&self, path: &Path) -> Result<()> {
        let to = self.trash.join(format!("volume-{}", random_name()));
        fs::rename(path, &to).map_err(|source| Error::Io { action: "remove", path: path.to_owned(), source })
    }
}

/// Beginning of the names of copies that are not complete, beside `_data`.
const UNFINISHED: &str = "copying-";

/// How a volume is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyUp {
    /// All or nothing, whenever the engine dies: a complete copy takes the place of the empty directory.
    AtOnce,
    /// Into the directory itself, since somebody has it mounted.
    InPlace,
}

fn check(name: &str, request: &CreateVolume) -> Result<()> {
    if !matches!(request.driver.as_str(), "" | "local") {
        return Err(Error::UnknownDriver { name: name.to_owned(), driver: request.driver.clone() });
    }
    if let Some(option) = request.options.keys().next() {
        return Err(Error::UnsupportedOption { name: name.to_owned(), option: option.clone() });
    }
    if name.len() < 2 {
        return Err(Error::NameTooShort(name.to_owned()));
    }
    let first = name.as_bytes()[0].is_ascii_alphanumeric();
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= MAX_NAME { Ok(()) } else { Err(Error::NameInvalid(name.to_owned())) }
}

/// Longest name; a directory entry has at most 255 bytes.
const MAX_NAME: usize = 255;

fn random_name() -> String {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // The kernel's pool is ready long before any engine runs; an interrupted call is repeated.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    Id::from_bytes(&bytes).to_string()
}
