//! The only crate with unsafe code: mount API, namespaces, clone3, pidfd, openat2 paths, capabilities, terminals.
//!
//! Invariants: each `unsafe` block has a SAFETY comment; every wrapper makes one or few system calls and returns
//! [`Errno`]; context (which path, which container) is added by the caller. Nothing here uses NSS or starts a thread.
pub mod bpf;
pub mod btrfs;
pub mod caps;
#[cfg(target_arch = "x86_64")]
pub mod early;
pub mod exec;
pub mod fdpass;
pub mod fds;
pub mod inherited;
pub mod keyring;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod path;
pub mod prctl;
pub mod process;
pub mod project_quota;
pub mod protected;
pub mod rlimit;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod supervise;
mod syscall;
pub mod tty;
pub mod user_namespace;

pub use rustix::io::Errno;

/// Result of a wrapper.
pub type Result<T> = std::result::Result<T, Errno>;
