//! Which ids of the host a container's user namespace has.
use knarr_linux::user_namespace::{self, Range};
use knarr_oci::runtime::IdMapping;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    pub users: Vec<IdMapping>,
    pub groups: Vec<IdMapping>,
}

impl IdMaps {
    /// As the kernel's interface has them.
    pub fn kernel(&self) -> user_namespace::IdMaps {
        let ranges = |side: &[IdMapping]| {
            let range =
                |map: &IdMapping| Range { inside: map.container_id, outside: map.host_id, count: map.size };
            side.iter().map(range).collect()
        };
        user_namespace::IdMaps { users: ranges(&self.users), groups: ranges(&self.groups) }
    }

    /// Largest group id inside.
    pub fn last_group(&self) -> u32 {
        let last = |map: &IdMapping| map.container_id.saturating_add(map.size).saturating_sub(1);
        self.groups.iter().map(last).max().unwrap_or(0)
    }
}
