//! `Resources`: limits of a container; embedded in `HostConfig` and in the update request.
use crate::{List, Map};

api_struct! {
    /// Control group limits, devices and ulimits.
    pub struct Resources {
        cpu_shares: i64 = "CpuShares",
        memory: i64 = "Memory",
        nano_cpus: i64 = "NanoCpus",
        cgroup_parent: String = "CgroupParent",
        blkio_weight: u16 = "BlkioWeight",
        blkio_weight_device: List<WeightDevice> = "BlkioWeightDevice",
        blkio_device_read_bps: List<ThrottleDevice> = "BlkioDeviceReadBps",
        blkio_device_write_bps: List<ThrottleDevice> = "BlkioDeviceWriteBps",
        blkio_device_read_iops: List<ThrottleDevice> = "BlkioDeviceReadIOps",
        blkio_device_write_iops: List<ThrottleDevice> = "BlkioDeviceWriteIOps",
        cpu_period: i64 = "CpuPeriod",
        cpu_quota: i64 = "CpuQuota",
        cpu_realtime_period: i64 = "CpuRealtimePeriod",
        cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        cpuset_cpus: String = "CpusetCpus",
        cpuset_mems: String = "CpusetMems",
        devices: List<DeviceMapping> = "Devices",
        device_cgroup_rules: List<String> = "DeviceCgroupRules",
        device_requests: List<DeviceRequest> = "DeviceRequests",
        memory_reservation: i64 = "MemoryReservation",
        memory_swap: i64 = "MemorySwap",
        memory_swappiness: Option<i64> = "MemorySwappiness",
        oom_kill_disable: Option<bool> = "OomKillDisable",
        /// 0 or -1: unlimited; nil: unchanged.
        pids_limit: Option<i64> = "PidsLimit",
        ulimits: List<Ulimit> = "Ulimits",
        /// Windows only, as are the next three.
        cpu_count: i64 = "CpuCount",
        cpu_percent: i64 = "CpuPercent",
        io_maximum_iops: u64 = "IOMaximumIOps",
        io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
    }

    pub struct WeightDevice {
        path: String = "Path",
        weight: u16 = "Weight",
    }

    /// Bytes or operations each second of one device.
    pub struct ThrottleDevice {
        path: String = "Path",
        rate: u64 = "Rate",
    }

    pub struct DeviceMapping {
        path_on_host: String = "PathOnHost",
        path_in_container: String = "PathInContainer",
        cgroup_permissions: String = "CgroupPermissions",
    }

    /// `--gpus` and `--device` by CDI name.
    pub struct DeviceRequest {
        driver: String = "Driver",
        count: i64 = "Count",
        device_ids: List<String> = "DeviceIDs",
        capabilities: List<List<String>> = "Capabilities",
        options: Map<String> = "Options",
    }

    /// -1: unlimited.
    pub struct Ulimit {
        name: String = "Name",
        hard: i64 = "Hard",
        soft: i64 = "Soft",
    }
}
