//! The steps as data.
use knarr_linux::caps::{CapSet, Sets};
use knarr_linux::mount::{Attributes, Propagation};
use rustix::fs::FileType;
use std::ffi::CString;
use std::fmt;

/// One thing that the new process does. Paths of the container are resolved in its root, host paths in the host's.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    JoinCgroup,
    JoinNamespace {
        flag: u64,
        path: CString,
    },
    JoinGivenNetwork,
    /// The container's user namespace, as its root.
    JoinUser,
    /// Namespaces of the container's first process, `flags` of all of them at once. Descriptors of the host are closed.
    JoinContainer {
        flags: u64,
    },
    /// A mount namespace of its own for a process that opens what the container's root may not.
    SeparateMounts,
    /// The process that goes on with the next step is born, as a child of the parent, in new namespaces of these kinds; this
    /// one has done its part.
    Spawn {
        flags: u64,
    },
    /// The streams belong to a user that the container's root cannot give them to.
    GiveStreams {
        uid: u32,
    },
    NewCgroupNamespace,
    OomScore(CString),
    Session,
    HostName(CString),
    DomainName(CString),
    /// Of everything in the new mount namespace.
    HostPropagation(Propagation),
    /// The root as a detached mount.
    OpenRoot(Box<RootSource>),
    AttachRoot,
    /// The same in a mount namespace that is not the container's own: it stays detached, and nothing of it is seen there.
    KeepRootDetached,
    /// A source of a bind as a detached mount, for the step that attaches it.
    OpenSource {
        number: usize,
        path: CString,
        recursive: bool,
        mapping: Option<Mapping>,
    },
    Mount(Box<MountStep>),
    /// Change a mount that is in place.
    SetAttributes {
        path: CString,
        attributes: Attributes,
    },
    Device(Device),
    Link {
        path: CString,
        target: CString,
    },
    Terminal {
        rows: u16,
        cols: u16,
        uid: u32,
        console: bool,
    },
    Stdio {
        uid: u32,
    },
    Sysctl {
        path: CString,
        value: CString,
    },
    Mask(CString),
    ReadOnlyPath(CString),
    MakeWorkingDirectory(CString),
    /// Tell the parent to run its hooks, and learn the process's number.
    RuntimeHooks,
    CreateContainerHooks,
    ReadOnlyRoot,
    Pivot,
    /// Where pivot_root would change the root of others.
    ChangeRoot,
    /// The root of the container's first process, whose mount namespace says nothing about it.
    EnterRoot,
    /// Keys of the caller are not the container's.
    NewKeyring,
    RootPropagation(Propagation),
    Rlimit {
        number: u32,
        soft: u64,
        hard: u64,
    },
    IoPriority {
        value: i32,
    },
    Personality(u32),
    /// Processors, by number.
    Affinity(Vec<u32>),
    /// Every processor that the group has: not those that the caller is bound to.
    AnyProcessor,
    MemoryPolicy {
        mode: u32,
        nodes: Vec<u32>,
    },
    /// A new time namespace for the process that is born next, with what its clocks differ by.
    NewTimeNamespace {
        offsets: CString,
    },
    /// Change a mount of the container, and its filesystem.
    Remount(Box<RemountStep>),
    SecurityLabel {
        file: CString,
        label: CString,
    },
    Umask(u32),
    LimitBounding(CapSet),
    /// Groups (if they can be set), group and user, in this order.
    Identity {
        uid: u32,
        gid: u32,
        groups: Option<Vec<u32>>,
    },
    Capabilities {
        effective: CapSet,
        permitted: CapSet,
        inheritable: CapSet,
        ambient: CapSet,
    },
    NoNewPrivileges,
    WorkingDirectory {
        path: CString,
        /// Only if it was refused before.
        again: bool,
    },
    /// Look for the program; the first of the candidates that can be executed. None: there is nothing to execute.
    FindProgram(Vec<CString>),
    Filter,
    /// Without no_new_privs: with `CAP_SYS_ADMIN` for this moment, after which the sets are exactly these.
    PrivilegedFilter(Sets),
    /// Wait for the word to start.
    Gate,
    StartContainerHooks,
    Execute,
}

/// What changes of a mount that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemountStep {
    pub path: CString,
    pub attributes: Attributes,
    pub recursive: Attributes,
    pub parameters: Vec<(CString, Option<CString>)>,
}

