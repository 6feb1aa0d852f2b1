//! The Docker Engine API as data: one file per resource, shaped as API version 1.55 of
//! <https://docs.docker.com/reference/api/engine/>.
//!
//! Invariants: a value prints exactly as Docker's daemon prints it (field order, `null` for what Go calls a nil
//! slice or map, omitted `omitempty` fields), and decoding accepts what Go's `encoding/json` accepts
//! (see [`go`]). Shapes of older API versions are not here: `api-docker` upgrades and downgrades in one place.
#[macro_use]
pub mod go;

pub mod container;
pub mod container_config;
pub mod container_inspect;
pub mod container_stats;
pub mod container_summary;
pub mod distribution;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod host_config;
pub mod id_response;
pub mod image;
pub mod jsonmessage;
pub mod mount;
pub mod network;
pub mod options;
pub mod platform;
pub mod plugin;
pub mod registry;
pub mod resources;
pub mod stdcopy;
pub mod strslice;
pub mod swarm;
pub mod system;
pub mod time;
pub mod upkeep;
pub mod version;
pub mod volume;

pub use filters::Filters;
pub use go::{Empty, List, Map};
pub use strslice::StrSlice;
pub use version::ApiVersion;
