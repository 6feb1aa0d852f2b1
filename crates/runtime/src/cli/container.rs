//! A container between commands: its directory under the root, the kernel's view of its process, its state.
//!
//! Invariant: the directory is the claim on the id. `state.json` is complete or not there; `config.json` is the configuration that the
//! container was made of, whatever became of the bundle; `exec.fifo` is there until the start.
use super::record::Record;
use super::{Global, file_error};
use crate::{Error, Result};
use knarr_cgroup::Cgroup;
use knarr_linux::process;
use knarr_oci::runtime::{Spec, State, StateStatus};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAX_ID: usize = 1024;
/// No configuration and no state is longer.
const MAX_FILE: u64 = 16 << 20;
const USUAL_FILE: usize = 32 << 10;
const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const FIFO: &str = "exec.fifo";

/// A container and its directory.
#[derive(Debug)]
pub(crate) struct Container {
    pub directory: PathBuf,
    pub record: Record,
}

fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > MAX_ID || !id.chars().all(good) || id == "." || id == ".." {
        return Err(Error::Invalid { what: format!("container id {id:?}") });
    }
    Ok(())
}

/// Make the directory; it is the claim on the id.
pub(crate) fn claim(global: &Global, id: &str) -> Result<PathBuf> {
    check_id(id)?;
    let make =
        |path: &Path, recursive: bool| fs::DirBuilder::new().mode(0o700).recursive(recursive).create(path);
    let directory = global.root.join(id);
    let mut made = make(&directory, false);
    if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        make(&global.root, true).map_err(file_error("make", &global.root))?;
        made = make(&directory, false);
    }
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::Invalid { what: format!("container with id {id} exists already") })
        }
        made => made.map_err(file_error("make", &directory)).map(|()| directory),
    }
}

/// Remove a container's directory with the few files in it.
pub(crate) fn erase(directory: &Path) -> Result<()> {
    // Without looking for more: one call for each file that this runtime makes.
    for name in [STATE, CONFIG, FIFO] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error("remove", directory)(error));
            }
            _ => {}
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(directory),
        removed => removed,
    }
    .map_err(file_error("remove", directory))
}

/// Remove what a creation that was killed half-way has left, if there is such a directory.
pub(crate) fn abandon(global: &Global, id: &str) -> Result<()> {
    check_id(id)?;
    let directory = global.root.join(id);
    if directory.is_dir() { erase(&directory) } else { Ok(()) }
}

/// A configuration as it was written, and what it says.
#[derive(Debug)]
pub(crate) struct Config {
    pub bytes: Vec<u8>,
    pub spec: Spec,
}

impl Config {
    pub(crate) fn of_bundle(bundle: &Path, name: Option<&Path>) -> Result<Self> {
        let path = bundle.join(name.unwrap_or(Path::new(CONFIG)));
        let bytes = read(&path).map_err(file_error("read", &path))?;
        let spec = parse(&path, &bytes)?;
        Ok(Self { bytes, spec })
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // Mostly read at once.
    let mut bytes = Vec::with_capacity(USUAL_FILE);
    fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).and_then(|mut file| file.write_all(bytes)).map_err(file_error("write", path))
}

impl Container {
    pub(crate) fn load(global: &Global, id: &str) -> Result<Self> {
        check_id(id)?;
        let directory = global.root.join(id);
        let path = directory.join(STATE);
        let bytes = match read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoContainer { id: id.to_owned() });
            }
            read => read.map_err(file_error("read", &path))?,
        };
        let record = parse(&path, &bytes)?;
        Ok(Self { directory, record })
    }

    /// Everybody who finds `state.json` finds the configuration too.
    pub(crate) fn save(&self, config: &[u8]) -> Result<()> {
        write(&self.directory.join(CONFIG), config)?;
        let (path, new) = (self.directory.join(STATE), self.directory.join(".state.json"));
        let text = serde_json::to_vec(&self.record).map_err(|e| Error::Invalid { what: e.to_string() })?;
        write(&new, &text)?;
        fs::rename(&new, &path).map_err(file_error("write", &path))
    }

    /// The configuration that the container was made of.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let path = self.directory.join(CONFIG);
        let bytes = read(&path).map_err(file_error("read", &path))?;
        parse(&path, &bytes)
    }

    pub(crate) fn fifo(&self) -> PathBuf {
        self.directory.join(FIFO)
    }

    /// An error if it has none of its own.
    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        let none = || Error::Cgroup(format!("container {} has no cgroup of its own", self.record.id));
        self.own_cgroup()?.ok_or_else(none)
    }

    pub(crate) fn own_cgroup(&self) -> Result<Option<Cgroup>> {
        match self.record.knarr.cgroup.as_str() {
            "" => Ok(None),
            path => Cgroup::new(path).map(Some).map_err(super::cgroup_error),
        }
    }

    /// The process, if it is alive and still the same.
    pub(crate) fn process(&self) -> Option<OwnedFd> {
        let pidfd = process::pidfd_open(self.record.init_process_pid).ok()?;
        let (start, state) = stat(self.record.init_process_pid)?;
        let same = start == self.record.init_process_start;
        (same && state != 'Z' && state != 'X').then_some(pidfd)
    }

    pub(crate) fn status(&self) -> StateStatus {
        if self.process().is_none() {
            StateStatus::Stopped
        } else if self.cgroup().is_ok_and(|c| c.is_frozen().unwrap_or(false)) {
            StateStatus::Paused
        } else if self.fifo().exists() {
            StateStatus::Created
        } else {
            StateStatus::Running
        }
    }

    /// What hooks get to read.
    pub(crate) fn state(&self) -> State {
        let (own, status) = (&self.record.knarr, self.status());
        State {
            oci_version: knarr_oci::runtime::VERSION.to_owned(),
            id: self.record.id.clone(),
            status,
            pid: Some(self.record.shown_pid(status)),
            bundle: own.bundle.clone(),
            annotations: own.annotations.clone(),
        }
    }
}

/// Start time and state of a process.
pub(crate) fn stat(pid: i32) -> Option<(u64, char)> {
    let text = String::from_utf8_lossy(&read(Path::new(&format!("/proc/{pid}/stat"))).ok()?).into_owned();
    // The name before the state may contain anything, parentheses too.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(19)?.parse().ok()?, fields.first()?.chars().next()?))
}
