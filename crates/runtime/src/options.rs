//! What callers ask for.
use crate::seccomp::Filter;
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Process, Spec};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Far more than a loaded machine needs between two messages of a new process.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Joined as the container's user namespace, whatever the configuration says; its id maps are written already. A network
    /// namespace that is given too has to be owned by it, or the container cannot have a sysfs of its own.
    pub userns: Option<BorrowedFd<'a>>,
    pub stdio: Stdio,
    pub cgroup: CgroupOptions<'a>,
    /// Directory of compiled system call filters.
    pub seccomp_cache: Option<&'a Path>,
    /// Descriptors from 3 on that the process keeps, at their numbers.
    pub preserve_fds: u32,
    /// How long the new process may be silent before it is killed. Hooks have their own timeouts, and do not count.
    pub handshake_timeout: Duration,
    /// A session keyring of its own, so that keys of the caller are not found inside.
    pub new_keyring: bool,
}

impl<'a> CreateOptions<'a> {
    /// The root of the configuration, the caller's streams, the configuration's cgroup.
    pub fn new(id: &'a str, spec: &'a Spec, bundle: &'a Path) -> Self {
        Self {
            id,
            spec,
            bundle,
            rootfs: None,
            netns: None,
            userns: None,
            stdio: Stdio::Inherit,
            cgroup: CgroupOptions::FromSpec,
            seccomp_cache: None,
            preserve_fds: 0,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            new_keyring: true,
        }
    }
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
    /// Of the container, for who is told its state (a listener of the filter).
    pub id: &'a str,
    pub bundle: &'a Path,
    pub stdio: Stdio,
    pub cgroup: CgroupOptions<'a>,
    pub seccomp_cache: Option<&'a Path>,
    /// The configuration's filter, if the caller has kept it from an earlier process.
    pub filter: Option<&'a Filter>,
    /// As in [`CreateOptions`].
    pub preserve_fds: u32,
    /// As in [`CreateOptions`].
    pub handshake_timeout: Duration,
    /// A session keyring of its own, so that keys of the caller are not found inside.
    pub new_keyring: bool,
}

impl<'a> ExecOptions<'a> {
    /// The caller's streams, the configuration's cgroup.
    pub fn new(target_pid: i32, target_pidfd: BorrowedFd<'a>, spec: &'a Spec, process: &'a Process) -> Self {
        Self {
            target_pid,
            target_pidfd,
            spec,
            process,
            id: "",
            bundle: Path::new("/"),
            stdio: Stdio::Inherit,
            cgroup: CgroupOptions::FromSpec,
            seccomp_cache: None,
            filter: None,
            preserve_fds: 0,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            new_keyring: true,
        }
    }
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
