//! What is remembered of a container between commands.
use super::{Global, file_error};
use crate::{Error, Result, hooks};
use knarr_cgroup::Cgroup;
use knarr_linux::process;
use knarr_oci::runtime::{Spec, State, StateStatus};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAX_ID: usize = 1024;
/// No configuration is longer.
const MAX_SPEC: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub id: String,
    pub bundle: PathBuf,
    pub pid: i32,
    /// Of the process, in ticks since boot: a number that is used again is another process.
    pub start_time: u64,
    pub cgroup: String,
    pub spec: Spec,
}

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
    make(&global.root, true).map_err(file_error("make", &global.root))?;
    let directory = global.root.join(id);
    match make(&directory, false) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::Invalid { what: format!("container {id} exists already") })
        }
        made => made.map_err(file_error("make", &directory)).map(|()| directory),
    }
}

pub(crate) fn read_spec(bundle: &Path) -> Result<Spec> {
    use std::io::Read;
    let path = bundle.join("config.json");
    let mut bytes = Vec::new();
    let file = fs::File::open(&path).map_err(file_error("open", &path))?;
    file.take(MAX_SPEC).read_to_end(&mut bytes).map_err(file_error("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) })
}

impl Container {
    pub(crate) fn load(global: &Global, id: &str) -> Result<Self> {
        check_id(id)?;
        let directory = global.root.join(id);
        let path = directory.join("state.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoContainer { id: id.to_owned() });
            }
            read => read.map_err(file_error("read", &path))?,
        };
        let record = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) })?;
        Ok(Self { directory, record })
    }

    pub(crate) fn save(&self) -> Result<()> {
        let (path, new) = (self.directory.join("state.json"), self.directory.join(".state.json"));
        let text = serde_json::to_vec(&self.record).map_err(|e| Error::Invalid { what: e.to_string() })?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&new).and_then(|mut file| file.write_all(&text));
        written.and_then(|()| fs::rename(&new, &path)).map_err(file_error("write", &path))
    }

    pub(crate) fn fifo(&self) -> PathBuf {
        self.directory.join("start.fifo")
    }

    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::new(&self.record.cgroup).map_err(|e| Error::Cgroup(e.to_string()))
    }

    /// The process, if it is alive and still the same.
    pub(crate) fn process(&self) -> Option<OwnedFd> {
        let pidfd = process::pidfd_open(self.record.pid).ok()?;
        let (start, state) = stat(self.record.pid)?;
        (start == self.record.start_time && state != 'Z' && state != 'X').then_some(pidfd)
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

    pub(crate) fn state(&self) -> State {
        let status = self.status();
        let pid = if status == StateStatus::Stopped { 0 } else { self.record.pid };
        hooks::state(&self.record.spec, &self.record.id, &self.record.bundle, status, Some(pid))
    }
}

/// Start time and state of a process.
pub(crate) fn stat(pid: i32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the state may contain anything, parentheses too.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(19)?.parse().ok()?, fields.first()?.chars().next()?))
}
