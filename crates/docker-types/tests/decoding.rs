//! Whatever a client sends, decoding gives a value or an error; what decoding gives, printing and decoding give again.
use knarr_docker_types::container::{CreateRequest, InspectResponse};
use knarr_docker_types::{Filters, image, network, system};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Member names that mean something somewhere, in any case, and some that do not.
fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "Image",
        "Cmd",
        "Entrypoint",
        "Env",
        "Labels",
        "HostConfig",
        "Memory",
        "Binds",
        "Mounts",
        "Type",
        "PortBindings",
        "NetworkingConfig",
        "EndpointsConfig",
        "IPAMConfig",
        "State",
        "Health",
        "Config",
        "NetworkSettings",
        "Networks",
        "ExposedPorts",
        "ConsoleSize",
        "Init",
        "IPAM",
        "Options",
        "RootFS",
        "Plugins",
        "80/tcp",
        "unknown",
        "",
    ]);
    (known, 0..3).prop_map(|(key, case): (&str, i32)| match case {
        0 => key.to_owned(),
        1 => key.to_lowercase(),
        _ => key.to_uppercase(),
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z/:]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn stable<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(value: &Value) {
    let Ok(first) = serde_json::from_value::<T>(value.clone()) else { return };
    let printed = serde_json::to_string(&first).unwrap();
    let second: T = serde_json::from_str(&printed).unwrap();
    assert_eq!(serde_json::to_string(&second).unwrap(), printed);
}

proptest! {
    #[test]
    fn decoding_never_panics_and_printing_is_stable(value in value()) {
        stable::<CreateRequest>(&value);
        stable::<InspectResponse>(&value);
        stable::<image::InspectResponse>(&value);
        stable::<network::Inspect>(&value);
        stable::<system::Info>(&value);
        stable::<Filters>(&value);
    }
}

#[test]
fn what_docker_clients_send_to_create() {
    // As the client of Docker 28 writes `docker run -it --init -p 8080:80 -v /a:/b busybox`, shortened.
    let body = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": true, "Tty": true, "OpenStdin": true,
        "StdinOnce": true, "ExposedPorts": { "80/tcp": {} }, "Env": null, "Cmd": null, "Image": "busybox",
        "Volumes": {}, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": ["/a:/b"], "NetworkMode": "default",
            "PortBindings": { "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] },
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "ConsoleSize": [24, 80],
            "Dns": [], "Devices": [], "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0, "Init": true,
            "MaskedPaths": null,
        },
        "NetworkingConfig": { "EndpointsConfig": { "default": { "IPAMConfig": null, "MacAddress": "" } } },
    });
    let request: CreateRequest = serde_json::from_value(body).unwrap();
    let host_config = request.host_config.unwrap();
    assert_eq!(host_config.console_size, [24, 80]);
    assert_eq!(host_config.port_bindings["80/tcp"][0].host_port, "8080");
    assert!(!host_config.dns.is_nil() && host_config.masked_paths.is_nil());
    assert_eq!(host_config.resources.memory_swappiness, Some(-1));
    assert!(request.config.cmd.is_nil() && !request.config.volumes.is_nil());
}
