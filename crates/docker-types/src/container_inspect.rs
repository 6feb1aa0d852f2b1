//! `GET /containers/{id}/json`.
use crate::container_config::Config;
use crate::host_config::{HostConfig, PortMap};
use crate::mount::MountPoint;
use crate::network::EndpointSettings;
use crate::platform::Descriptor;
use crate::{List, Map};

/// Values of [`State::status`].
pub mod state_name {
    pub const CREATED: &str = "created";
    pub const RUNNING: &str = "running";
    pub const PAUSED: &str = "paused";
    pub const RESTARTING: &str = "restarting";
    pub const REMOVING: &str = "removing";
    pub const EXITED: &str = "exited";
    pub const DEAD: &str = "dead";
}

api_struct! {
    pub struct InspectResponse {
        id: String = "Id",
        created: String = "Created",
        path: String = "Path",
        args: List<String> = "Args",
        state: Option<State> = "State",
        image: String = "Image",
        resolv_conf_path: String = "ResolvConfPath",
        hostname_path: String = "HostnamePath",
        hosts_path: String = "HostsPath",
        log_path: String = "LogPath",
        /// With a leading slash.
        name: String = "Name",
        restart_count: i64 = "RestartCount",
        driver: String = "Driver",
        platform: String = "Platform",
        mount_label: String = "MountLabel",
        process_label: String = "ProcessLabel",
        app_armor_profile: String = "AppArmorProfile",
        exec_ids: List<String> = "ExecIDs",
        host_config: Option<HostConfig> = "HostConfig",
        graph_driver: Option<DriverData> = "GraphDriver" omitempty,
        storage: Option<Storage> = "Storage" omitempty,
        size_rw: Option<i64> = "SizeRw" omitempty,
        size_root_fs: Option<i64> = "SizeRootFs" omitempty,
        mounts: List<MountPoint> = "Mounts",
        config: Option<Config> = "Config",
        network_settings: Option<NetworkSettings> = "NetworkSettings",
        image_manifest_descriptor: Option<Descriptor> = "ImageManifestDescriptor" omitempty,
    }

    pub struct State {
        /// One of [`state_name`].
        status: String = "Status",
        running: bool = "Running",
        paused: bool = "Paused",
        restarting: bool = "Restarting",
        oom_killed: bool = "OOMKilled",
        dead: bool = "Dead",
        pid: i64 = "Pid",
        exit_code: i64 = "ExitCode",
        error: String = "Error",
        started_at: String = "StartedAt",
        finished_at: String = "FinishedAt",
        health: Option<Health> = "Health" omitempty,
        /// Log messages that were lost; Knarr's own.
        log_lost: i64 = "LogLost" omitempty,
    }

    pub struct Health {
        /// none, starting, healthy, unhealthy.
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
        log: List<HealthcheckResult> = "Log",
    }

    pub struct HealthcheckResult {
        start: String = "Start",
        end: String = "End",
        exit_code: i64 = "ExitCode",
        output: String = "Output",
    }

    pub struct NetworkSettings {
        sandbox_id: String = "SandboxID",
        sandbox_key: String = "SandboxKey",
        ports: PortMap = "Ports",
        networks: Map<EndpointSettings> = "Networks",
    }

    /// How a storage driver keeps an image or container.
    pub struct DriverData {
        data: Map<String> = "Data",
        name: String = "Name",
    }

    pub struct Storage {
        root_fs: Option<RootFsStorage> = "RootFS" omitempty,
    }
    pub struct RootFsStorage {
        snapshot: Option<RootFsStorageSnapshot> = "Snapshot" omitempty,
    }
    pub struct RootFsStorageSnapshot {
        name: String = "Name" omitempty,
    }
}
