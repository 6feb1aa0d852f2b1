//! From a container's configuration to an OCI runtime configuration. Pure: a flat list of functions, one concern each.
//!
//! Standard: <https://github.com/opencontainers/runtime-spec/blob/main/config.md>; the defaults are Docker's. Everything
//! that has to be looked up on the host is in [`Facts`], gathered before.
mod facts;
mod limits;
mod mounts;
mod namespaces;
mod process;
mod security;

pub use facts::{DeviceNode, Facts};
pub(crate) use limits::{parse_rule as device_rule, resources};
pub(crate) use process::override_with;
pub(crate) use security::{for_user, masked_paths, option as security_option, readonly_paths};

use crate::record::{Container, IdMaps, Labels};
use crate::user::User;
use knarr_oci::runtime::{Linux, Process, Root, Spec, VERSION};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a specification is made of.
pub struct Input<'a> {
    pub container: &'a Container,
    pub user: &'a User,
    pub facts: &'a Facts,
    /// Namespaces of other containers that are joined.
    pub joined: &'a Joined,
    /// Of the user namespace; `None`: the host's.
    pub id_maps: Option<&'a IdMaps>,
    /// As they are in force.
    pub labels: &'a Labels,
    /// Files of the container that are mounted over `/etc/...`.
    pub files: &'a Files,
    /// Where a mount's source is found, by destination, if not at its path.
    pub sources: &'a BTreeMap<String, PathBuf>,
    /// `/<parent>/<id>`.
    pub cgroup_path: &'a str,
    /// Put an init in front: the executable to mount as `/sbin/docker-init`.
    pub init: Option<PathBuf>,
    /// Limits that hold when the container says nothing: name, soft, hard.
    pub default_ulimits: &'a [(String, i64, i64)],
    pub default_shm_size: i64,
    pub no_new_privileges: bool,
    /// The cgroup namespace is the container's own.
    pub private_cgroupns: bool,
}

/// `/proc/<pid>` of the containers whose namespaces are joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    pub pid: Option<i32>,
    pub ipc: Option<i32>,
}

/// Files on the host, mounted inside; `None`: not mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub hostname: Option<PathBuf>,
    pub hosts: Option<PathBuf>,
    pub resolv_conf: Option<PathBuf>,
}

/// A specification being made; the parts that OCI has as optional are there.
struct Draft {
    spec: Spec,
    process: Process,
    linux: Linux,
}

type Concern = fn(&Input, &mut Draft);

const CONCERNS: &[Concern] = &[
    process::command,
    process::terminal,
    process::environment,
    process::user,
    process::working_directory,
    process::rlimits,
    process::oom_score,
    security::capabilities,
    security::no_new_privileges,
    security::paths,
    security::labels,
    namespaces::namespaces,
    namespaces::hostname,
    namespaces::sysctls,
    mounts::defaults,
    mounts::shared_memory,
    mounts::files,
    mounts::volumes,
    mounts::init,
    mounts::privileged,
    limits::cgroup,
    limits::devices,
];

/// The specification. The system call filter is put in by the caller: it needs a profile.
pub fn build(input: &Input) -> Spec {
    let mut draft = Draft {
        spec: Spec {
            oci_version: VERSION.to_owned(),
            root: Some(Root {
                path: PathBuf::from("rootfs"),
                readonly: input.container.host_config.readonly_rootfs,
            }),
            annotations: input.container.host_config.annotations.clone().into_inner(),
            ..Spec::default()
        },
        process: Process::default(),
        linux: Linux::default(),
    };
    for concern in CONCERNS {
        concern(input, &mut draft);
    }
    let Draft { mut spec, process, linux } = draft;
    spec.process = Some(process);
    spec.linux = Some(linux);
    spec
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::container as test_container;
