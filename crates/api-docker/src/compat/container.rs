//! Containers in the replies of older versions.
use super::{add, each, object};
use knarr_docker_types::ApiVersion;
use serde_json::{Map, Value, json};

/// Network modes that are not names of user-defined networks.
const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

pub fn list(version: ApiVersion, containers: &mut Value) {
    for container in each(containers) {
        if version.before(46)
            && let Some(host_config) = object(container, "HostConfig")
        {
            host_config.shift_remove("Annotations");
        }
        if version.before(48) {
            drop_gateway_priority(container);
        }
        let Some(members) = container.as_object_mut() else { continue };
        if version.before(48) {
            members.shift_remove("ImageManifestDescriptor");
        }
        if version.before(52) {
            members.shift_remove("Health");
        }
    }
}

pub fn inspect(version: ApiVersion, container: &mut Value) {
    if version.before(45) {
        add_short_id_aliases(container);
    }
    if version.before(48) {
        drop_gateway_priority(container);
        if let Some(members) = container.as_object_mut() {
            members.shift_remove("ImageManifestDescriptor");
        }
    }
    if version.before(52) {
        add_legacy_network_settings(container);
        restore_graph_driver(container);
        if let Some(config) = object(container, "Config") {
            add(config, "OnBuild", Value::Null);
        }
    }
    if version.before(42)
        && let Some(host_config) = object(container, "HostConfig")
    {
        add(host_config, "KernelMemory", 0);
        add(host_config, "KernelMemoryTCP", 0);
    }
}

fn networks(container: &mut Value) -> Option<&mut Map<String, Value>> {
    container.get_mut("NetworkSettings")?.get_mut("Networks")?.as_object_mut()
}

fn drop_gateway_priority(container: &mut Value) {
    for (_, endpoint) in networks(container).into_iter().flatten() {
        if let Some(endpoint) = endpoint.as_object_mut() {
            endpoint.shift_remove("GwPriority");
        }
    }
}

/// Before 1.45 the short id (and host name) of a container was among its aliases.
fn add_short_id_aliases(container: &mut Value) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let short_id: String = text(container.get("Id")).chars().take(12).collect();
    let hostname = text(container.get("Config").and_then(|config| config.get("Hostname")));
    for (name, endpoint) in networks(container).into_iter().flatten() {
        let Some(endpoint) = endpoint.as_object_mut() else { continue };
        if PREDEFINED.contains(&name.as_str()) {
            continue;
        }
        let aliases = endpoint.entry("Aliases").or_insert(Value::Null);
        if !aliases.is_array() {
            *aliases = json!([]);
        }
        let Some(aliases) = aliases.as_array_mut() else { continue };
        for extra in [&short_id, &hostname] {
            if !extra.is_empty() && !aliases.iter().any(|alias| alias == extra) {
                aliases.push(extra.as_str().into());
            }
        }
    }
}

/// Before 1.52 the default bridge's endpoint stood at the top of `NetworkSettings` too.
fn add_legacy_network_settings(container: &mut Value) {
    let bridge = networks(container).and_then(|networks| networks.get("bridge").cloned()).unwrap_or_default();
    let Some(settings) = object(container, "NetworkSettings") else { return };
    for (name, value) in [
        ("Bridge", json!("")),
        ("HairpinMode", json!(false)),
        ("LinkLocalIPv6Address", json!("")),
        ("LinkLocalIPv6PrefixLen", json!(0)),
        ("SecondaryIPAddresses", Value::Null),
        ("SecondaryIPv6Addresses", Value::Null),
    ] {
        add(settings, name, value);
    }
    for (name, default) in [
        ("EndpointID", json!("")),
        ("Gateway", json!("")),
        ("GlobalIPv6Address", json!("")),
        ("GlobalIPv6PrefixLen", json!(0)),
        ("IPAddress", json!("")),
        ("IPPrefixLen", json!(0)),
        ("IPv6Gateway", json!("")),
        ("MacAddress", json!("")),
    ] {
        add(settings, name, bridge.get(name).cloned().unwrap_or(default));
    }
}

/// `Storage` replaced `GraphDriver` in 1.52.
fn restore_graph_driver(container: &mut Value) {
    let Some(members) = container.as_object_mut() else { return };
    let Some(storage) = members.shift_remove("Storage") else { return };
    let name = storage.pointer("/RootFS/Snapshot/Name").cloned();
    if let Some(name) = name {
        add(members, "GraphDriver", json!({ "Data": null, "Name": name }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Value {
        json!({
            "Id": "0123456789abcdef",
            "Config": { "Hostname": "h" },
            "HostConfig": { "NetworkMode": "bridge" },
            "ImageManifestDescriptor": {},
            "Storage": { "RootFS": { "Snapshot": { "Name": "overlayfs" } } },
            "NetworkSettings": { "Networks": {
                "bridge": { "IPAddress": "172.17.0.2", "IPPrefixLen": 16, "MacAddress": "aa", "GwPriority": 0,
                            "Aliases": null },
                "own": { "IPAddress": "172.18.0.2", "GwPriority": 0, "Aliases": ["h"] },
            } },
        })
    }

    #[test]
    fn the_newest_version_is_left_alone() {
        let mut value = container();
        inspect(ApiVersion::CURRENT, &mut value);
        assert_eq!(value, container());
    }

    #[test]
    fn legacy_network_settings_come_from_the_default_bridge() {
        let mut value = container();
        inspect(ApiVersion::new(1, 51), &mut value);
        let settings = &value["NetworkSettings"];
        assert_eq!(settings["IPAddress"], "172.17.0.2");
        assert_eq!((&settings["IPPrefixLen"], &settings["Gateway"]), (&json!(16), &json!("")));
        assert_eq!(settings["SecondaryIPAddresses"], Value::Null);
        assert_eq!(value["GraphDriver"]["Name"], "overlayfs");
        assert!(value.get("Storage").is_none());
        assert!(value["Config"].as_object().unwrap().contains_key("OnBuild"));
        assert!(value.get("ImageManifestDescriptor").is_some());
    }

    #[test]
    fn very_old_versions() {
        let mut value = container();
        inspect(ApiVersion::new(1, 40), &mut value);
        assert_eq!(value["NetworkSettings"]["Networks"]["own"]["Aliases"], json!(["h", "0123456789ab"]));
        assert_eq!(value["NetworkSettings"]["Networks"]["bridge"]["Aliases"], Value::Null);
        assert!(value["NetworkSettings"]["Networks"]["own"].get("GwPriority").is_none());
        assert_eq!(value["HostConfig"]["KernelMemory"], 0);
        assert!(value.get("ImageManifestDescriptor").is_none());
    }

    #[test]
    fn rows_of_the_list() {
        let row = json!([{ "HostConfig": { "Annotations": {} }, "Health": {}, "ImageManifestDescriptor": {},
            "NetworkSettings": { "Networks": { "a": { "GwPriority": 1 } } } }]);
        let mut old = row.clone();
        list(ApiVersion::new(1, 45), &mut old);
        assert_eq!(old, json!([{ "HostConfig": {}, "NetworkSettings": { "Networks": { "a": {} } } }]));
        let mut new = row.clone();
        list(ApiVersion::new(1, 52), &mut new);
        assert_eq!(new, row);
    }
}
