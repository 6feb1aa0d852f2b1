//! The configuration row of a container. It changes by `rename` and `update` only.
use super::{IdMaps, Labels, MountRow, Time};
use knarr_base::{ContainerId, ImageId};
use knarr_docker_types::Map;
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::network::EndpointSettings;
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub id: ContainerId,
    /// Without a slash.
    pub name: String,
    pub created: Time,
    /// The request merged with the image's configuration.
    pub config: Config,
    pub host_config: HostConfig,
    /// Networks asked for, by name or id.
    pub networks: Map<EndpointSettings>,
    /// It was taken off the network that its mode names, and joins the others only.
    #[serde(default)]
    pub off_mode_network: bool,
    /// `None`: the root file system comes from nowhere else (never with Docker's clients).
    pub image: Option<ImageId>,
    pub platform: String,
    pub rootfs: RootfsMount,
    /// Of its user namespace; `None`: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_maps: Option<IdMaps>,
    #[serde(default)]
    pub labels: Labels,
    pub mounts: Vec<MountRow>,
    /// They are started before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<ContainerId>,
    /// `local`, `json-file`, `journald`, `syslog` or `none`.
    pub log_driver: String,
    pub log_opts: BTreeMap<String, String>,
}

impl Record for Container {
    const TABLE: &'static str = "containers";
}

impl Container {
    /// The program and its arguments, as `inspect` shows them.
    pub fn command(&self) -> Vec<&str> {
        self.config.entrypoint.iter().chain(self.config.cmd.iter()).map(String::as_str).collect()
    }

    /// The hostname inside: the one asked for, else the short id.
    pub fn hostname(&self) -> &str {
        if self.config.hostname.is_empty() { self.id.short() } else { &self.config.hostname }
    }

    /// Attributes of its events: labels, image, name.
    pub fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<_, _> =
            self.config.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if !self.config.image.is_empty() {
            attributes.insert("image".to_owned(), self.config.image.clone());
        }
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }

    /// An event of this container that happens now.
    pub fn event(&self, action: &str) -> knarr_state::Event {
        let event = knarr_state::Event::now("container", action, self.id.as_str());
        knarr_state::Event { attributes: self.event_attributes(), ..event }
    }
}

/// Who has a name; the key is the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameOwner {
    pub id: ContainerId,
}

impl Record for NameOwner {
    const TABLE: &'static str = "container_names";
}
