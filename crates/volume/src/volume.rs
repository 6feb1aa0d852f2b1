//! What is recorded about a volume, and what is asked for.
use knarr_base::VolumeId;
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume; the row's key is its name. Whoever holds a volume holds its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub id: VolumeId,
    pub name: String,
    pub created_nanos: i64,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made for one container without a name; removed with it by `rm -v`.
    #[serde(default)]
    pub anonymous: bool,
    /// Number of its project, when its size is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<u32>,
}

impl Record for Volume {
    const TABLE: &'static str = "volumes";
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct CreateVolume {
    /// Empty: an anonymous volume.
    pub name: String,
    /// Empty: `local`.
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// Label of anonymous volumes, as Docker writes it.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
