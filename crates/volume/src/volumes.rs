//! The service: rows and directories of volumes.
use crate::error::Error;
use crate::mounted::{Mounted, Resolve};
use crate::options::{self, Options};
use crate::volume::{ANONYMOUS_LABEL, CreateVolume, Volume};
use crate::{Result, copy_tree, quota};
use knarr_base::VolumeId;
use knarr_linux::path::{Dir, Root};
use knarr_state::{Event, Record, Store};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

/// Mode of the directory of all volumes: an ordinary user of the host must not reach set-user-id programs that a
/// container left in one (CVE-2021-41091).
const PRIVATE: u32 = 0o700;

/// All volumes of one engine.
pub struct Volumes {
    root: PathBuf,
    trash: PathBuf,
    store: Store,
    names: RwLock<Names>,
    mounted: Mounted,
    /// Two volumes of one size limit each must not take one number.
    projects: Mutex<()>,
}

/// How the volumes are called now.
#[derive(Default)]
struct Names {
    of: BTreeMap<VolumeId, String>,
    ids: BTreeMap<String, VolumeId>,
}

impl Names {
    fn add(&mut self, volume: &Volume) {
        self.of.insert(volume.id.clone(), volume.name.clone());
        self.ids.insert(volume.name.clone(), volume.id.clone());
    }

    fn remove(&mut self, volume: &Volume) {
        self.of.remove(&volume.id);
        self.ids.remove(&volume.name);
    }
}

impl Volumes {
    /// `data_root/volumes` is made; directories that no row owns, not even a damaged one, are moved to the trash.
    pub fn open(data_root: &Path, store: Store) -> Result<Self> {
        let this = Self {
            root: data_root.join("volumes"),
            trash: data_root.join("trash"),
            store,
            names: RwLock::default(),
            mounted: Mounted::default(),
            projects: Mutex::default(),
        };
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
        let mut names = Names::default();
        rows.values().for_each(|volume| names.add(volume));
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
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
        check_driver(&name, request)?;
        // Whatever options are asked for now: Docker's clients rely on it.
        if let Some(volume) = self.store.get::<Volume>(&name)? {
            return Ok(volume);
        }
        check_name(&name)?;
        let asked = options::of(&name, &request.options)?;
        let _project = (asked.size > 0).then(|| self.projects.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(volume) = self.store.get::<Volume>(&name)? {
            return Ok(volume);
        }
        let project = self.make_directory(&name, &asked)?;
        let mut labels = request.labels.clone();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        let event = Event::now("volume", "create", &name).with("driver", "local");
        let volume = Volume {
            id: VolumeId::from_bytes(&random()),
            name: name.clone(),
            created_nanos: event.time_nanos,
            labels,
            options: request.options.clone(),
            anonymous,
            project,
        };
        let made: Result<Volume> = self.store.write(|tx| match tx.get::<Volume>(&name)? {
            Some(other) => Ok(other),
            None => {
                tx.put(&name, &volume)?;
                tx.emit(event.clone());
                Ok(volume.clone())
            }
        });
        let made = made?;
        self.names.write().unwrap_or_else(PoisonError::into_inner).add(&made);
        Ok(made)
    }

    /// `volumes/<name>/_data`, synced into its parents before the row names it. Gives the number of its project, if its size is
    /// limited.
    fn make_directory(&self, name: &str, asked: &Options) -> Result<Option<u32>> {
        let dir = self.root.join(name);
        let data = dir.join("_data");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        let is_new = !dir.exists();
        fs::DirBuilder::new().recursive(true).mode(0o701).create(&dir).map_err(io("make", &dir))?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&data).map_err(io("make", &data))?;
        for path in [&dir, &self.root] {
            fs::File::open(path).and_then(|d| d.sync_all()).map_err(io("sync", path))?;
        }
        if asked.size == 0 {
            return Ok(None);
        }
        let limited = open(&data).and_then(|target| {
            let others = self.store.list::<Volume>()?;
            let taken: Vec<u32> = others.iter().filter_map(|(_, volume)| volume.project).collect();
            quota::limit(name, &target, asked.size, &taken)
        });
        match limited {
            Ok(project) => Ok(Some(project)),
            Err(error) => {
                // One whose record was lost keeps what it has.
                if is_new {
                    drop(fs::remove_dir(&data).and_then(|()| fs::remove_dir(&dir)));
                }
                Err(error)
            }
        }
    }

