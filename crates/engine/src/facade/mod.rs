//! The engine's methods, one file per resource.
mod container;
mod container_life;
mod container_streams;
mod container_view;
mod exec;
mod image;
mod network;
mod registry;
mod system;
mod upkeep;
mod volume;

pub use container::LogStream;
pub(crate) use container_life::own_stop_wish;
pub(crate) use exec::adopt as adopt_execs;
pub use image::{Progress, parse_platform};
pub(crate) use network::{joined_network, left_network};
pub(crate) use volume::with_usage as volume_with_usage;
