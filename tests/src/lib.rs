//! The harness of the black-box tests: private engines, clients, images made on the spot, network labs, terminals.
//!
//! Nothing here uses a crate of the product: the tests know the binary only from outside, as a stranger does.
//!
//! Invariant: whatever a test makes on the machine (processes, namespaces, mounts, cgroups, files) lies below one
//! temporary directory, one cgroup parent and one network namespace of its own, and is gone after the test.

pub mod api;
pub mod attack;
pub mod cli;
pub mod command;
pub mod disk;
pub mod dns;
pub mod engine;
pub mod golden;
pub mod guest;
pub mod images;
pub mod lab;
pub mod leaks;
pub mod pack;
pub mod proxy;
pub mod publish;
pub mod registry;
pub mod tarball;
pub mod terminal;
pub mod trap;
pub mod tree;
pub mod workspace;

pub use cli::{Cli, Output};
pub use engine::{Engine, Options};