    /// How the volume is called now; `None`: there is none (any more).
    pub fn name_of(&self, id: &VolumeId) -> Option<String> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).of.get(id).cloned()
    }

    /// The volume that has this name now.
    pub fn id_of(&self, name: &str) -> Option<VolumeId> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).ids.get(name).cloned()
    }

    pub fn get(&self, name: &str) -> Result<Volume> {
        self.store.get(name)?.ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    /// By name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        Ok(self.store.list::<Volume>()?.into_iter().map(|(_, volume)| volume).collect())
    }

    /// `in_use` names the containers that hold the volume.
    pub fn remove(&self, name: &str, in_use: &dyn Fn(&Volume) -> Vec<String>) -> Result<()> {
        let volume = self.get(name)?;
        let users = |volume: &Volume| match in_use(volume) {
            containers if containers.is_empty() => Ok(()),
            containers => Err(Error::InUse { name: volume.name.clone(), containers }),
        };
        users(&volume)?;
        // What an engine that died left; a directory with a mount on it would take what is there along.
        self.mounted.forget(&volume, &self.mountpoint(name))?;
        let removed: Result<bool> = self.store.write(|tx| {
            users(&volume)?;
            let existed = tx.delete::<Volume>(name)?;
            if existed {
                tx.emit(Event::now("volume", "destroy", name).with("driver", "local"));
            }
            Ok(existed)
        });
        if !removed? {
            return Err(Error::NotFound(name.to_owned()));
        }
        self.names.write().unwrap_or_else(PoisonError::into_inner).remove(&volume);
        if volume.project.is_some()
            && let Ok(dir) = open(&self.mountpoint(name))
        {
            quota::forget(&volume, &dir);
        }
        self.discard(name)
    }

    /// Mounts what the volume's options ask for, for `user`. Nothing to do for a plain directory.
    pub fn acquire(&self, volume: &Volume, user: &str, resolve: Resolve<'_>) -> Result<()> {
        self.mounted.acquire(volume, &self.mountpoint(&volume.name), user, resolve)
    }

    /// Takes it back; unmounted after the last user.
    pub fn release(&self, volume: &Volume, user: &str) -> Result<()> {
        self.mounted.release(volume, &self.mountpoint(&volume.name), user)
    }

    /// At the engine's start: these use it. What nobody uses is unmounted.
    pub fn adopt(&self, volume: &Volume, users: &[String]) -> Result<()> {
        self.mounted.adopt(volume, &self.mountpoint(&volume.name), users)
    }

    /// Out of sight at once; deleted by the background sweep of the trash.
    fn discard(&self, name: &str) -> Result<()> {
        let from = self.root.join(name);
        if crate::mounted::is_mounted(&from.join("_data")) {
            tracing::error!(volume = %name, "something is mounted on its directory, which is left in place");
            return Ok(());
        }
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

    /// Fills an empty volume with what the image has at `path`, as Docker does when a container is created with it.
    pub fn copy_up(&self, volume: &Volume, image: &Root, path: &Path, how: CopyUp) -> Result<()> {
        let name = &volume.name;
        let to = self.mountpoint(name);
        let copy = |errno| Error::Copy { path: path.to_owned(), errno };
        let target = open(&to)?;
        if !target.entries().map_err(copy)?.is_empty() {
            return Ok(());
        }
        let source: Dir = match image.open_dir(path) {
            Ok(dir) => dir,
            Err(knarr_linux::Errno::NOENT | knarr_linux::Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(copy(errno)),
        };
        // Another directory would not be the mount, nor belong to the project.
        if how == CopyUp::InPlace || volume.project.is_some() || crate::mounted::is_mounted(&to) {
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

fn check_driver(name: &str, request: &CreateVolume) -> Result<()> {
    match request.driver.as_str() {
        "" | "local" => Ok(()),
        driver => Err(Error::UnknownDriver { name: name.to_owned(), driver: driver.to_owned() }),
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.len() < 2 {
        return Err(Error::NameTooShort(name.to_owned()));
    }
    let first = name.as_bytes()[0].is_ascii_alphanumeric();
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= MAX_NAME { Ok(()) } else { Err(Error::NameInvalid(name.to_owned())) }
}

/// Longest name; a directory entry has at most 255 bytes.
const MAX_NAME: usize = 255;

fn open(dir: &Path) -> Result<Dir> {
    let opened = Root::open(dir).and_then(|root| root.open_dir("."));
    opened.map_err(|errno| Error::Io { action: "open", path: dir.to_owned(), source: errno.into() })
}

fn random_name() -> String {
    VolumeId::from_bytes(&random()).to_string()
}

fn random() -> [u8; 32] {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // The kernel's pool is ready long before any engine runs; an interrupted call is repeated.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}
