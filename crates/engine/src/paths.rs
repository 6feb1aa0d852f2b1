//! Where things are on disk; the layout is drawn in ARCHITECTURE.md.
use knarr_base::ContainerId;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
}

impl Paths {
    /// Durable files of a container.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }
    /// The copy of the executable for `--init`.
    pub fn init(&self) -> PathBuf {
        self.data_root.join("init")
    }
    pub fn lock(&self) -> PathBuf {
        self.data_root.join("lock")
    }
    pub fn database(&self) -> PathBuf {
        self.data_root.join("state.redb")
    }
    /// Files of a running container: socket and records of its supervisor.
    pub fn run(&self, id: &ContainerId) -> PathBuf {
        self.runs().join(id.as_str())
    }
    pub fn runs(&self) -> PathBuf {
        self.exec_root.join("containers")
    }
    pub fn seccomp(&self) -> PathBuf {
        self.exec_root.join("seccomp")
    }
}

/// Short and stable name of the engine of a data root.
pub(crate) fn engine_id(data_root: &Path) -> String {
    use sha2::{Digest, Sha256};
    use std::os::unix::ffi::OsStrExt;
    let canonical = data_root.canonicalize().unwrap_or_else(|_| data_root.to_owned());
    hex::encode(&Sha256::digest(canonical.as_os_str().as_bytes())[..5])
}
