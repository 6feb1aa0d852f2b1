//! What callers ask for.
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Process, Spec};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Everything that [`crate::create`] needs. Taken by value: the child's ends of the streams are closed when it returns.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    pub id: &'a str,
    pub spec: &'a Spec,
    /// Relative paths of the configuration start here.
    pub bundle: &'a Path,
    /// Where the root comes from; `None` takes `root.path` of the configuration.
    pub rootfs: Option<&'a RootfsMount>,
    /// Joined as the container's network namespace, whatever the configuration says.
    pub netns: Option<BorrowedFd<'a>>,
    pub stdio: Stdio,
    pub cgroup: CgroupOptions<'a>,
    /// Directory of compiled system call filters.
    pub seccomp_cache: Option<&'a Path>,
}

/// Everything that [`crate::exec`] needs.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// First process of the container.
    pub target_pid: i32,
    pub target_pidfd: BorrowedFd<'a>,
    /// Configuration of the container: its namespaces, filter and cgroup hold for the new process too.
    pub spec: &'a Spec,
    pub process: &'a Process,
    pub stdio: Stdio,
    pub cgroup: CgroupOptions<'a>,
    pub seccomp_cache: Option<&'a Path>,
}

/// Standard streams of the new process.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    /// The child's ends. Without `stdin` the process reads from `/dev/null`.
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    /// A terminal from the container's own devpts; the master is in [`crate::Created::console`].
    Terminal { rows: u16, cols: u16 },
}

/// Where the process is accounted.
#[derive(Debug, Clone, Copy)]
pub enum CgroupOptions<'a> {
    /// `linux.cgroupsPath` of the configuration, else `/<id>`.
    FromSpec,
    /// A path under the root of every hierarchy, such as `/<parent>/<id>`.
    Path(&'a str),
    /// Stay in the caller's groups: no limits.
    Inherit,
}
