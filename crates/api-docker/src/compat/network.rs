//! Networks in the replies of older versions.
use super::each;
use knarr_docker_types::ApiVersion;
use serde_json::Value;

pub fn list(version: ApiVersion, networks: &mut Value) {
    each(networks).for_each(|network| one(version, network));
    // The list showed (always empty) containers before the types of list and inspect parted in 1.52.
    if version.before(52) {
        for network in each(networks) {
            if let Some(members) = network.as_object_mut() {
                super::add(members, "Containers", serde_json::Map::new());
            }
        }
    }
}

pub fn inspect(version: ApiVersion, network: &mut Value) {
    one(version, network);
}

fn one(version: ApiVersion, network: &mut Value) {
    let Some(members) = network.as_object_mut() else { return };
    if version.before(48) {
        members.shift_remove("EnableIPv4");
    }
    if version.before(52) {
        members.shift_remove("Status");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_appear_with_their_version() {
        let at = |minor| {
            let mut value = json!({ "EnableIPv4": true, "Status": {} });
            inspect(ApiVersion::new(1, minor), &mut value);
            value
        };
        assert_eq!(at(52), json!({ "EnableIPv4": true, "Status": {} }));
        assert_eq!(at(51), json!({ "EnableIPv4": true }));
        assert_eq!(at(47), json!({}));
    }
}
