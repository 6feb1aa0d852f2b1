//! One row of `GET /containers/json`.
use crate::mount::MountPoint;
use crate::network::EndpointSettings;
use crate::platform::Descriptor;
use crate::{List, Map};

api_struct! {
    pub struct Summary {
        id: String = "Id",
        /// With a leading slash.
        names: List<String> = "Names",
        image: String = "Image",
        image_id: String = "ImageID",
        image_manifest_descriptor: Option<Descriptor> = "ImageManifestDescriptor" omitempty,
        command: String = "Command",
        /// Seconds since the epoch.
        created: i64 = "Created",
        ports: List<PortSummary> = "Ports",
        size_rw: i64 = "SizeRw" omitempty,
        size_root_fs: i64 = "SizeRootFs" omitempty,
        labels: Map<String> = "Labels",
        state: String = "State",
        /// `Up 2 minutes (healthy)`.
        status: String = "Status",
        host_config: SummaryHostConfig = "HostConfig",
        health: Option<HealthSummary> = "Health" omitempty,
        network_settings: Option<SummaryNetworkSettings> = "NetworkSettings",
        mounts: List<MountPoint> = "Mounts",
    }

    pub struct PortSummary {
        ip: String = "IP" omitempty,
        private_port: u16 = "PrivatePort",
        public_port: u16 = "PublicPort" omitempty,
        kind: String = "Type",
        /// Our own: see `PortBinding`. Empty: anybody reaches it.
        sources: List<String> = "Sources" omitempty,
    }

    pub struct SummaryHostConfig {
        network_mode: String = "NetworkMode" omitempty,
        annotations: Map<String> = "Annotations" omitempty,
    }

    pub struct HealthSummary {
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
    }

    pub struct SummaryNetworkSettings {
        networks: Map<EndpointSettings> = "Networks",
    }
}