/// Where the container's root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    Overlay {
        /// Top first.
        lower: Vec<CString>,
        upper: CString,
        work: CString,
        volatile: bool,
        /// SELinux context of all files.
        label: Option<CString>,
        shared: Option<Shared>,
    },
    Directory(CString),
    /// A directory of the container's own that was made from layers: it keeps the container's ids.
    Copy {
        path: CString,
        /// Seen through an id-mapped mount.
        mapped: bool,
    },
}

/// Layers that keep the container's ids on disk, seen through an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The container's root, outside: what overlayfs itself makes belongs to it.
    pub user: u32,
    pub group: u32,
    /// A directory that all lower layers are below, so that one mount maps them all.
    pub lower: CString,
    /// The same for upper and work directory.
    pub upper: CString,
}

/// An id-mapped mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub by: MapBy,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapBy {
    /// The container's user namespace.
    Container,
    /// Maps of the mount's own, by their number in the plan.
    Own(usize),
}

/// What is attached and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStep {
    pub destination: CString,
    pub source: Source,
    pub attributes: Attributes,
    /// A second change, for options that hold for the tree below too.
    pub recursive: Attributes,
    pub propagation: Option<(Propagation, bool)>,
    pub target: Target,
    /// Copy what the container has at the destination into the new filesystem.
    pub copy_up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    New(Filesystem),
    Bind {
        path: CString,
        recursive: bool,
        mapping: Option<Mapping>,
    },
    /// Opened by an earlier step.
    Opened {
        number: usize,
        path: CString,
    },
    /// Bind of what lies in another process's mount namespace: opened by the parent, for no path leads there.
    Foreign {
        pid: i32,
        /// In the root of that process.
        path: CString,
        recursive: bool,
        /// Among the foreign sources of the plan.
        number: usize,
    },
    /// Bind of what a descriptor of another process names (`/proc/<pid>/fd/<n>`): its mount is in the parent's mount namespace.
    Descriptor {
        pid: i32,
        path: CString,
        recursive: bool,
        mapping: Option<Mapping>,
        /// Among the foreign sources of the plan.
        number: usize,
    },
    /// Bind of the container's own group, where no cgroup namespace makes it the root of its tree.
    Group {
        path: CString,
    },
}

/// A filesystem made by the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    pub kind: CString,
    pub source: CString,
    pub parameters: Vec<(CString, Option<CString>)>,
    pub attributes: u32,
    /// Where the kernel refuses a new one, the host's own is shown: it would be the same, or less is seen of it.
    pub or_hosts: bool,
}

/// How the place of a mount is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Links are followed inside of the root; a bind may not go over procfs.
    Follow,
    /// As [`Target::Follow`], for the few files of procfs that may be replaced.
    FollowIntoProc,
    /// As [`Target::Strict`], for a procfs alone.
    Procfs,
    /// No link may be in the way: `/proc`, `/sys`, `/dev` decide what is safe.
    Strict,
}

