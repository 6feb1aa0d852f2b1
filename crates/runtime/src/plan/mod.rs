//! From a configuration to the ordered steps that make a container: pure.
//!
//! Everything that needs memory or text is made here, before any process exists. [`crate::init`] carries the steps out one
//! by one, and reports a failure as the number of the step; the parent, which has the same list, turns it into text.
//!
//! The order: groups and namespaces ([`birth`]), then the tree (seen from the host's root, so that sources can still be named), then
//! the new root, then what the process is (limits, identity), the filter last of all; then it waits, then it executes.
mod birth;
mod cgroups;
mod devices;
mod mounts;
mod process;
mod scheduling;
mod step;
mod sysctl;
#[cfg(test)]
mod tests;

pub use mounts::MAX_FOREIGN;
pub(crate) use mounts::id_maps;
pub use step::{
    Device, Filesystem, MapBy, Mapping, MountStep, RemountStep, RootSource, Shared, Source, Step, Target,
};

use crate::{Error, Result};
use birth::Namespaces;
use knarr_cgroup::Hierarchies;
use knarr_linux::caps::CapSet;
use knarr_linux::mount::Propagation;
use knarr_linux::process::{Scheduling, flags};
use knarr_linux::user_namespace::IdMaps;
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Linux, NamespaceType, Process, Spec};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::path::Path;

/// Features that would make an upper directory mean nothing without its lower ones, or that let a layer lead elsewhere.
pub const OVERLAY_OPTIONS: &[(&CStr, &CStr)] =
    &[(c"redirect_dir", c"nofollow"), (c"metacopy", c"off"), (c"index", c"off")];

/// What is known about the host and the caller, besides the configuration.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub bundle: &'a Path,
    pub rootfs: Option<&'a RootfsMount>,
    /// A descriptor of the network namespace is at hand.
    pub netns_given: bool,
    /// Rows and columns if there is to be a terminal.
    pub terminal: Option<(u16, u16)>,
    pub hierarchies: Option<&'a Hierarchies>,
    /// Path of the container's group; `None` stays in the caller's.
    pub cgroup: Option<&'a str>,
    /// What this process may pass on.
    pub bounding: CapSet,
    /// Hard limits of this process, by number, if it may not raise them.
    pub hard_limits: Option<[u64; process::LIMITS]>,
    /// Of the container's user namespace, in ids of the caller's, if it has one.
    pub user: Option<IdMaps>,
    /// The caller may mount in its own user namespace.
    pub privileged: bool,
    /// Supplementary groups can be changed in the user namespace.
    pub groups: bool,
    /// Security modules that are in force.
    pub apparmor: bool,
    pub selinux: bool,
    pub new_keyring: bool,
}

/// The steps, and what is done around them.
#[derive(Debug)]
pub struct Plan {
    /// `CLONE_NEW*` for the process that begins with the steps.
    pub clone_flags: u64,
    pub steps: Vec<Step>,
    /// Limits that the parent sets when the process is ready: it may not raise them itself.
    pub limits: Vec<Limit>,
    /// The same for the scheduling policy.
    pub scheduling: Option<Scheduling>,
    /// The group is joined by writing to its file, not by being made in it.
    pub cgroup_by_file: bool,
    /// Maps of single mounts, by number.
    pub id_maps: Vec<IdMaps>,
    pub warnings: Vec<String>,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub number: u32,
    pub soft: u64,
    pub hard: u64,
}

impl Plan {
    fn new() -> Self {
        Self {
            clone_flags: 0,
            steps: Vec::new(),
            limits: Vec::new(),
            scheduling: None,
            cgroup_by_file: false,
            id_maps: Vec::new(),
            warnings: Vec::new(),
        }
    }
    /// Whether the process that begins is not the one that executes the program.
    pub fn spawns(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Spawn { .. }))
    }
    /// One line for each step.
    pub fn text(&self) -> String {
        self.steps.iter().map(|step| format!("{step:?}\n")).collect()
    }
}

pub(crate) fn text(text: &str, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Invalid { what: format!("{what} contains a zero byte") })
}

pub(crate) fn path_text(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid { what: format!("path {path:?} contains a zero byte") })
}

fn invalid<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Invalid { what: what.into() })
}

