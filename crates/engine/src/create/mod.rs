//! Creating a container: pure validation, merging and resolving first; then directories, volumes, one transaction.
pub mod generate;
pub mod merge;
pub mod mounts;
pub mod name;
pub mod validate;
