//! What a supervisor needs of an OCI runtime, and the two that there are: our own, which works inside of this process, and
//! a program with runc's command line.
//!
//! Standard: <https://github.com/opencontainers/runtime-spec/blob/main/runtime.md>. Invariants: whichever makes it, the
//! container's init and every executed command are children of the supervisor, known by a pidfd; limits, freezing and
//! statistics go through the control group, whose path the configuration names, and so need no runtime.
mod foreign;
mod own;

pub use foreign::failure_kind;

use crate::error::{Error, Result};
use knarr_linux::process;
use knarr_oci::runtime::{Process as ProcessSpec, Spec};
use knarr_runtime::Stdio;
use knarr_shim_proto::ShimConfig;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One container's runtime.
pub trait ContainerRuntime: std::fmt::Debug {
    /// Makes the container; its init waits for [`ContainerRuntime::start`]. Nothing is left of it after an error.
    fn create(&mut self, request: CreateRequest<'_>) -> Result<NewProcess>;
    /// Lets the init execute its program.
    fn start(&mut self) -> Result<()>;
    /// Executes a command in the running container.
    fn exec(&mut self, request: ExecRequest<'_>) -> Result<NewProcess>;
    /// Sends a signal to the init.
    fn kill(&mut self, init: &NewProcess, signal: i32) -> Result<()>;
    /// After the init's end: nothing of the container is left that only the runtime knows of.
    fn delete(&mut self);
    /// What the runtime leaves behind becomes a child of the supervisor.
    fn is_subreaper(&self) -> bool;
    /// Orphans of the container, too.
    fn adopts_orphans(&self) -> bool;
}

/// A container to make.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    pub config: &'a ShimConfig,
    pub spec: &'a Spec,
    pub netns: Option<BorrowedFd<'a>>,
    pub userns: Option<BorrowedFd<'a>>,
    pub stdio: Stdio,
}

/// A command to execute.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    pub config: &'a ShimConfig,
    /// The container's.
    pub spec: &'a Spec,
    pub init: &'a NewProcess,
    pub process: &'a ProcessSpec,
    pub stdio: Stdio,
}

/// A process that a runtime made: a child of this one.
#[derive(Debug)]
pub struct NewProcess {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Master side of its terminal, when it has one.
    pub console: Option<OwnedFd>,
}

impl NewProcess {
    pub fn signal(&self, signal: i32) -> Result<()> {
        process::pidfd_send_signal(self.pidfd.as_fd(), signal).map_err(Error::system("send signal"))
    }
}

/// The runtime that a container was configured with.
pub fn of(config: &ShimConfig) -> Result<Box<dyn ContainerRuntime>> {
    Ok(match &config.runtime {
        None => Box::new(own::Own::default()),
        Some(program) => Box::new(foreign::Foreign::new(config, program.clone())?),
    })
}
