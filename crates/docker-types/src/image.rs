//! Images.
use crate::container_config::HealthConfig;
use crate::container_inspect::DriverData;
use crate::platform::{Descriptor, Platform};
use crate::{Empty, List, Map, StrSlice};
use serde_json::Value;

api_struct! {
    /// One row of `GET /images/json`.
    pub struct Summary {
        containers: i64 = "Containers",
        /// Seconds since the epoch.
        created: i64 = "Created",
        id: String = "Id",
        labels: Map<String> = "Labels",
        parent_id: String = "ParentId",
        descriptor: Option<Descriptor> = "Descriptor" omitempty,
        manifests: List<ManifestSummary> = "Manifests" omitempty,
        repo_digests: List<String> = "RepoDigests",
        repo_tags: List<String> = "RepoTags",
        /// -1: not calculated.
        shared_size: i64 = "SharedSize",
        size: i64 = "Size",
    }

    /// `GET /images/{name}/json`.
    pub struct InspectResponse {
        id: String = "Id",
        repo_tags: List<String> = "RepoTags",
        repo_digests: List<String> = "RepoDigests",
        /// Shown before version 1.52 even when empty.
        parent: String = "Parent" omitempty,
        comment: String = "Comment" omitempty,
        created: String = "Created" omitempty,
        docker_version: String = "DockerVersion" omitempty,
        author: String = "Author" omitempty,
        config: Option<ImageConfig> = "Config",
        architecture: String = "Architecture",
        variant: String = "Variant" omitempty,
        os: String = "Os",
        os_version: String = "OsVersion" omitempty,
        size: i64 = "Size",
        graph_driver: Option<DriverData> = "GraphDriver" omitempty,
        root_fs: RootFs = "RootFS",
        metadata: Metadata = "Metadata",
        descriptor: Option<Descriptor> = "Descriptor" omitempty,
        manifests: List<ManifestSummary> = "Manifests" omitempty,
        identity: Option<Value> = "Identity" omitempty,
    }

    /// The image's configuration: the OCI one and Docker's extensions.
    pub struct ImageConfig {
        user: String = "User" omitempty,
        exposed_ports: Map<Empty> = "ExposedPorts" omitempty,
        env: List<String> = "Env" omitempty,
        entrypoint: StrSlice = "Entrypoint" omitempty,
        cmd: StrSlice = "Cmd" omitempty,
        volumes: Map<Empty> = "Volumes" omitempty,
        working_dir: String = "WorkingDir" omitempty,
        labels: Map<String> = "Labels" omitempty,
        stop_signal: String = "StopSignal" omitempty,
        args_escaped: bool = "ArgsEscaped" omitempty,
        healthcheck: Option<HealthConfig> = "Healthcheck" omitempty,
        on_build: List<String> = "OnBuild" omitempty,
        shell: StrSlice = "Shell" omitempty,
    }

    pub struct RootFs {
        kind: String = "Type" omitempty,
        layers: List<String> = "Layers" omitempty,
    }

    pub struct Metadata {
        last_tag_time: Option<String> = "LastTagTime" omitempty,
    }

    pub struct ManifestSummary {
        id: String = "ID",
        descriptor: Descriptor = "Descriptor",
        available: bool = "Available",
        size: ManifestSize = "Size",
        /// image, attestation, unknown.
        kind: String = "Kind",
        image_data: Option<ImageProperties> = "ImageData" omitempty,
        attestation_data: Option<AttestationProperties> = "AttestationData" omitempty,
    }
    pub struct ManifestSize {
        content: i64 = "Content",
        total: i64 = "Total",
    }
    pub struct ImageProperties {
        platform: Platform = "Platform",
        identity: Option<Value> = "Identity" omitempty,
        size: ImagePropertiesSize = "Size",
        containers: List<String> = "Containers",
    }
    pub struct ImagePropertiesSize {
        unpacked: i64 = "Unpacked",
    }
    pub struct AttestationProperties {
        for_digest: String = "For",
    }

    /// One row of `GET /images/{name}/history`, newest first.
    pub struct HistoryItem {
        comment: String = "Comment",
        created: i64 = "Created",
        created_by: String = "CreatedBy",
        /// `<missing>` when unknown.
        id: String = "Id",
        size: i64 = "Size",
        tags: List<String> = "Tags",
    }

    /// One of the two.
    pub struct DeleteResponse {
        deleted: String = "Deleted" omitempty,
        untagged: String = "Untagged" omitempty,
    }

    pub struct PruneReport {
        images_deleted: List<DeleteResponse> = "ImagesDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// One row of `GET /images/search`.
    pub struct SearchResult {
        star_count: i64 = "star_count",
        is_official: bool = "is_official",
        name: String = "name",
        is_automated: bool = "is_automated",
        description: String = "description",
    }
}
