//! `GET /info`, `/version`, `/system/df`.
use crate::plugin::PluginsInfo;
use crate::registry::ServiceConfig;
use crate::{List, Map, container, image, swarm, volume};
use serde_json::Value;

api_struct! {
    pub struct Info {
        id: String = "ID",
        containers: i64 = "Containers",
        containers_running: i64 = "ContainersRunning",
        containers_paused: i64 = "ContainersPaused",
        containers_stopped: i64 = "ContainersStopped",
        images: i64 = "Images",
        driver: String = "Driver",
        driver_status: List<List<String>> = "DriverStatus",
        system_status: List<List<String>> = "SystemStatus" omitempty,
        plugins: PluginsInfo = "Plugins",
        memory_limit: bool = "MemoryLimit",
        swap_limit: bool = "SwapLimit",
        cpu_cfs_period: bool = "CpuCfsPeriod",
        cpu_cfs_quota: bool = "CpuCfsQuota",
        cpu_shares: bool = "CPUShares",
        cpu_set: bool = "CPUSet",
        pids_limit: bool = "PidsLimit",
        ipv4_forwarding: bool = "IPv4Forwarding",
        debug: bool = "Debug",
        n_fd: i64 = "NFd",
        oom_kill_disable: bool = "OomKillDisable",
        n_goroutines: i64 = "NGoroutines",
        system_time: String = "SystemTime",
        logging_driver: String = "LoggingDriver",
        cgroup_driver: String = "CgroupDriver",
        cgroup_version: String = "CgroupVersion" omitempty,
        n_events_listener: i64 = "NEventsListener",
        kernel_version: String = "KernelVersion",
        operating_system: String = "OperatingSystem",
        os_version: String = "OSVersion",
        os_type: String = "OSType",
        architecture: String = "Architecture",
        index_server_address: String = "IndexServerAddress",
        registry_config: Option<ServiceConfig> = "RegistryConfig",
        n_cpu: i64 = "NCPU",
        mem_total: i64 = "MemTotal",
        generic_resources: List<Value> = "GenericResources",
        docker_root_dir: String = "DockerRootDir",
        http_proxy: String = "HttpProxy",
        https_proxy: String = "HttpsProxy",
        no_proxy: String = "NoProxy",
        name: String = "Name",
        labels: List<String> = "Labels",
        experimental_build: bool = "ExperimentalBuild",
        server_version: String = "ServerVersion",
        runtimes: Map<Runtime> = "Runtimes",
        default_runtime: String = "DefaultRuntime",
        swarm: swarm::Info = "Swarm",
        live_restore_enabled: bool = "LiveRestoreEnabled",
        isolation: String = "Isolation",
        init_binary: String = "InitBinary",
        containerd_commit: Commit = "ContainerdCommit",
        runc_commit: Commit = "RuncCommit",
        init_commit: Commit = "InitCommit",
        security_options: List<String> = "SecurityOptions",
        product_license: String = "ProductLicense" omitempty,
        default_address_pools: List<AddressPool> = "DefaultAddressPools" omitempty,
        firewall_backend: Option<FirewallInfo> = "FirewallBackend" omitempty,
        cdi_spec_dirs: List<String> = "CDISpecDirs",
        discovered_devices: List<DeviceInfo> = "DiscoveredDevices" omitempty,
        nri: Option<NriInfo> = "NRI" omitempty,
        containerd: Option<ContainerdInfo> = "Containerd" omitempty,
        warnings: List<String> = "Warnings",
    }

    pub struct Runtime {
        path: String = "path" omitempty,
        args: List<String> = "runtimeArgs" omitempty,
        kind: String = "runtimeType" omitempty,
        options: Map<Value> = "options" omitempty,
        status: Map<String> = "status" omitempty,
    }

    pub struct Commit {
        id: String = "ID",
    }

    pub struct AddressPool {
        base: String = "Base",
        size: i64 = "Size",
    }

    pub struct FirewallInfo {
        driver: String = "Driver",
        info: List<List<String>> = "Info" omitempty,
    }

    pub struct DeviceInfo {
        source: String = "Source",
        id: String = "ID",
    }

    pub struct NriInfo {
        info: List<List<String>> = "Info" omitempty,
    }

    pub struct ContainerdInfo {
        address: String = "Address" omitempty,
        namespaces: ContainerdNamespaces = "Namespaces",
    }
    pub struct ContainerdNamespaces {
        containers: String = "Containers",
        plugins: String = "Plugins",
    }

    /// `GET /version`.
    pub struct Version {
        platform: PlatformInfo = "Platform",
        version: String = "Version",
        api_version: String = "ApiVersion",
        min_api_version: String = "MinAPIVersion" omitempty,
        os: String = "Os",
        arch: String = "Arch",
        components: List<ComponentVersion> = "Components" omitempty,
        git_commit: String = "GitCommit" omitempty,
        go_version: String = "GoVersion" omitempty,
        kernel_version: String = "KernelVersion" omitempty,
        experimental: bool = "Experimental" omitempty,
        build_time: String = "BuildTime" omitempty,
    }

    pub struct PlatformInfo {
        name: String = "Name",
    }

    pub struct ComponentVersion {
        name: String = "Name",
        version: String = "Version",
        details: Map<String> = "Details" omitempty,
    }

    /// `GET /system/df`. The items are always filled here; `api-docker` drops them when they were not asked for,
    /// and makes the lists of versions before 1.53 of them.
    pub struct DiskUsage {
        image_usage: Option<ImagesDiskUsage> = "ImageUsage" omitempty,
        container_usage: Option<ContainersDiskUsage> = "ContainerUsage" omitempty,
        volume_usage: Option<VolumesDiskUsage> = "VolumeUsage" omitempty,
        build_cache_usage: Option<BuildCacheDiskUsage> = "BuildCacheUsage" omitempty,
        /// Knarr's own: what the data root has beside the others.
        engine_usage: Option<EngineDiskUsage> = "EngineUsage" omitempty,
    }

    /// Bytes on the disk.
    pub struct EngineDiskUsage {
        /// The database and the space that it keeps for a full disk.
        database_size: i64 = "DatabaseSize",
        /// Removed, and being deleted.
        trash_size: i64 = "TrashSize",
        /// Damaged, and put aside by `system check --repair`.
        quarantine_size: i64 = "QuarantineSize",
        /// The program for `--init`, what is just being written.
        other_size: i64 = "OtherSize",
        total_size: i64 = "TotalSize",
    }

    pub struct ImagesDiskUsage {
        active_count: i64 = "ActiveCount" omitempty,
        items: List<image::Summary> = "Items" omitempty,
        reclaimable: i64 = "Reclaimable" omitempty,
        total_count: i64 = "TotalCount" omitempty,
        total_size: i64 = "TotalSize" omitempty,
    }
    pub struct ContainersDiskUsage {
        active_count: i64 = "ActiveCount" omitempty,
        items: List<container::Summary> = "Items" omitempty,
        reclaimable: i64 = "Reclaimable" omitempty,
        total_count: i64 = "TotalCount" omitempty,
        total_size: i64 = "TotalSize" omitempty,
    }
    pub struct VolumesDiskUsage {
        active_count: i64 = "ActiveCount" omitempty,
        items: List<volume::Volume> = "Items" omitempty,
        reclaimable: i64 = "Reclaimable" omitempty,
        total_count: i64 = "TotalCount" omitempty,
        total_size: i64 = "TotalSize" omitempty,
    }
    pub struct BuildCacheDiskUsage {
        active_count: i64 = "ActiveCount" omitempty,
        items: List<Value> = "Items" omitempty,
        reclaimable: i64 = "Reclaimable" omitempty,
        total_count: i64 = "TotalCount" omitempty,
        total_size: i64 = "TotalSize" omitempty,
    }

    /// `POST /build/prune`.
    pub struct BuildPruneReport {
        caches_deleted: List<String> = "CachesDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }
}
