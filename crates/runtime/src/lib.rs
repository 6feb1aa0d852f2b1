//! OCI runtime: bundle to plan to steps to parent and init; exec; seccomp; command line.
//!
//! Standard: <https://github.com/opencontainers/runtime-spec>. Invariants: no thread and no async runtime; everything that
//! needs memory or text is computed before `clone3`; the child makes system calls and ends with `_exit` or `execve`.
//!
//! The caller of [`create`] and [`exec`] must be single-threaded (the supervisor, the runtime command): the child shares
//! the caller's copied memory, and no lock may be held by a thread that does not exist in it.
pub mod cli;
mod created;
mod error;
mod foreign;
mod handshake;
pub mod hooks;
mod init;
mod launch;
mod net_devices;
mod options;
mod parent;
pub mod plan;
pub mod rdt;
pub mod seccomp;
mod security_module;
mod user;

pub use created::Created;
pub use error::{Error, Result};
pub use foreign::mount_of_process;
pub use options::{CgroupOptions, CreateOptions, ExecOptions, HANDSHAKE_TIMEOUT, Stdio};
pub use parent::{create, exec, has_pid_namespace};
pub use plan::OVERLAY_OPTIONS;
pub use security_module::has_selinux;
