//! OCI runtime: bundle to plan to steps to parent and init; exec; seccomp; command line.
//!
//! Standard: <https://github.com/opencontainers/runtime-spec>. Invariants: no thread and no async runtime; everything that
//! needs memory or text is computed before `clone3`; the child makes system calls and ends with `_exit` or `execve`.
//!
//! The caller of [`create`] and [`exec`] must be single-threaded (the supervisor, the runtime command): the child shares
//! the caller's copied memory, and no lock may be held by a thread that does not exist in it.
mod error;
mod options;

pub use error::{Error, Result};
pub use options::{CgroupOptions, CreateOptions, ExecOptions, Stdio};

use std::os::fd::OwnedFd;

/// A process of a container that exists and waits before `execve`.
#[derive(Debug)]
pub struct Created {
    /// As the caller sees it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Master side of the terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What was tolerated, such as an unknown capability.
    pub warnings: Vec<String>,
}

impl Created {
    /// Let the process execute its program. Returns when `execve` has happened, or its error.
    pub fn start(&mut self) -> Result<()> {
        Err(Error::Unsupported { what: "start".into() })
    }
}

/// Make a container's first process; it waits before `execve` for [`Created::start`].
pub fn create(_options: CreateOptions<'_>) -> Result<Created> {
    Err(Error::Unsupported { what: "create".into() })
}

/// Make another process in a running container; it waits before `execve` for [`Created::start`].
pub fn exec(_options: ExecOptions<'_>) -> Result<Created> {
    Err(Error::Unsupported { what: "exec".into() })
}
