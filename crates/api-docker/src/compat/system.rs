//! Information, events and disk usage in the replies of older versions.
use super::{add, image, object, to_value};
use crate::error::ApiError;
use knarr_docker_types::ApiVersion;
use knarr_docker_types::system::DiskUsage;
use serde_json::{Map, Value, json};

pub fn info(version: ApiVersion, info: &mut Value) {
    if version.before(44) {
        for (_, runtime) in object(info, "Runtimes").into_iter().flatten() {
            if let Some(runtime) = runtime.as_object_mut() {
                runtime.shift_remove("status");
            }
        }
    }
    if version.before(49) {
        if let Some(registries) = object(info, "RegistryConfig") {
            add(registries, "AllowNondistributableArtifactsCIDRs", Value::Null);
            add(registries, "AllowNondistributableArtifactsHostnames", Value::Null);
        }
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(commit) = object(info, name) {
                let id = commit.get("ID").cloned().unwrap_or(json!(""));
                add(commit, "Expected", id);
            }
        }
    }
    let Some(members) = info.as_object_mut() else { return };
    if version.before(42) {
        add(members, "KernelMemory", false);
        add(members, "KernelMemoryTCP", false);
    }
    if version.before(44) {
        members.shift_remove("CDISpecDirs");
    }
    if version.before(46) {
        members.shift_remove("Containerd");
    }
    if version.before(49) {
        members.shift_remove("FirewallBackend");
    }
    if version.before(50) {
        members.shift_remove("DiscoveredDevices");
        add(members, "BridgeNfIptables", false);
        add(members, "BridgeNfIp6tables", false);
    }
    if version.before(53) {
        members.shift_remove("NRI");
    }
}

/// Before 1.52 an event had `status`, `id` and `from` beside what replaced them in 1.22.
pub fn event(version: ApiVersion, event: &mut Value) {
    if !version.before(52) {
        return;
    }
    let kind = event.get("Type").and_then(Value::as_str).unwrap_or("").to_owned();
    if kind != "container" && kind != "image" {
        return;
    }
    let status = event.get("Action").cloned().unwrap_or_default();
    let id = event.pointer("/Actor/ID").cloned().unwrap_or_default();
    let from = event.pointer("/Actor/Attributes/image").cloned();
    let Some(members) = event.as_object_mut() else { return };
    let mut legacy = vec![("status", status), ("id", id)];
    legacy.extend(from.filter(|_| kind == "container").map(|from| ("from", from)));
    for (index, (name, value)) in legacy.into_iter().enumerate() {
        members.shift_insert(index, name.to_owned(), value);
    }
}

/// The lists of versions before 1.53; from 1.52 the summaries, with items when `verbose`.
pub fn disk_usage(version: ApiVersion, verbose: bool, mut usage: DiskUsage) -> Result<Value, ApiError> {
    let mut reply = Map::new();
    if !verbose {
        add_lists(version, &usage, &mut reply)?;
    }
    if !version.before(52) {
        if !verbose {
            drop_items(&mut usage);
        }
        if let Value::Object(summaries) = to_value(&usage)? {
            reply.extend(summaries);
        }
    }
    Ok(Value::Object(reply))
}

fn add_lists(version: ApiVersion, usage: &DiskUsage, reply: &mut Map<String, Value>) -> Result<(), ApiError> {
    let mut insert = |name: &str, value: Value| reply.insert(name.to_owned(), value);
    // What was not asked for was null, and not absent, before there were summaries.
    if version.before(52) {
        for (name, nothing) in [
            ("LayersSize", json!(0)),
            ("Images", Value::Null),
            ("Containers", Value::Null),
            ("Volumes", Value::Null),
            ("BuildCache", Value::Null),
        ] {
            insert(name, nothing);
        }
    }
    if let Some(images) = &usage.image_usage {
        insert("LayersSize", images.total_size.into());
        let mut items = to_value(&images.items.clone().not_nil())?;
        image::used(version, &mut items);
        insert("Images", items);
    }
    if let Some(containers) = &usage.container_usage {
        let mut items = to_value(&containers.items.clone().not_nil())?;
        super::container::list(version, &mut items);
        insert("Containers", items);
    }
    if let Some(volumes) = &usage.volume_usage {
        insert("Volumes", to_value(&volumes.items.clone().not_nil())?);
    }
    if let Some(cache) = &usage.build_cache_usage {
        insert("BuildCache", to_value(&cache.items.clone().not_nil())?);
    }
    Ok(())
}

fn drop_items(usage: &mut DiskUsage) {
    usage.image_usage.iter_mut().for_each(|usage| usage.items.clear());
    usage.container_usage.iter_mut().for_each(|usage| usage.items.clear());
    usage.volume_usage.iter_mut().for_each(|usage| usage.items.clear());
    usage.build_cache_usage.iter_mut().for_each(|usage| usage.items.clear());
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::image::Summary;
    use knarr_docker_types::system::ImagesDiskUsage;

    #[test]
    fn information() {
        let new = json!({ "Containerd": {}, "FirewallBackend": {}, "NRI": {}, "RuncCommit": { "ID": "x" },
            "Runtimes": { "runc": { "path": "runc", "status": {} } }, "RegistryConfig": {} });
        let at = |minor| {
            let mut value = new.clone();
            info(ApiVersion::new(1, minor), &mut value);
            value
        };
        assert_eq!(at(53), new);
        assert!(at(52).get("NRI").is_none());
        assert_eq!(at(49)["BridgeNfIptables"], false);
        assert_eq!((at(48).get("FirewallBackend"), &at(48)["RuncCommit"]["Expected"]), (None, &json!("x")));
        assert!(at(45).get("Containerd").is_none());
        assert_eq!(
            (&at(41)["Runtimes"], &at(41)["KernelMemory"]),
            (&json!({ "runc": { "path": "runc" } }), &json!(false))
        );
    }

    #[test]
    fn events() {
        let new = json!({ "Type": "container", "Action": "start",
            "Actor": { "ID": "c", "Attributes": { "image": "busybox" } } });
        let mut old = new.clone();
        event(ApiVersion::new(1, 51), &mut old);
        assert_eq!(
            (&old["status"], &old["id"], &old["from"]),
            (&json!("start"), &json!("c"), &json!("busybox"))
        );
        let mut same = new.clone();
        event(ApiVersion::new(1, 52), &mut same);
        assert_eq!(same, new);
    }

    #[test]
    fn disk_usage_lists_and_summaries() {
        let usage = || DiskUsage {
            image_usage: Some(ImagesDiskUsage {
                total_count: 1,
                total_size: 7,
                items: vec![Summary { size: 7, containers: 2, ..Summary::default() }].into(),
                ..ImagesDiskUsage::default()
            }),
            ..DiskUsage::default()
        };
        let at = |minor, verbose| disk_usage(ApiVersion::new(1, minor), verbose, usage()).unwrap();
        assert_eq!(
            (&at(41, false)["LayersSize"], &at(41, false)["Images"][0]["VirtualSize"]),
            (&json!(7), &json!(7))
        );
        // A list of images has -1 in these versions; here it is what the client computes "active" from.
        for minor in [25, 41, 50, 51] {
            assert_eq!(at(minor, false)["Images"][0]["Containers"], 2, "{minor}");
        }
        assert!(at(51, false).get("ImageUsage").is_none());
        assert_eq!(at(52, false)["ImageUsage"], json!({ "TotalCount": 1, "TotalSize": 7 }));
        assert!(at(52, true).get("Images").is_none());
        assert_eq!(at(52, true)["ImageUsage"]["Items"][0]["Size"], 7);
    }
}
