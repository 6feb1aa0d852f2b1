//! cgroup v1 and v2: limits, placement, freeze, statistics, device rules.
//!
//! Standard: kernel Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst. A group is named by one path, `/<parent>/<id>`,
//! under the root of every hierarchy that the host has, or by `slice:prefix:name` for a scope of systemd. Invariant: what to write is decided by pure functions
//! ([`plan`]); only [`Cgroup`] touches files; a limit whose controller is missing is an error, never silently dropped.
mod apply;
mod devices;
mod error;
mod files;
mod freeze;
mod group;
mod hierarchy;
mod kill;
mod oom;
pub mod plan;
mod stats;
pub mod systemd;

pub use devices::in_user_namespace;
pub use error::{Error, Result};
pub use group::{Cgroup, Made, Placement};
pub use hierarchy::{Hierarchies, Version};
pub use oom::OomWatch;
pub use plan::Write;
pub use stats::{BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats};
