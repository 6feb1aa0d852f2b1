//! A mount of a container, resolved: what `-v`, `--mount`, `--volumes-from` and the image asked for.
use knarr_base::{ImageId, VolumeId};
use knarr_docker_types::mount::MountPoint;
use knarr_oci::rootfs::RootfsMount;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    Bind,
    Volume,
    Tmpfs,
    Image,
}

impl MountKind {
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRow {
    pub kind: MountKind,
    /// The volume that is held, whatever it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
    /// How the volume was called when the container was made; of an image, what was asked for.
    #[serde(default)]
    pub name: String,
    /// The volume was made without a name: it goes with the last container that is removed with its volumes.
    #[serde(default)]
    pub anonymous: bool,
    /// The image whose files are seen, and where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<RootfsMount>,
    /// On the host; of a volume its own row says where.
    #[serde(default)]
    pub source: PathBuf,
    /// Absolute, without `.`, `..` or a slash at the end.
    pub destination: String,
    /// As the client wrote it (`ro,z`).
    #[serde(default)]
    pub mode: String,
    pub rw: bool,
    /// Empty: `rprivate`.
    #[serde(default)]
    pub propagation: String,
    /// What is mounted below the source comes too.
    pub recursive: bool,
    /// The mounts below a read-only one stay writable.
    #[serde(default)]
    pub read_only_top_only: bool,
    /// The host's owners are the container's, whatever its user namespace (bind only).
    #[serde(default)]
    pub id_map: bool,
    /// Do not copy the image's content to the fresh volume.
    #[serde(default)]
    pub no_copy: bool,
    #[serde(default)]
    pub subpath: String,
    /// Make a missing source directory (`-v`, not `--mount`).
    #[serde(default)]
    pub create_source: bool,
    /// From `--tmpfs`, which `inspect` shows elsewhere.
    #[serde(default)]
    pub unlisted: bool,
    /// Options of a tmpfs.
    #[serde(default)]
    pub options: Vec<String>,
}

impl MountRow {
    pub fn new(kind: MountKind, destination: &str) -> Self {
        Self {
            kind,
            volume: None,
            name: String::new(),
            anonymous: false,
            image: None,
            tree: None,
            source: PathBuf::new(),
            destination: destination.to_owned(),
            mode: String::new(),
            rw: true,
            propagation: String::new(),
            recursive: true,
            read_only_top_only: false,
            id_map: false,
            no_copy: false,
            subpath: String::new(),
            create_source: false,
            unlisted: false,
            options: Vec::new(),
        }
    }

    /// As `inspect` and `ps` show it; name and source of a volume are to be the present ones.
    pub fn point(&self) -> MountPoint {
        MountPoint {
            kind: self.kind.as_str().to_owned(),
            name: self.name.clone(),
            source: match self.kind {
                MountKind::Image => self.name.clone(),
                _ => self.source.to_string_lossy().into_owned(),
            },
            destination: self.destination.clone(),
            driver: if self.kind == MountKind::Volume { "local".to_owned() } else { String::new() },
            mode: self.mode.clone(),
            rw: self.rw,
            propagation: match (self.kind, self.propagation.as_str()) {
                (MountKind::Bind | MountKind::Image, "") => "rprivate".to_owned(),
                (_, propagation) => propagation.to_owned(),
            },
        }
    }
}
