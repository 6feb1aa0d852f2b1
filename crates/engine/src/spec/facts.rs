//! What a specification needs to know about the host.
use knarr_oci::runtime::DeviceType;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A device special file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    pub path: PathBuf,
    pub kind: DeviceType,
    pub major: i64,
    pub minor: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Facts about the host.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The engine's own bounding set, by name.
    pub bounding: Vec<String>,
    pub cgroup_v2: bool,
    /// Kernel release, such as `6.18.5`.
    pub kernel: String,
    /// `/sys/devices/system/cpu/cpu<n>/thermal_throttle` of these exist.
    pub throttled_cpus: Vec<u32>,
    /// Network sysctls exist, which a kernel without them would refuse.
    pub port_start_sysctl: bool,
    pub ping_range_sysctl: bool,
    pub mqueue: bool,
    /// `/dev/mqueue` of the host exists.
    pub host_mqueue: bool,
    /// The host's name.
    pub hostname: String,
    /// Block devices of limits: path to number.
    pub block_devices: BTreeMap<String, (i64, i64)>,
    /// What `--device` names: a device, or what is below a directory.
    pub devices: BTreeMap<String, Vec<DeviceNode>>,
    /// Every device of the host, when the container is privileged.
    pub all_devices: Vec<DeviceNode>,
}

impl DeviceNode {
    /// The device at `path`; `None` when it is none.
    pub fn at(path: &Path) -> std::io::Result<Option<Self>> {
        let metadata = std::fs::metadata(path)?;
        let kind = match metadata.file_type() {
            t if t.is_block_device() => DeviceType::Block,
            t if t.is_char_device() => DeviceType::Char,
            _ => return Ok(None),
        };
        let number = metadata.rdev();
        Ok(Some(Self {
            path: path.to_owned(),
            kind,
            major: i64::from(rustix::fs::major(number)),
            minor: i64::from(rustix::fs::minor(number)),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        }))
    }

    /// Devices below a directory, as Docker collects them for `--privileged` and `--device /dir`.
    pub fn below(dir: &Path) -> Vec<Self> {
        const SKIPPED: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", ".lxc"];
        const MAX: usize = 4096;
        let mut found = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Ok(kind) = entry.file_type() else { continue };
                if SKIPPED.iter().any(|skipped| name == *skipped) || kind.is_symlink() {
                    continue;
                }
                if kind.is_dir() {
                    dirs.push(entry.path());
                } else if let Ok(Some(node)) = Self::at(&entry.path()) {
                    found.push(node);
                }
                if found.len() >= MAX {
                    return found;
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}