/// A device node or FIFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub path: CString,
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Step {
    /// What was attempted, and with which path, for an error's text.
    pub fn describe(&self) -> (&'static str, Option<&CString>) {
        match self {
            Self::JoinCgroup => ("join the cgroup", None),
            Self::JoinNamespace { path, .. } => ("join namespace", Some(path)),
            Self::JoinGivenNetwork => ("join the network namespace", None),
            Self::JoinUser => ("join the user namespace", None),
            Self::JoinContainer { .. } => ("join the container's namespaces", None),
            Self::SeparateMounts => ("make a mount namespace", None),
            Self::Spawn { .. } => ("make the container's process", None),
            Self::GiveStreams { .. } => ("give the streams to the user", None),
            Self::NewCgroupNamespace => ("make a cgroup namespace", None),
            Self::OomScore(_) => ("set oom_score_adj", None),
            Self::Session => ("make a session", None),
            Self::HostName(name) => ("set host name", Some(name)),
            Self::DomainName(name) => ("set domain name", Some(name)),
            Self::HostPropagation(_) | Self::RootPropagation(_) => ("set propagation of the root", None),
            Self::OpenRoot(root) => match root.as_ref() {
                RootSource::Overlay { upper, .. } => ("mount the root overlay of", Some(upper)),
                RootSource::Directory(path) | RootSource::Copy { path, .. } => ("mount root", Some(path)),
            },
            Self::KeepRootDetached => ("keep the root detached", None),
            Self::ChangeRoot => ("change the root", None),
            Self::EnterRoot => ("enter the container's root", None),
            Self::NewKeyring => ("make a session keyring", None),
            Self::AttachRoot => ("attach the root", None),
            Self::OpenSource { path, .. } => ("open mount source", Some(path)),
            Self::Mount(mount) => match &mount.source {
                Source::Bind { .. }
                | Source::Foreign { .. }
                | Source::Descriptor { .. }
                | Source::Opened { .. } => ("bind mount at", Some(&mount.destination)),
                _ => ("mount at", Some(&mount.destination)),
            },
            Self::SetAttributes { path, .. } => ("change mount", Some(path)),
            Self::Device(device) => ("make device", Some(&device.path)),
            Self::Link { path, .. } => ("make link", Some(path)),
            Self::Terminal { .. } => ("set up the terminal", None),
            Self::Stdio { .. } => ("set up the standard streams", None),
            Self::Sysctl { path, .. } => ("write sysctl", Some(path)),
            Self::Mask(path) => ("mask", Some(path)),
            Self::ReadOnlyPath(path) => ("make read-only", Some(path)),
            Self::MakeWorkingDirectory(path) => ("make working directory", Some(path)),
            Self::RuntimeHooks => ("wait for the runtime's hooks", None),
            Self::CreateContainerHooks => ("run createContainer hooks", None),
            Self::ReadOnlyRoot => ("make the root read-only", None),
            Self::Pivot => ("change the root", None),
            Self::Rlimit { .. } => ("set resource limit", None),
            Self::IoPriority { .. } => ("set I/O priority", None),
            Self::Affinity(_) | Self::AnyProcessor => ("set CPU affinity", None),
            Self::MemoryPolicy { .. } => ("set memory policy", None),
            Self::NewTimeNamespace { .. } => ("make a time namespace", None),
            Self::Remount(remount) => ("remount", Some(&remount.path)),
            Self::Personality(_) => ("set personality", None),
            Self::SecurityLabel { label, .. } => ("set security label", Some(label)),
            Self::Umask(_) => ("set umask", None),
            Self::LimitBounding(_) => ("limit the bounding set", None),
            Self::Identity { .. } => ("change user", None),
            Self::Capabilities { .. } => ("set capabilities", None),
            Self::NoNewPrivileges => ("set no_new_privs", None),
            Self::WorkingDirectory { path, .. } => ("chdir to cwd", Some(path)),
            Self::FindProgram(_) => ("find the program", None),
            Self::Filter | Self::PrivilegedFilter(_) => ("install the system call filter", None),
            Self::Gate => ("wait for the start", None),
            Self::StartContainerHooks => ("run startContainer hooks", None),
            Self::Execute => ("execute the program", None),
        }
    }
}

/// Golden tests read this: one line, without the noise of nested structures that are at their defaults.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount) => mount_text(mount, f),
            Self::Device(d) => write!(
                f,
                "device {:?} {:?} {}:{} {:04o} {}:{}",
                d.path, d.kind, d.major, d.minor, d.mode, d.uid, d.gid
            ),
            Self::Link { path, target } => write!(f, "link {path:?} -> {target:?}"),
            Self::Sysctl { path, value } => write!(f, "sysctl {path:?} = {value:?}"),
            Self::OpenRoot(root) => root_text(root, f),
            Self::OpenSource { number, path, recursive, mapping } => {
                write!(f, "source {number} {}{path:?}", if *recursive { "recursive " } else { "" })?;
                mapping_text(*mapping, f)
            }
            Self::Spawn { flags } => write!(f, "spawn {flags:x}"),
            Self::JoinContainer { flags } => write!(f, "join the container's namespaces {flags:x}"),
            Self::GiveStreams { uid } => write!(f, "give the streams to {uid}"),
            Self::Terminal { rows, cols, uid, console } => {
                write!(f, "terminal {rows}x{cols} uid {uid} console {console}")
            }
            Self::Rlimit { number, soft, hard } => write!(f, "rlimit {number} {soft} {hard}"),
            Self::LimitBounding(set) => write!(f, "bounding {:x}", set.0),
            Self::Identity { uid, gid, groups: Some(groups) } => {
                write!(f, "identity {uid}:{gid} groups {groups:?}")
            }
            Self::Identity { uid, gid, groups: None } => write!(f, "identity {uid}:{gid}"),
            Self::Capabilities { effective, permitted, inheritable, ambient } => write!(
                f,
                "capabilities e {:x} p {:x} i {:x} a {:x}",
                effective.0, permitted.0, inheritable.0, ambient.0
            ),
            Self::PrivilegedFilter(s) => write!(
                f,
                "install the system call filter, privileged, then e {:x} p {:x} i {:x}",
                s.effective.0, s.permitted.0, s.inheritable.0
            ),
            Self::FindProgram(candidates) => write!(f, "find program {candidates:?}"),
            Self::JoinNamespace { flag, path } => write!(f, "join namespace {flag:x} {path:?}"),
            Self::SetAttributes { path, attributes } => {
                write!(f, "attributes {path:?} +{:x} -{:x}", attributes.set, attributes.clear)
            }
            Self::HostPropagation(p) | Self::RootPropagation(p) => write!(f, "{} {p:?}", self.describe().0),
            Self::WorkingDirectory { path, again } => {
                write!(f, "chdir to cwd {path:?}{}", if *again { " again" } else { "" })
            }
            Self::Affinity(processors) => write!(f, "affinity {processors:?}"),
            Self::AnyProcessor => f.write_str("any processor"),
            Self::MemoryPolicy { mode, nodes } => write!(f, "memory policy {mode:x} {nodes:?}"),
            Self::NewTimeNamespace { offsets } => write!(f, "make a time namespace {offsets:?}"),
            Self::Remount(remount) => write!(f, "{remount:?}"),
            Self::Umask(mask) => write!(f, "umask {mask:04o}"),
            other => match other.describe() {
                (what, Some(path)) => write!(f, "{what} {path:?}"),
                (what, None) => f.write_str(what),
            },
        }
    }
}

