//! Replies of real daemons (Docker 20.10, API 1.41; Docker 28.5, API 1.51), read into the newest types and shown as
//! their version knew them, are the same replies again.
use super::{container, image, network, system};
use knarr_docker_types::{ApiVersion, List, container as containers, exec, image as images, volume};
use knarr_docker_types::{network as networks, system as systems};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn load(version: &str, name: &str) -> String {
    let path = format!("{}/tests/golden/v{version}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Collects where `ours` differs from `theirs`; members named in `free` may.
fn differences(place: &str, theirs: &Value, ours: &Value, free: &[&str], found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs.iter().filter(|(name, _)| !free.contains(&name.as_str())) {
                match ours.get(name) {
                    Some(own) => differences(&format!("{place}.{name}"), value, own, free, found),
                    None => found.push(format!("{place}.{name}: missing, was {value}")),
                }
            }
            let extra =
                ours.keys().filter(|name| !theirs.contains_key(*name) && !free.contains(&name.as_str()));
            found.extend(extra.map(|name| format!("{place}.{name}: extra {}", ours[name])));
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (value, own)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{place}[{index}]"), value, own, free, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{place}: was {theirs}, is {ours}")),
    }
}

fn same<T: DeserializeOwned + Serialize>(
    version: &str,
    name: &str,
    downgrade: fn(ApiVersion, &mut Value),
    free: &[&str],
) {
    let theirs: Value = serde_json::from_str(&load(version, name)).unwrap();
    let typed: T = serde_json::from_value(theirs.clone()).unwrap();
    let mut ours = serde_json::to_value(&typed).unwrap();
    downgrade(ApiVersion::parse(version).unwrap(), &mut ours);
    let mut found = Vec::new();
    differences(name, &theirs, &ours, free, &mut found);
    assert!(found.is_empty(), "{version} {name}:\n{}", found.join("\n"));
}

fn as_is(_: ApiVersion, _: &mut Value) {}

/// Members of endpoints that came after 1.41 and that nobody minds.
const ENDPOINT: [&str; 1] = ["DNSNames"];

#[test]
fn containers_of_20_10() {
    for name in ["container-full", "container-plain", "container-dead"] {
        same::<containers::InspectResponse>("1.41", name, container::inspect, &ENDPOINT);
    }
    same::<List<containers::Summary>>("1.41", "containers", container::list, &ENDPOINT);
    same::<exec::InspectResponse>("1.41", "exec", as_is, &[]);
    same::<containers::TopResponse>("1.41", "top", as_is, &[]);
    same::<containers::StatsResponse>("1.41", "stats", as_is, &[]);
}

#[test]
fn containers_of_28_5() {
    for name in ["container-full", "container-plain", "container-dead"] {
        same::<containers::InspectResponse>("1.51", name, container::inspect, &[]);
    }
    same::<List<containers::Summary>>("1.51", "containers", container::list, &[]);
    same::<exec::InspectResponse>("1.51", "exec", as_is, &[]);
    same::<containers::TopResponse>("1.51", "top", as_is, &[]);
    same::<containers::StatsResponse>("1.51", "stats", as_is, &[]);
}

#[test]
fn images_networks_and_volumes() {
    for version in ["1.41", "1.51"] {
        same::<List<images::Summary>>(version, "images", image::list, &[]);
        same::<images::InspectResponse>(version, "image", image::inspect, &[]);
        same::<List<images::HistoryItem>>(version, "history", as_is, &[]);
        same::<List<networks::Inspect>>(version, "networks", network::list, &[]);
        same::<networks::Inspect>(version, "network", network::inspect, &[]);
        same::<volume::ListResponse>(version, "volumes", as_is, &[]);
    }
}

/// Facts that the newest version has no place for.
const KERNEL: [&str; 6] = [
    "KernelMemory",
    "KernelMemoryTCP",
    "BridgeNfIptables",
    "BridgeNfIp6tables",
    "AllowNondistributableArtifactsCIDRs",
    "AllowNondistributableArtifactsHostnames",
];

#[test]
fn information_and_events() {
    for version in ["1.41", "1.51"] {
        same::<systems::Info>(version, "info", system::info, &KERNEL);
        same::<systems::Version>(version, "version", as_is, &[]);
        for line in load(version, "events").lines() {
            let theirs: Value = serde_json::from_str(line).unwrap();
            let typed: knarr_docker_types::event::Message = serde_json::from_str(line).unwrap();
            let mut ours = serde_json::to_value(&typed).unwrap();
            system::event(ApiVersion::parse(version).unwrap(), &mut ours);
            // Text, so that the order of members counts too.
            assert_eq!(ours.to_string(), theirs.to_string());
        }
    }
}
