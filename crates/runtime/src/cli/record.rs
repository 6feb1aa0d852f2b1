//! `state.json`: what is remembered of a container, under the names that programs around runc look for.
//!
//! Format: runc's `libcontainer` state as far as others read it (the process and its start, cgroup paths, namespace paths, the bundle among
//! the labels). What only this runtime needs is in the object `knarr`.
use super::time::Time;
use knarr_cgroup::Cgroup;
use knarr_oci::runtime::{Namespace, NamespaceType, Spec, StateStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub init_process_pid: i32,
    /// In ticks since boot: a process number that is used again is another process.
    pub init_process_start: u64,
    pub created: String,
    #[serde(default)]
    pub config: Config,
    #[serde(default)]
    pub rootless: bool,
    #[serde(default)]
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub namespace_paths: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub external_descriptors: Vec<String>,
    #[serde(default)]
    pub intel_rdt_path: String,
    pub knarr: Own,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Config {
    pub rootfs: PathBuf,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub namespaces: Vec<Joined>,
    #[serde(default)]
    pub cgroups: CgroupConfig,
    #[serde(default)]
    pub labels: Vec<String>,
    #[serde(default)]
    pub version: String,
}

impl Config {
    /// Whether it has a PID namespace that is nobody else's.
    pub(crate) fn has_own_processes(&self) -> bool {
        self.namespaces.iter().any(|joined| joined.kind == "NEWPID" && joined.path.as_os_str().is_empty())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: PathBuf,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CgroupConfig {
    pub path: String,
}

/// What other programs have no use for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Own {
    pub bundle: PathBuf,
    /// Under the root of every hierarchy. Empty: it has none of its own.
    pub cgroup: String,
    /// The group was not there before the container, and goes with it.
    #[serde(default = "yes")]
    pub made_group: bool,
    /// Its processes keep the session keyring of who makes them.
    #[serde(default)]
    pub no_new_keyring: bool,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Whether there are hooks that `start` and `delete` have to read the configuration for.
    #[serde(default)]
    pub poststart: bool,
    #[serde(default)]
    pub poststop: bool,
    /// What the resource director was asked for: a group that was made for it goes with the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<knarr_oci::runtime::IntelRdt>,
}

/// Records of before this was known are of groups that were taken for the container's own.
fn yes() -> bool {
    true
}

impl Record {
    /// Of a container that has no process yet.
    pub(crate) fn new(id: &str, bundle: &Path, spec: &Spec, cgroup: String) -> Self {
        let has = |list: fn(&knarr_oci::runtime::Hooks) -> &Vec<knarr_oci::runtime::Hook>| {
            spec.hooks.as_ref().is_some_and(|hooks| !list(hooks).is_empty())
        };
        let labels = spec.annotations.iter().map(|(key, value)| format!("{key}={value}"));
        let root = spec.root.as_ref().map(|root| bundle.join(&root.path)).unwrap_or_default();
        Self {
            id: id.to_owned(),
            init_process_pid: 0,
            init_process_start: 0,
            created: Time::now().rfc3339(),
            config: Config {
                rootfs: root.components().collect(),
                hostname: spec.hostname.clone().unwrap_or_default(),
                namespaces: spec.linux.iter().flat_map(|linux| &linux.namespaces).map(joined).collect(),
                cgroups: CgroupConfig { path: cgroup.clone() },
                labels: labels.chain([format!("bundle={}", bundle.display())]).collect(),
                version: spec.oci_version.clone(),
            },
            rootless: !rustix::process::geteuid().is_root(),
            cgroup_paths: BTreeMap::new(),
            namespace_paths: BTreeMap::new(),
            external_descriptors: Vec::new(),
            intel_rdt_path: String::new(),
            knarr: Own {
                bundle: bundle.to_owned(),
                cgroup,
                made_group: false,
                no_new_keyring: false,
                annotations: spec.annotations.clone(),
                poststart: has(|hooks| &hooks.poststart),
                poststop: has(|hooks| &hooks.poststop),
                intel_rdt: spec.linux.as_ref().and_then(|linux| linux.intel_rdt.clone()),
            },
        }
    }

    /// The process exists.
    pub(crate) fn set_process(&mut self, pid: i32, start: u64, cgroup: Option<&Cgroup>) {
        (self.init_process_pid, self.init_process_start) = (pid, start);
        self.namespace_paths = NAMESPACES
            .iter()
            .map(|(kind, file)| ((*kind).to_owned(), format!("/proc/{pid}/ns/{file}").into()))
            .collect();
        self.cgroup_paths = cgroup.map(cgroup_paths).unwrap_or_default();
    }

    /// 0 is how runc shows that there is no process.
    pub(crate) fn shown_pid(&self, status: StateStatus) -> i32 {
        if status == StateStatus::Stopped { 0 } else { self.init_process_pid }
    }
}

/// runc's names of namespaces, and the kernel's files.
const NAMESPACES: [(&str, &str); 8] = [
    ("NEWCGROUP", "cgroup"),
    ("NEWIPC", "ipc"),
    ("NEWNET", "net"),
    ("NEWNS", "mnt"),
    ("NEWPID", "pid"),
    ("NEWTIME", "time"),
    ("NEWUSER", "user"),
    ("NEWUTS", "uts"),
];

fn joined(namespace: &Namespace) -> Joined {
    let kind = match namespace.kind {
        NamespaceType::Cgroup => "NEWCGROUP",
        NamespaceType::Ipc => "NEWIPC",
        NamespaceType::Network => "NEWNET",
        NamespaceType::Mount => "NEWNS",
        NamespaceType::Pid => "NEWPID",
        NamespaceType::Time => "NEWTIME",
        NamespaceType::User => "NEWUSER",
        NamespaceType::Uts => "NEWUTS",
    };
    Joined { kind: kind.to_owned(), path: namespace.path.clone().unwrap_or_default() }
}

const V1_CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// By controller; cgroup v2 has the empty name.
fn cgroup_paths(cgroup: &Cgroup) -> BTreeMap<String, PathBuf> {
    if cgroup.hierarchies().version() == knarr_cgroup::Version::V2 {
        return cgroup.directories().into_iter().take(1).map(|path| (String::new(), path)).collect();
    }
    let found = V1_CONTROLLERS.iter().filter_map(|name| Some(((*name).to_owned(), cgroup.directory(name)?)));
    found.collect()
}
