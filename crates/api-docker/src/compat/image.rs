//! Images in the replies of older versions.
use super::{add, each, object};
use knarr_docker_types::ApiVersion;
use serde_json::{Map, Value, json};

pub fn list(version: ApiVersion, images: &mut Value) {
    for image in each(images) {
        let Some(members) = image.as_object_mut() else { continue };
        summary(version, members);
        // Nobody counted them for a list before.
        if version.before(51) {
            members.insert("Containers".to_owned(), json!(-1));
        }
    }
}

/// In the disk usage, where containers were counted at all times.
pub fn used(version: ApiVersion, images: &mut Value) {
    for image in each(images) {
        let Some(members) = image.as_object_mut() else { continue };
        summary(version, members);
    }
}

pub fn summary(version: ApiVersion, members: &mut Map<String, Value>) {
    let is_empty = |members: &Map<String, Value>, name: &str| {
        members.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty)
    };
    if version.before(43) && is_empty(members, "RepoTags") && is_empty(members, "RepoDigests") {
        members.insert("RepoTags".to_owned(), json!(["<none>:<none>"]));
        members.insert("RepoDigests".to_owned(), json!(["<none>@<none>"]));
    }
    if version.before(44) {
        let size = members.get("Size").cloned().unwrap_or(json!(0));
        add(members, "VirtualSize", size);
    }
    if version.before(47) {
        members.shift_remove("Manifests");
    }
    if version.before(48) {
        members.shift_remove("Descriptor");
    }
}

pub fn inspect(version: ApiVersion, image: &mut Value) {
    if version.before(52)
        && let Some(config) = object(image, "Config")
    {
        restore_config(version, config);
    }
    let Some(members) = image.as_object_mut() else { return };
    if version.before(44) {
        let size = members.get("Size").cloned().unwrap_or(json!(0));
        add(members, "VirtualSize", size);
        add(members, "Created", knarr_docker_types::time::ZERO);
    }
    if version.before(45) {
        add(members, "Container", "");
        let mut config = Map::new();
        restore_config(version, &mut config);
        add(members, "ContainerConfig", config);
    }
    if version.before(48) {
        members.shift_remove("Descriptor");
        members.shift_remove("Manifests");
    }
    if version.before(52) {
        for name in ["Parent", "Comment", "DockerVersion", "Author"] {
            add(members, name, "");
        }
    }
    if version.before(53) {
        members.shift_remove("Identity");
    }
}

/// Members of an image's configuration that were not omitted when empty, and (before 1.50) those of a container's.
fn restore_config(version: ApiVersion, config: &mut Map<String, Value>) {
    if version.before(50) {
        for name in ["Hostname", "Domainname", "Image"] {
            add(config, name, "");
        }
        for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
            add(config, name, false);
        }
    }
    for name in ["User", "WorkingDir"] {
        add(config, name, "");
    }
    for name in ["Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"] {
        add(config, name, Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let new = json!([{ "Id": "a", "Size": 5, "RepoTags": [], "RepoDigests": [], "Containers": 2, "Descriptor": {},
            "Manifests": [] }]);
        let at = |minor| {
            let mut value = new.clone();
            list(ApiVersion::new(1, minor), &mut value);
            value[0].clone()
        };
        assert_eq!(at(51), new[0]);
        assert_eq!(at(48)["Containers"], -1);
        assert!(at(47).get("Descriptor").is_none() && at(47).get("Manifests").is_some());
        assert_eq!(at(43)["VirtualSize"], 5);
        assert_eq!((&at(42)["RepoTags"], &at(43)["RepoTags"]), (&json!(["<none>:<none>"]), &json!([])));
    }

    #[test]
    fn inspection() {
        let at = |minor| {
            let mut value = json!({ "Id": "a", "Size": 5, "Config": { "Env": ["A=b"] }, "Identity": {} });
            inspect(ApiVersion::new(1, minor), &mut value);
            value
        };
        assert!(at(53).get("Parent").is_none() && at(53).get("Identity").is_some());
        assert_eq!(
            at(51)["Config"],
            json!({ "Env": ["A=b"], "User": "", "WorkingDir": "", "Cmd": null,
            "Volumes": null, "Entrypoint": null, "OnBuild": null, "Labels": null })
        );
        assert_eq!(at(49)["Config"]["AttachStdin"], false);
        assert!(at(45).get("ContainerConfig").is_none());
        assert_eq!(at(44)["ContainerConfig"]["Cmd"], Value::Null);
        assert_eq!((&at(43)["VirtualSize"], &at(43)["Created"]), (&json!(5), &json!("0001-01-01T00:00:00Z")));
    }
}
