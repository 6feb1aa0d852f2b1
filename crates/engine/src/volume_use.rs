//! Which volumes containers hold, and what they are called and where they are now.
//!
//! Invariant: a container holds a volume by its id. The name in its row is only what helps when the volume's record was lost
//! and made again.
use crate::engine::Inner;
use crate::error::Result;
use crate::record::{Container, MountKind, MountRow};
use knarr_base::{ContainerId, VolumeId};
use knarr_docker_types::mount::MountPoint;
use knarr_state::Event;
use knarr_volume::Volume;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

impl Inner {
    /// Containers that hold a volume, but for one.
    pub fn volume_users(&self, volume: &Volume, but: Option<&ContainerId>) -> Vec<String> {
        let holds = |container: &Container| {
            Some(&container.id) != but
                && container.mounts.iter().any(|row| self.held(row).as_ref() == Some(&volume.id))
        };
        self.containers.all().iter().filter(|s| holds(&s.container)).map(|s| s.id().to_string()).collect()
    }

    /// Which containers hold which volumes: for whoever asks about many.
    pub fn volume_holders(&self) -> HashMap<VolumeId, Vec<String>> {
        let mut holders: HashMap<VolumeId, Vec<String>> = HashMap::new();
        for snapshot in self.containers.all() {
            // One that has a volume at two places holds it once.
            let held: BTreeSet<VolumeId> =
                snapshot.container.mounts.iter().filter_map(|row| self.held(row)).collect();
            for volume in held {
                holders.entry(volume).or_default().push(snapshot.id().to_string());
            }
        }
        holders
    }

    /// The id of the volume that a mount holds, if it holds one that is there.
    fn held(&self, row: &MountRow) -> Option<VolumeId> {
        if row.kind != MountKind::Volume {
            return None;
        }
        let held = row.volume.as_ref().filter(|id| self.volumes.name_of(id).is_some());
        // No row is read: this is asked in the middle of a transaction, too.
        held.cloned().or_else(|| self.volumes.id_of(&row.name))
    }

    /// The volume of a mount.
    pub fn volume_of(&self, row: &MountRow) -> Result<Volume> {
        let name = row.volume.as_ref().and_then(|id| self.volumes.name_of(id));
        Ok(self.volumes.get(name.as_deref().unwrap_or(&row.name))?)
    }

    /// A container's mounts, volumes by their present names and places.
    pub fn mounts_of(&self, container: &Container) -> Vec<MountRow> {
        let now = |row: &MountRow| {
            let mut row = row.clone();
            if row.kind == MountKind::Volume {
                if let Some(name) = row.volume.as_ref().and_then(|id| self.volumes.name_of(id)) {
                    row.name = name;
                }
                row.source = self.volumes.mountpoint(&row.name);
                if !row.subpath.is_empty() {
                    row.source.push(&row.subpath);
                }
            }
            row
        };
        container.mounts.iter().map(now).collect()
    }

    /// As `inspect` and `ps` show them.
    pub fn mount_points(&self, container: &Container) -> Vec<MountPoint> {
        self.mounts_of(container).iter().filter(|row| !row.unlisted).map(MountRow::point).collect()
    }

    /// Mounts what the volumes of a container have to have mounted, for as long as it holds them.
    pub fn acquire_volumes(&self, container: &Container, user: &str) -> Result<()> {
        for row in container.mounts.iter().filter(|row| row.kind == MountKind::Volume) {
            self.acquire_volume(&self.volume_of(row)?, user)?;
        }
        Ok(())
    }

    /// The same for one.
    pub fn acquire_volume(&self, volume: &Volume, user: &str) -> Result<()> {
        Ok(self.volumes.acquire(volume, user, &lookup)?)
    }

    pub fn release_volumes(&self, container: &Container, user: &str) {
        for row in container.mounts.iter().filter(|row| row.kind == MountKind::Volume) {
            let Ok(volume) = self.volume_of(row) else { continue };
            if let Err(error) = self.volumes.release(&volume, user) {
                tracing::warn!(volume = %volume.name, %error, "volume left mounted");
            }
        }
    }

    /// After a start of the engine: volumes that containers which run have mounted stay so; others are unmounted.
    pub fn adopt_volumes(&self) -> Result<()> {
        let live: HashSet<String> =
            self.containers.all().iter().filter(|s| s.is_live()).map(|s| s.id().to_string()).collect();
        let mut holders = self.volume_holders();
        for volume in self.volumes.list()?.iter().filter(|volume| !volume.options.is_empty()) {
            let mut users = holders.remove(&volume.id).unwrap_or_default();
            users.retain(|id| live.contains(id));
            if let Err(error) = self.volumes.adopt(volume, &users) {
                tracing::warn!(volume = %volume.name, %error, "volume left mounted");
            }
        }
        Ok(())
    }
}

/// An event of a volume that a container has mounted or gives back.
pub(crate) fn event(action: &str, row: &MountRow, container: &Container) -> Event {
    let event = Event::now("volume", action, &row.name)
        .with("driver", "local")
        .with("container", container.id.as_str());
    match action {
        "mount" => event
            .with("destination", row.destination.as_str())
            .with("read/write", row.rw.to_string())
            .with("propagation", row.propagation.as_str()),
        _ => event,
    }
}

/// The first address of a server's name. For a thread that may block.
fn lookup(name: &str) -> Result<IpAddr, String> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|e| e.to_string())?;
    let found = runtime.block_on(knarr_image::lookup(name)).map_err(|e| e.to_string())?;
    found.into_iter().next().ok_or_else(|| format!("lookup {name}: no such host"))
}
