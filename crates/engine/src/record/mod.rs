//! What the database keeps about containers. One row for the configuration, one for the status, one that owns the name.
//!
//! Invariant: after creation only the container's task writes its rows.
mod container;
mod health;
mod id_maps;
mod labels;
mod mount;
mod status;
mod time;

pub use container::{Container, NameOwner};
pub use health::{Health, HealthStatus, ProbeResult};
pub use id_maps::IdMaps;
pub use labels::Labels;
pub use mount::{MountKind, MountRow};
pub use status::Status;
pub use time::Time;
