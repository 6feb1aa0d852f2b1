//! Container life: create, start, exec, attach, logs, events, restart, restore.
//!
//! [`Engine`] is the whole interface: an async facade whose methods take and give `docker_types` values. Below it the
//! planners are pure (`machine`, `spec`, `restore`) and the appliers small (`task`, `start`).
//!
//! Invariants: one task writes a container's row; a task never waits; reads use database snapshots and wait for no
//! task; what is in the kernel is named by ids, so that it can be swept without memory.
mod archive;
mod blocking;
mod byte_channel;
mod capability;
mod cgroups;
pub mod config;
mod create;
mod detach;
mod disk_usage;
mod doctor;
mod duration;
mod edit;
pub mod engine;
pub mod error;
mod events;
mod exec_process;
mod execs;
mod facade;
mod frames;
mod health;
mod host;
mod init_program;
mod log_driver;
mod logs;
mod lsm;
pub mod machine;
mod metrics;
mod name_server;
mod paths;
mod process;
mod progress;
mod record;
mod registry;
mod registry_auth;
mod reload;
mod requires;
mod restore;
mod runtimes;
mod seccomp;
mod signal;
mod spec;
mod standing;
mod start;
mod stats;
pub mod stream;
pub mod supervisor;
mod system;
mod task;
mod top;
mod update;
mod upkeep;
mod user;
mod userns;
mod view;
mod view_image;
mod volume_use;

pub use config::{AddressPool, BuiltinImage, EngineConfig, NetworkConfig, Scope};
pub use doctor::examine;
pub use engine::Engine;
pub use error::{Error, NOT_A_MANAGER, Result};
pub use facade::{LogStream, Progress, parse_platform};
pub use log_driver::check as check_log_driver;
pub use stream::{AttachSession, Body, ByteStream, Wait};
