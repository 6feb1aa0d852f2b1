//! What the engine is told at its start; the daemon's options.
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::machine::Backoff;
pub use knarr_image::{CleanPolicy, Proxies};
pub use knarr_network::{AddressPool, NetworkConfig, Scope};
pub use knarr_snapshot::driver::Kind as StorageDriver;

/// An image that this program carries: a pull of exactly this reference needs no registry.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinImage {
    /// Full form, such as `docker.io/library/hello-world:latest`.
    pub reference: &'static str,
    /// Makes the docker-save archive.
    pub archive: fn() -> Vec<u8>,
}

/// An OCI runtime that is a program of its own, with runc's command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// A name without a slash is looked for in the search path, once.
    pub path: PathBuf,
    /// Given before the command.
    pub args: Vec<String>,
}

/// How one engine runs. Engines with different data roots never touch each other.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Durable state: images, containers, volumes, the database.
    pub data_root: PathBuf,
    /// State of this boot: sockets of supervisors, exit records.
    pub exec_root: PathBuf,
    /// How containers are made of layers; `None`: the best way that works on the data root's file system.
    pub storage_driver: Option<StorageDriver>,
    /// This program's executable; copies of it become the spawner and `/sbin/docker-init`.
    pub exe: PathBuf,
    /// Network defaults; `engine_id` is filled in.
    pub network: NetworkConfig,
    /// Registries reached over plain HTTP or with unverified certificates: `host[:port]` or CIDR.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, in order.
    pub registry_mirrors: Vec<String>,
    /// Layers that one pull fetches at a time.
    pub max_concurrent_downloads: u32,
    /// Mirrors of any part of any registry: the beginning of a repository's full name, and URLs in order.
    pub registry_prefix_mirrors: BTreeMap<String, Vec<String>>,
    /// Proxies on the way to registries; what is empty is the environment's.
    pub proxies: Proxies,
    /// Layers of one push that are sent at the same time.
    pub max_concurrent_uploads: usize,
    /// Parent control group; `None`: `/knarr-<engine id>`, with systemd `system.slice`.
    pub cgroup_parent: Option<String>,
    /// Whether systemd makes the control groups; `None`: where it runs, on cgroup v2.
    pub systemd_cgroup: Option<bool>,
    /// Default log driver, if one was chosen.
    pub log_driver: Option<String>,
    /// Default options of the log driver (`max-size`, `max-file`, ...).
    pub log_opts: BTreeMap<String, String>,
    /// Labels of the engine, shown by `info`.
    pub labels: Vec<String>,
    pub debug: bool,
    /// Default ulimits: name to soft and hard limit.
    pub default_ulimits: BTreeMap<String, (i64, i64)>,
    /// Default size of `/dev/shm` in bytes.
    pub default_shm_size: i64,
    /// Put `/sbin/docker-init` before every container's program.
    pub init: bool,
    /// Default `no-new-privileges`.
    pub no_new_privileges: bool,
    /// Default seccomp profile file; `None`: the built-in one; `unconfined`.
    pub seccomp_profile: Option<String>,
    /// Default cgroup namespace mode, `private` or `host`; empty: private on cgroup v2, host on v1.
    pub cgroupns_mode: String,
    /// Runtimes beside the engine's own, by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// `default` or `user[:group]`: containers get a user namespace with this user's subordinate ids; `None`: the host's.
    pub userns_remap: Option<String>,
    /// Where `--userns auto` takes ids from: `START:COUNT` or a user with subordinate ids.
    pub userns_pool: Option<String>,
    /// Label containers where the kernel has SELinux and the policy labels for them.
    pub selinux_enabled: bool,
    /// Pauses before restarts by policies, of containers that say nothing.
    pub restart_backoff: Backoff,
    /// Seconds after which a container that does not stop is killed, unless it says otherwise.
    pub default_stop_timeout_s: i64,
    /// `private` or `shareable`.
    pub default_ipc_mode: String,
    /// Seconds given to containers at `shutdown` with `stop_containers`.
    pub shutdown_timeout_s: u64,
    /// When images go by themselves; none: never.
    pub clean_up: Option<CleanPolicy>,
    /// Version of this program, for `version` and `info`.
    pub version: String,
    /// Commit that it was built of.
    pub git_commit: String,
    /// Images built into this program.
    pub builtin_images: Vec<BuiltinImage>,
}

/// Docker's default size of `/dev/shm`.
pub const DEFAULT_SHM_SIZE: i64 = 64 << 20;

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            data_root: "/var/lib/knarr".into(),
            exec_root: "/run/knarr".into(),
            storage_driver: None,
            exe: "/proc/self/exe".into(),
            network: NetworkConfig::default(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            max_concurrent_downloads: 3,
            registry_prefix_mirrors: BTreeMap::new(),
            proxies: Proxies::default(),
            max_concurrent_uploads: knarr_image::MAX_UPLOADS,
            cgroup_parent: None,
            systemd_cgroup: None,
            log_driver: None,
            log_opts: BTreeMap::new(),
            labels: Vec::new(),
            debug: false,
            default_ulimits: BTreeMap::new(),
            default_shm_size: DEFAULT_SHM_SIZE,
            init: false,
            no_new_privileges: false,
            seccomp_profile: None,
            cgroupns_mode: String::new(),
            runtimes: BTreeMap::new(),
            default_runtime: crate::runtimes::OWN.to_owned(),
            userns_remap: None,
            userns_pool: None,
            selinux_enabled: false,
            restart_backoff: Backoff::default(),
            default_stop_timeout_s: 10,
            default_ipc_mode: "private".to_owned(),
            shutdown_timeout_s: 15,
            clean_up: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: String::new(),
            builtin_images: Vec::new(),
        }
    }
}