/// Steps of a container's first process.
pub fn container(spec: &Spec, facts: &Facts<'_>) -> Result<Plan> {
    // Only the start needs a process.
    let nothing = Process::default();
    let process = spec.process.as_ref().unwrap_or(&nothing);
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let mut plan = Plan::new();
    let namespaces = namespaces(linux, facts)?;
    let mut before = process::inherited(process, linux)?;
    before.extend(keyring(facts));
    plan.steps.push(Step::Session);
    names(spec, linux, &mut plan)?;
    root(spec, linux, facts, namespaces.hosts_mounts, &mut plan)?;
    for mount in &spec.mounts {
        mounts::plan(mount, linux, facts, &mut plan)?;
    }
    let own_dev = !mounts::binds_dev(&spec.mounts);
    if own_dev {
        devices::plan(linux, &mut plan.steps)?;
    }
    if let Some((rows, cols)) = facts.terminal {
        plan.steps.push(Step::Terminal { rows, cols, uid: process.user.uid, console: own_dev });
    }
    plan.steps.push(Step::Stdio { uid: process.user.uid });
    for (key, value) in &linux.sysctl {
        let path = sysctl::path(key, linux, facts.netns_given)?;
        let other = spec.domainname.as_ref().filter(|name| !name.is_empty() && *name != value);
        if path.as_c_str() == c"kernel/domainname" && other.is_some() {
            return invalid(format!("sysctl {key:?} is another name than domainname"));
        }
        plan.steps.push(Step::Sysctl { path, value: text(value, key)? });
    }
    plan.steps.extend(mounts::read_only_dev(&spec.mounts)?);
    let hooks = spec.hooks.as_ref();
    if hooks.is_some_and(|h| !h.prestart.is_empty() || !h.create_runtime.is_empty()) {
        plan.steps.push(Step::RuntimeHooks);
    }
    for path in &linux.readonly_paths {
        plan.steps.push(Step::ReadOnlyPath(inside(path)?));
    }
    let mut masked = BTreeSet::new();
    for path in linux.masked_paths.iter().filter(|path| masked.insert(path.as_str())) {
        plan.steps.push(Step::Mask(inside(path)?));
    }
    if !process.cwd.is_empty() && process.cwd != "/" {
        plan.steps.push(Step::MakeWorkingDirectory(inside(&process.cwd)?));
    }
    if hooks.is_some_and(|hooks| !hooks.create_container.is_empty()) {
        plan.steps.push(Step::CreateContainerHooks);
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        plan.steps.push(Step::ReadOnlyRoot);
    }
    plan.steps.push(if namespaces.hosts_mounts { Step::ChangeRoot } else { Step::Pivot });
    if let Some(propagation) = root_propagation(linux)?.filter(|p| *p != Propagation::Private)
        && !namespaces.hosts_mounts
    {
        plan.steps.push(Step::RootPropagation(propagation));
    }
    process::plan(process, spec.process.is_some(), linux, facts, &mut plan)?;
    let inner = std::mem::take(&mut plan.steps);
    birth::arrange(namespaces, before, inner, process.user.uid, facts, &mut plan)?;
    Ok(plan)
}

/// Steps of another process in a running container. It is born there last of all: no process of the container ever sees one
/// that still has the host's mounts or descriptors (CVE-2016-9962).
pub fn exec(process: &Process, linux: &Linux, facts: &Facts<'_>) -> Result<Plan> {
    let mut plan = Plan::new();
    let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
    let first = scheduling::affinity(affinity.initial.as_deref())?;
    plan.cgroup_by_file = first.is_some();
    plan.steps.extend(first);
    if facts.cgroup.is_some() {
        plan.steps.push(Step::JoinCgroup);
    }
    match scheduling::affinity(affinity.last.as_deref())? {
        None if !plan.cgroup_by_file => plan.steps.push(Step::AnyProcessor),
        last => plan.steps.extend(last),
    }
    plan.steps.extend(process::inherited(process, linux)?);
    if let Some(uid) = facts.user.as_ref().and_then(|maps| maps.user_outside(process.user.uid)) {
        plan.steps.push(Step::GiveStreams { uid });
    }
    let own = linux.namespaces.iter().fold(0, |all, namespace| all | flag(namespace.kind));
    plan.steps.extend(keyring(facts));
    let mut joined = birth::container_namespaces(own, facts);
    let hosts_mounts = linux.namespace(NamespaceType::Mount).is_none();
    if hosts_mounts {
        joined &= !flags::NEWNS;
    }
    plan.steps.push(Step::JoinContainer { flags: joined });
    if hosts_mounts {
        plan.steps.push(Step::EnterRoot);
    }
    plan.steps.push(Step::Spawn { flags: 0 });
    plan.steps.push(Step::Session);
    if let Some((rows, cols)) = facts.terminal {
        plan.steps.push(Step::Terminal { rows, cols, uid: process.user.uid, console: false });
    }
    plan.steps.push(Step::Stdio { uid: process.user.uid });
    process::plan(process, true, linux, facts, &mut plan)?;
    Ok(plan)
}

fn keyring(facts: &Facts<'_>) -> Option<Step> {
    facts.new_keyring.then_some(Step::NewKeyring)
}

/// `CLONE_NEW*` of a kind.
fn flag(kind: NamespaceType) -> u64 {
    match kind {
        NamespaceType::Pid => flags::NEWPID,
        NamespaceType::Network => flags::NEWNET,
        NamespaceType::Mount => flags::NEWNS,
        NamespaceType::Ipc => flags::NEWIPC,
        NamespaceType::Uts => flags::NEWUTS,
        NamespaceType::User => flags::NEWUSER,
        NamespaceType::Cgroup => flags::NEWCGROUP,
        NamespaceType::Time => flags::NEWTIME,
    }
}

