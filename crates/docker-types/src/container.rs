//! Requests and small replies of the container endpoints.
use crate::container_config::Config;
use crate::host_config::{HostConfig, PortMap, RestartPolicy};
use crate::network::{EndpointSettings, NetworkingConfig};
use crate::resources::Resources;
use crate::{List, Map};

pub use crate::container_config::HealthConfig;
pub use crate::container_inspect::{
    Health, HealthcheckResult, InspectResponse, NetworkSettings, State, state_name,
};
pub use crate::container_stats::StatsResponse;
pub use crate::container_summary::{HealthSummary, PortSummary, Summary};
pub use crate::id_response::IdResponse as CommitResponse;
pub use crate::mount::MountPoint;

api_struct! {
    /// `POST /containers/create`.
    pub struct CreateRequest {
        config: Config = flatten,
        host_config: Option<HostConfig> = "HostConfig" omitempty,
        networking_config: Option<NetworkingConfig> = "NetworkingConfig" omitempty,
    }

    pub struct CreateResponse {
        id: String = "Id",
        warnings: List<String> = "Warnings",
    }

    /// `POST /containers/{id}/update`.
    pub struct UpdateRequest {
        resources: Resources = flatten,
        restart_policy: RestartPolicy = "RestartPolicy",
        /// Our own, as all below: what Docker's engine does not change once a container is made. They hold at once, and from
        /// then on.
        labels_add: Map<String> = "LabelsAdd" omitempty,
        labels_remove: List<String> = "LabelsRemove" omitempty,
        /// As `PortBindings` of `HostConfig`.
        ports_add: PortMap = "PortsAdd" omitempty,
        /// The bindings that are like these; of a port without any all.
        ports_remove: PortMap = "PortsRemove" omitempty,
        /// By the network's name or id.
        networks_add: Map<EndpointSettings> = "NetworksAdd" omitempty,
        networks_remove: List<String> = "NetworksRemove" omitempty,
    }

    pub struct UpdateResponse {
        warnings: List<String> = "Warnings",
    }

    pub struct TopResponse {
        processes: List<List<String>> = "Processes",
        titles: List<String> = "Titles",
    }

    /// One line of `diff`. Kind: 0 changed, 1 added, 2 deleted.
    pub struct FilesystemChange {
        path: String = "Path",
        kind: u32 = "Kind",
    }

    pub struct WaitResponse {
        error: Option<WaitExitError> = "Error" omitempty,
        status_code: i64 = "StatusCode",
    }

    pub struct WaitExitError {
        message: String = "Message" omitempty,
    }

    pub struct PruneReport {
        containers_deleted: List<String> = "ContainersDeleted",
        space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// The header `X-Docker-Container-Path-Stat`. Mode is Go's `os.FileMode` (see [`file_mode`]).
    pub struct PathStat {
        name: String = "name",
        size: i64 = "size",
        mode: u32 = "mode",
        mtime: String = "mtime",
        link_target: String = "linkTarget",
    }
}

/// Conversion between `st_mode` of stat(2) and Go's `os.FileMode`.
pub mod file_mode {
    /// Each file type of `st_mode` beside Go's bits.
    const TYPES: [(u32, u32); 6] = [
        (0o040_000, 1 << 31),               // directory
        (0o120_000, 1 << 27),               // symbolic link
        (0o060_000, 1 << 26),               // block device
        (0o020_000, (1 << 26) | (1 << 21)), // character device
        (0o010_000, 1 << 25),               // named pipe
        (0o140_000, 1 << 24),               // socket
    ];
    /// Set-user-id, set-group-id, sticky.
    const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    const TYPE_MASK: u32 = 0o170_000;
    const GO_TYPE_MASK: u32 = (1 << 31) | (1 << 27) | (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21);

    pub fn from_unix(st_mode: u32) -> u32 {
        let kind = TYPES.iter().find(|(unix, _)| st_mode & TYPE_MASK == *unix).map_or(0, |(_, go)| *go);
        SPECIAL
            .iter()
            .filter(|(unix, _)| st_mode & unix != 0)
            .fold((st_mode & 0o777) | kind, |m, (_, go)| m | go)
    }

    pub fn to_unix(mode: u32) -> u32 {
        let kind =
            TYPES.iter().find(|(_, go)| mode & GO_TYPE_MASK == *go).map_or(0o100_000, |(unix, _)| *unix);
        SPECIAL.iter().filter(|(_, go)| mode & go != 0).fold((mode & 0o777) | kind, |m, (unix, _)| m | unix)
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn both_directions_agree_for_every_type_and_bit() {
            for kind in [0o040_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000, 0o140_000, 0o100_000] {
                for bits in [0o755, 0o4755, 0o2755, 0o1777, 0o7777, 0] {
                    assert_eq!(super::to_unix(super::from_unix(kind | bits)), kind | bits);
                }
            }
            assert_eq!(super::from_unix(0o041_777), 0x8010_01ff);
        }
    }
}
