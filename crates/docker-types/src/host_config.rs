//! `HostConfig`: what ties a container to this host.
use crate::mount::Mount;
use crate::resources::Resources;
use crate::{List, Map};

/// `"80/tcp" -> [{HostIp, HostPort}]`.
pub type PortMap = Map<List<PortBinding>>;

api_struct! {
    /// Configuration of a container that depends on the host.
    pub struct HostConfig {
        binds: List<String> = "Binds",
        container_id_file: String = "ContainerIDFile",
        log_config: LogConfig = "LogConfig",
        network_mode: String = "NetworkMode",
        port_bindings: PortMap = "PortBindings",
        restart_policy: RestartPolicy = "RestartPolicy",
        auto_remove: bool = "AutoRemove",
        volume_driver: String = "VolumeDriver",
        volumes_from: List<String> = "VolumesFrom",
        /// Height, width.
        console_size: [u32; 2] = "ConsoleSize",
        annotations: Map<String> = "Annotations" omitempty,
        cap_add: List<String> = "CapAdd",
        cap_drop: List<String> = "CapDrop",
        cgroupns_mode: String = "CgroupnsMode",
        dns: List<String> = "Dns",
        dns_options: List<String> = "DnsOptions",
        dns_search: List<String> = "DnsSearch",
        extra_hosts: List<String> = "ExtraHosts",
        group_add: List<String> = "GroupAdd",
        ipc_mode: String = "IpcMode",
        cgroup: String = "Cgroup",
        links: List<String> = "Links",
        oom_score_adj: i64 = "OomScoreAdj",
        pid_mode: String = "PidMode",
        privileged: bool = "Privileged",
        publish_all_ports: bool = "PublishAllPorts",
        readonly_rootfs: bool = "ReadonlyRootfs",
        security_opt: List<String> = "SecurityOpt",
        storage_opt: Map<String> = "StorageOpt" omitempty,
        tmpfs: Map<String> = "Tmpfs" omitempty,
        uts_mode: String = "UTSMode",
        userns_mode: String = "UsernsMode",
        shm_size: i64 = "ShmSize",
        sysctls: Map<String> = "Sysctls" omitempty,
        runtime: String = "Runtime" omitempty,
        isolation: String = "Isolation",
        resources: Resources = flatten,
        mounts: List<Mount> = "Mounts" omitempty,
        /// nil: the default paths; empty: none.
        masked_paths: List<String> = "MaskedPaths",
        readonly_paths: List<String> = "ReadonlyPaths",
        init: Option<bool> = "Init" omitempty,
    }

    pub struct LogConfig {
        kind: String = "Type",
        config: Map<String> = "Config",
    }

    pub struct RestartPolicy {
        /// "", "no", "always", "unless-stopped", "on-failure".
        name: String = "Name",
        maximum_retry_count: i64 = "MaximumRetryCount",
    }

    pub struct PortBinding {
        host_ip: String = "HostIp",
        /// Empty: any free port; `8000-8010`: one of a range.
        host_port: String = "HostPort",
        /// Our own: `any`, `loopback`, networks whose senders reach the port. Empty: as the container's
        /// annotation `io.knarr.publish.sources`, the network's option of that name, or the daemon's `publish-scope` says.
        sources: List<String> = "Sources" omitempty,
    }
}