fn namespaces(linux: &Linux, facts: &Facts<'_>) -> Result<Namespaces> {
    let mut found = Namespaces::default();
    let mut mount = None;
    let mut seen = Vec::new();
    for namespace in &linux.namespaces {
        if seen.contains(&namespace.kind) {
            return invalid(format!("namespace {:?} is listed twice", namespace.kind));
        }
        seen.push(namespace.kind);
        let flag = flag(namespace.kind);
        match (&namespace.path, namespace.kind) {
            // The parent has them at hand.
            (_, NamespaceType::User) => {}
            (_, NamespaceType::Network) if facts.netns_given => {}
            (None, NamespaceType::Time) => found.time = Some(time_offsets(linux)?),
            // Last: the other paths lead through the host's mounts.
            (Some(path), NamespaceType::Mount) => {
                mount = Some(Step::JoinNamespace { flag, path: path_text(path)? });
            }
            (Some(path), kind) => {
                found.joins_pid |= kind == NamespaceType::Pid;
                found.joined.push(Step::JoinNamespace { flag, path: path_text(path)? });
            }
            // The group has to be entered first: it becomes the root of the namespace.
            (None, NamespaceType::Cgroup) => found.cgroup = true,
            (None, _) => found.new |= flag,
        }
    }
    found.hosts_mounts = found.new & flags::NEWNS == 0 && mount.is_none();
    if found.hosts_mounts && facts.user.is_some() {
        return invalid("a user namespace needs a mount namespace");
    }
    if !linux.time_offsets.is_empty() && found.time.is_none() {
        return invalid("timeOffsets need a new time namespace");
    }
    if facts.netns_given {
        found.joined.push(Step::JoinGivenNetwork);
    }
    found.joined.extend(mount);
    Ok(found)
}

/// As `/proc/<pid>/timens_offsets` takes them.
fn time_offsets(linux: &Linux) -> Result<CString> {
    let mut lines = String::new();
    for (clock, offset) in &linux.time_offsets {
        if clock != "monotonic" && clock != "boottime" {
            return invalid(format!("time offset of clock {clock:?}"));
        }
        lines.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    text(&lines, "time offsets")
}

fn names(spec: &Spec, linux: &Linux, plan: &mut Plan) -> Result<()> {
    let own = linux.namespace(NamespaceType::Uts).is_some();
    for (name, is_host) in [(&spec.hostname, true), (&spec.domainname, false)] {
        let Some(name) = name.as_deref().filter(|n| !n.is_empty()) else { continue };
        if !own {
            return invalid("a host name needs a UTS namespace");
        }
        let name = text(name, "host name")?;
        plan.steps.push(if is_host { Step::HostName(name) } else { Step::DomainName(name) });
    }
    Ok(())
}

fn root_propagation(linux: &Linux) -> Result<Option<Propagation>> {
    Ok(match linux.rootfs_propagation.as_deref() {
        None | Some("") => None,
        Some("private" | "rprivate") => Some(Propagation::Private),
        Some("slave" | "rslave") => Some(Propagation::Slave),
        Some("shared" | "rshared") => Some(Propagation::Shared),
        Some("unbindable" | "runbindable") => Some(Propagation::Unbindable),
        Some(other) => return invalid(format!("rootfsPropagation {other:?}")),
    })
}

fn root(spec: &Spec, linux: &Linux, facts: &Facts<'_>, hosts_mounts: bool, plan: &mut Plan) -> Result<()> {
    // Nothing of the container reaches the host; what the host mounts reaches the container only if that is asked for.
    let inward = match root_propagation(linux)? {
        Some(kept @ (Propagation::Slave | Propagation::Shared)) => kept,
        _ if wants_host_mounts(spec) => Propagation::Slave,
        _ => Propagation::Private,
    };
    if !hosts_mounts {
        plan.steps.push(Step::HostPropagation(inward));
    }
    let source = match facts.rootfs {
        Some(RootfsMount::Overlay { lower, upper, work, volatile }) => RootSource::Overlay {
            lower: lower.iter().map(|p| path_text(p)).collect::<Result<_>>()?,
            upper: path_text(upper)?,
            work: path_text(work)?,
            volatile: *volatile,
            label: mounts::label(linux, facts)?,
            shared: None,
        },
        Some(RootfsMount::Directory { path }) => RootSource::Directory(path_text(path)?),
        Some(RootfsMount::Copy { path, .. }) => RootSource::Copy { path: path_text(path)?, mapped: false },
        None => {
            let root = spec.root.as_ref().ok_or(Error::Invalid { what: "root is missing".to_owned() })?;
            RootSource::Directory(path_text(&facts.bundle.join(&root.path))?)
        }
    };
    plan.steps.push(Step::OpenRoot(Box::new(source)));
    plan.steps.push(if hosts_mounts { Step::KeepRootDetached } else { Step::AttachRoot });
    Ok(())
}

/// A bind that wants to receive the host's later mounts needs them to reach this namespace first.
fn wants_host_mounts(spec: &Spec) -> bool {
    let wants = ["slave", "rslave", "shared", "rshared"];
    spec.mounts.iter().any(|m| m.options.iter().any(|o| wants.contains(&o.as_str())))
}

/// An absolute path inside the container.
fn inside(path: &str) -> Result<CString> {
    if !path.starts_with('/') {
        return invalid(format!("path {path:?} is not absolute"));
    }
    text(path, "path")
}
