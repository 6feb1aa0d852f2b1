//! Docker's directives that mean nothing here, or nothing yet. One that asks for nothing (false, zero, empty) is taken, so that
//! files with defaults in them work; one that asks for something is refused with the reason, and never passed over.
use serde_json::Value;

/// Directive and reason.
pub const REFUSED: &[(&str, &str)] = &[
    (
        "authorization-plugins",
        "there are no plugins: protect the socket by its group, or TCP by client certificates",
    ),
    ("bridge-accept-fwmark", "packets are not accepted by their marks"),
    ("cdi-spec-dirs", "devices are not given by CDI: name them with --device"),
    ("cpu-rt-period", "real-time scheduling of a parent group is not set by the engine"),
    ("cpu-rt-runtime", "real-time scheduling of a parent group is not set by the engine"),
    ("cri-containerd", "there is no containerd"),
    ("default-init", "--init runs this program's own init"),
    ("init-path", "--init runs this program's own init"),
    ("network-control-plane-mtu", "there are no networks over several hosts"),
    ("network-diagnostic-port", "there is no network database to ask"),
    ("node-generic-resources", "there is no swarm"),
    ("nri-opts", "there are no NRI plugins"),
    ("resolv-conf", "containers get the host's /etc/resolv.conf; use dns, dns-search and dns-opts"),
    ("rootless", "the engine needs root for now"),
    ("swarm-default-advertise-addr", "there is no swarm"),
    ("swarm-raft-election-tick", "there is no swarm"),
    ("swarm-raft-heartbeat-tick", "there is no swarm"),
];

/// Features that can be named, and which of their values is the one in force.
const FEATURES: &[(&str, Option<bool>)] = &[
    // Docker's switches between its old and new parts, of which there is one here.
    ("buildkit", None),
    ("containerd-snapshotter", None),
    ("containerd-migration", None),
    ("cdi", Some(false)),
    ("time-namespaces", Some(false)),
];

/// Why a directive with this value is refused.
pub fn why(key: &str, value: &Value) -> Option<String> {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
        return asks(value).then(|| (*why).to_owned());
    }
    if key == "features" {
        let features = value.as_object().into_iter().flatten();
        return features.into_iter().find_map(|(name, on)| {
            match FEATURES.iter().find(|(known, _)| known == name) {
                Some((_, Some(only))) if on.as_bool() != Some(*only) => {
                    Some(format!("feature {name} is not there"))
                }
                Some(_) => None,
                None if asks(on) => Some(format!("feature {name} is not known")),
                None => None,
            }
        });
    }
    None
}

/// Whether a value asks for anything.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.starts_with("enable") && asks(value)),
    }
}
