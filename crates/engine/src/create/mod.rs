//! Creating a container: pure validation, merging and resolving first; then directories, volumes, one transaction.
mod apply;
pub mod generate;
mod links;
pub mod merge;
pub mod mounts;
pub mod name;
pub(crate) mod security_opt;
pub mod validate;

pub(crate) use apply::{cpusets_available, create, open_subpath, random, random_id};
pub(crate) use mounts::sees;