fn root_text(root: &RootSource, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match root {
        RootSource::Directory(path) | RootSource::Copy { path, mapped: false } => write!(f, "root {path:?}"),
        RootSource::Copy { path, mapped: true } => write!(f, "root {path:?} mapped"),
        RootSource::Overlay { lower, upper, work, volatile, label, shared } => {
            write!(f, "root overlay lower {lower:?} upper {upper:?} work {work:?}")?;
            if *volatile {
                f.write_str(" volatile")?;
            }
            if let Some(label) = label {
                write!(f, " context {label:?}")?;
            }
            match shared {
                None => Ok(()),
                Some(Shared { user, group, lower, upper }) => {
                    write!(f, " mapped at {lower:?} and {upper:?} for {user}:{group}")
                }
            }
        }
    }
}

fn mapping_text(mapping: Option<Mapping>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match mapping {
        None => Ok(()),
        Some(Mapping { by, recursive }) => {
            write!(f, " mapped{} by {by:?}", if recursive { " recursive" } else { "" })
        }
    }
}

fn mount_text(mount: &MountStep, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &mount.source {
        Source::New(fs) => {
            write!(f, "mount {:?} {:?} attr {:x}", mount.destination, fs.kind, fs.attributes)?;
            for (key, value) in &fs.parameters {
                match value {
                    Some(value) => write!(f, " {}={}", key.to_string_lossy(), value.to_string_lossy())?,
                    None => write!(f, " {}", key.to_string_lossy())?,
                }
            }
        }
        Source::Bind { path, recursive, mapping } => {
            write!(f, "{}bind {path:?} at {:?}", if *recursive { "r" } else { "" }, mount.destination)?;
            mapping_text(*mapping, f)?;
        }
        Source::Opened { number, .. } => write!(f, "bind source {number} at {:?}", mount.destination)?,
        Source::Foreign { pid, path, recursive, .. } => {
            let r = if *recursive { "r" } else { "" };
            write!(f, "{r}bind {path:?} of process {pid} at {:?}", mount.destination)?;
        }
        Source::Descriptor { path, recursive, mapping, .. } => {
            let r = if *recursive { "r" } else { "" };
            write!(f, "{r}bind descriptor {path:?} at {:?}", mount.destination)?;
            mapping_text(*mapping, f)?;
        }
        Source::Group { path } => write!(f, "bind group {path:?} at {:?}", mount.destination)?,
    }
    for (name, a) in [("", &mount.attributes), ("recursive ", &mount.recursive)] {
        if *a != Attributes::default() {
            write!(f, " {name}+{:x} -{:x}", a.set, a.clear)?;
        }
    }
    if let Some((propagation, recursive)) = mount.propagation {
        write!(f, " {propagation:?}{}", if recursive { " recursive" } else { "" })?;
    }
    if mount.target != Target::Follow {
        write!(f, " {:?}", mount.target)?;
    }
    if mount.copy_up {
        f.write_str(" copy-up")?;
    }
    Ok(())
}
