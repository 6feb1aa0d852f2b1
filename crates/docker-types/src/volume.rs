//! Volumes.
use crate::{List, Map};
use serde_json::Value;

api_struct! {
    pub struct Volume {
        created_at: String = "CreatedAt" omitempty,
        driver: String = "Driver",
        labels: Map<String> = "Labels",
        mountpoint: String = "Mountpoint",
        name: String = "Name",
        options: Map<String> = "Options",
        scope: String = "Scope",
        status: Map<Value> = "Status" omitempty,
        usage_data: Option<UsageData> = "UsageData" omitempty,
    }

    /// -1: not known.
    pub struct UsageData {
        ref_count: i64 = "RefCount",
        size: i64 = "Size",
    }

    pub struct CreateRequest {
        driver: String = "Driver" omitempty,
        driver_opts: Map<String> = "DriverOpts" omitempty,
        labels: Map<String> = "Labels" omitempty,
        name: String = "Name" omitempty,
        cluster_volume_spec: Option<Value> = "ClusterVolumeSpec" omitempty,
    }

    pub struct ListResponse {
        volumes: List<Volume> = "Volumes",
        warnings: List<String> = "Warnings",
    }

    pub struct PruneReport {
        volumes_deleted: List<String> = "VolumesDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }
}
