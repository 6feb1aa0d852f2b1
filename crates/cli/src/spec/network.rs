//! `--network name` or `--network name=net,alias=a,ip=10.0.0.2`.
use crate::spec::csv;
use knarr_docker_types::network::{EndpointIpamConfig, EndpointSettings};
use std::collections::BTreeMap;

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attachment {
    pub target: String,
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub ipv4: String,
    pub ipv6: String,
    pub link_local: Vec<String>,
    pub mac: String,
    pub gw_priority: i64,
}

pub fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "") && !name.starts_with("container:")
}

/// Whether there is `word=word` anywhere in the text.
fn is_long_syntax(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('=').any(|(i, _)| text[..i].ends_with(word) && text[i + 1..].starts_with(word))
}

pub fn parse(text: &str) -> Result<Attachment, String> {
    if !is_long_syntax(text) {
        return Ok(Attachment { target: text.to_owned(), ..Attachment::default() });
    }
    let mut network = Attachment::default();
    for field in csv::record(text)? {
        let lower = field.to_lowercase();
        let (key, value) = match lower.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.trim(), value.trim().to_owned()),
            _ => return Err(format!("invalid field {field}")),
        };
        match key {
            "name" => network.target = value,
            "alias" => network.aliases.push(value),
            "ip" => network.ipv4 = value,
            "ip6" => network.ipv6 = value,
            "mac-address" => network.mac = value,
            "link-local-ip" => network.link_local.push(value),
            "driver-opt" => match value.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    network.driver_opts.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                _ => return Err("invalid key value pair format in driver options".into()),
            },
            "gw-priority" => {
                network.gw_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if network.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(network)
}

/// Six, eight or twenty bytes in hexadecimal, as Go's `net.ParseMAC` takes them.
pub fn is_mac(text: &str) -> bool {
    let text = text.trim();
    let groups = |separator: char, digits: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let bytes = parts.len() * digits / 2;
        matches!(bytes, 6 | 8 | 20)
            && parts.iter().all(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    groups(':', 2) || groups('-', 2) || groups('.', 4)
}

impl Attachment {
    /// The endpoint as the API takes it.
    pub fn settings(&self) -> Result<EndpointSettings, String> {
        if self.target.trim().is_empty() {
            return Err("no name set for network".into());
        }
        if !is_user_defined(&self.target) {
            if !self.aliases.is_empty() {
                return Err("network-scoped aliases are only supported for user-defined networks".into());
            }
            if !self.links.is_empty() {
                return Err("links are only supported for user-defined networks".into());
            }
        }
        if !self.mac.is_empty() && !is_mac(&self.mac) {
            return Err(format!("{} is not a valid mac address", self.mac));
        }
        let mut settings = EndpointSettings {
            gw_priority: self.gw_priority,
            mac_address: self.mac.clone(),
            ..EndpointSettings::default()
        };
        if !self.aliases.is_empty() {
            settings.aliases = self.aliases.clone().into();
        }
        if !self.driver_opts.is_empty() {
            settings.driver_opts = self.driver_opts.clone().into();
        }
        if !self.links.is_empty() {
            settings.links = self.links.clone().into();
        }
        if !(self.ipv4.is_empty() && self.ipv6.is_empty() && self.link_local.is_empty()) {
            settings.ipam_config = Some(EndpointIpamConfig {
                ipv4_address: self.ipv4.clone(),
                ipv6_address: self.ipv6.clone(),
                link_local_ips: self.link_local.clone().into(),
            });
        }
        Ok(settings)
    }
}
