//! `inspect`: documents as indented JSON or through a template.
//!
//! A template first sees the document as Docker's typed structure (field names in any letter case, structures
//! print as `{...}`), and when that fails as plain JSON, whose errors are then the ones shown.
use crate::failure::{Failure, Outcome};
use knarr_gotemplate::{MissingKey, Nil, Struct, Template, Value};
use serde_json::Value as Json;
use std::rc::Rc;

/// Exit code for a format that is not a template.
const EXIT_BAD_FORMAT: i32 = 64;

/// Collects the documents of one `inspect` command.
pub struct Inspector {
    template: Option<Template>,
    compact: bool,
    /// Go's type of the documents, which then are seen as that only.
    type_name: Option<&'static str>,
    text: String,
    documents: Vec<Json>,
}

impl Inspector {
    pub fn new(format: &str) -> Outcome<Self> {
        let failed = |e| Failure::with_code(EXIT_BAD_FORMAT, format!("template parsing error: {e}"));
        let template = match format {
            "" | "json" => None,
            text => Some(Template::parse(text).map_err(failed)?),
        };
        Ok(Self {
            template,
            compact: format == "json",
            type_name: None,
            text: String::new(),
            documents: Vec::new(),
        })
    }

    /// Documents that Docker's client knows as a structure of its own only: their JSON is as Go's encoder writes it.
    pub fn typed(format: &str, type_name: &'static str) -> Outcome<Self> {
        Ok(Self { type_name: Some(type_name), ..Self::new(format)? })
    }

    pub fn add(&mut self, document: Json) -> Result<(), String> {
        let Some(template) = &self.template else {
            self.documents.push(document);
            return Ok(());
        };
        let text = match self.type_name {
            None => execute(template, &document)?,
            Some(name) => {
                execute_as(template, &document, name).map_err(|e| format!("template parsing error: {e}"))?
            }
        };
        self.text.push_str(&text);
        self.text.push('\n');
        Ok(())
    }

    /// What to print.
    pub fn finish(self) -> String {
        if self.template.is_some() {
            return if self.text.is_empty() { "\n".to_owned() } else { self.text };
        }
        let documents = Json::Array(self.documents);
        let mut text = if self.compact { documents.to_string() } else { indented(&documents) };
        if self.type_name.is_some() {
            text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        }
        text.push('\n');
        text
    }
}

/// Runs a template over a document of the API.
pub fn execute(template: &Template, document: &Json) -> Result<String, String> {
    if let Ok(text) = template.execute(&typed(document, ""), MissingKey::NoValue) {
        return Ok(text);
    }
    template
        .execute(&Value::from(document), MissingKey::Error)
        .map_err(|e| format!("template parsing error: {e}"))
}

/// Runs a template over a document as the structure of this name; the error is the template's own.
pub fn execute_as(template: &Template, document: &Json, type_name: &'static str) -> Result<String, String> {
    template.execute(&typed_as(document, type_name), MissingKey::NoValue).map_err(|e| e.to_string())
}

/// The document as the structure of this name.
pub fn typed_as(document: &Json, type_name: &'static str) -> Value {
    match typed(document, "") {
        Value::Struct(inner) => Value::Struct(Rc::new(Struct {
            type_name,
            fields: inner.fields.clone(),
            omitted: inner.omitted.clone(),
            fold_case: inner.fold_case,
            html_json: inner.html_json,
        })),
        other => other,
    }
}

/// JSON with Docker's indentation of four.
pub fn indented(document: &Json) -> String {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match document.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => document.to_string(),
    }
}

/// Members that are maps in Docker's structures; every other object is a structure.
const MAPS: [&str; 20] = [
    "Attributes",
    "Labels",
    "Options",
    "DriverOpts",
    "Volumes",
    "ExposedPorts",
    "PortBindings",
    "Ports",
    "Networks",
    "Sysctls",
    "Tmpfs",
    "StorageOpt",
    "Annotations",
    "Containers",
    "Data",
    "Status",
    "Runtimes",
    "IndexConfigs",
    "AuxiliaryAddresses",
    "Details",
];
/// Members that are pointers in Docker's structures.
const POINTERS: [&str; 10] = [
    "Health",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "IPAMConfig",
    "Init",
    "StopTimeout",
    "Healthcheck",
    "UsageData",
    "Cluster",
];

/// The document with the kinds of values that Go's structures would have.
pub fn typed(document: &Json, key: &str) -> Value {
    match document {
        Json::Object(members) => {
            let is_map = MAPS.contains(&key);
            let inner = |name: &str| if is_map { String::new() } else { format!("{key}.{name}") };
            let typed_member = |(name, value): (&String, &Json)| {
                let path = inner(name);
                if path == "IPAM.Config"
                    && let Json::Array(ranges) = value
                {
                    let ranges = ranges.iter().map(|range| typed(range, &path)).collect();
                    return (name.clone(), Value::List(Rc::new(ranges)));
                }
                // the options of a log driver are a map; a container's configuration is not
                let as_key = if path == "LogConfig.Config" { "Labels" } else { name.as_str() };
                (name.clone(), typed(value, if is_map { "" } else { as_key }))
            };
            let fields: Vec<(String, Value)> = members.iter().map(typed_member).collect();
            if is_map {
                return Value::Map(Rc::new(fields));
            }
            if key == "IPAM.Config" {
                return address_range(members);
            }
            let mut omitted = omitted(key);
            if key == "NetworkSettings" {
                omitted.extend(of_default_bridge(members));
            }
            if key.is_empty() {
                omitted.extend(of_whole(members));
            }
            omitted.retain(|(name, _)| !members.contains_key(name));
            Value::Struct(Rc::new(Struct {
                type_name: "struct",
                fields,
                omitted,
                fold_case: true,
                html_json: false,
            }))
        }
        Json::Array(items) => Value::List(Rc::new(items.iter().map(|item| typed(item, "")).collect())),
        Json::Null if MAPS.contains(&key) => Value::Nil(Nil::Map),
        Json::Null if POINTERS.contains(&key) => Value::Nil(Nil::Pointer),
        Json::Null => Value::Nil(Nil::Slice),
        other => Value::from(other),
    }
}

/// Members of a structure that its JSON leaves out when they are empty.
fn omitted(key: &str) -> Vec<(String, Value)> {
    let (maps, slices, pointers, texts): (&[&str], &[&str], &[&str], &[&str]) = match key {
        "State" => (&[], &[], &["Health"], &[]),
        "HostConfig" => {
            (&["Annotations", "StorageOpt", "Tmpfs", "Sysctls"], &["Mounts"], &["Init"], &["Runtime"])
        }
        "Config" => (
            &["ExposedPorts", "Volumes", "Labels"],
            &["OnBuild", "Shell", "Entrypoint", "Cmd", "Env"],
            &["Healthcheck", "StopTimeout"],
            &["StopSignal", "User", "WorkingDir"],
        ),
        _ => return Vec::new(),
    };
    let of = |names: &[&str], value: &Value| {
        names.iter().map(|n| ((*n).to_owned(), value.clone())).collect::<Vec<_>>()
    };
    let mut all = of(maps, &Value::Nil(Nil::Map));
    all.extend(of(slices, &Value::Nil(Nil::Slice)));
    all.extend(of(pointers, &Value::Nil(Nil::Pointer)));
    all.extend(of(texts, &Value::str("")));
    all
}

/// Members that whole documents leave out when they are empty: of containers, images and volumes.
fn of_whole(members: &serde_json::Map<String, Json>) -> Vec<(String, Value)> {
    let all: &[(&str, Value)] = if members.contains_key("HostConfig") {
        &[("SizeRw", Value::Nil(Nil::Pointer)), ("SizeRootFs", Value::Nil(Nil::Pointer))]
    } else if members.contains_key("RootFS") {
        &[
            ("Author", Value::str("")),
            ("Comment", Value::str("")),
            ("Parent", Value::str("")),
            ("Variant", Value::str("")),
            ("OsVersion", Value::str("")),
            ("DockerVersion", Value::str("")),
        ]
    } else if members.contains_key("Mountpoint") {
        &[
            ("Status", Value::Nil(Nil::Map)),
            ("UsageData", Value::Nil(Nil::Pointer)),
            ("ClusterVolume", Value::Nil(Nil::Pointer)),
        ]
    } else {
        &[]
    };
    all.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A range of a network's addresses: printed whole, it shows what its JSON leaves out.
fn address_range(members: &serde_json::Map<String, Json>) -> Value {
    const NAMES: [&str; 3] = ["Subnet", "IPRange", "Gateway"];
    let text = |name: &str| members.get(name).and_then(Json::as_str).unwrap_or_default();
    let others = members.get("AuxiliaryAddresses").and_then(Json::as_object).cloned().unwrap_or_default();
    let mut pairs: Vec<String> =
        others.iter().map(|(name, value)| format!("{name}:{}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    let [subnet, range, gateway] = NAMES.map(text);
    let shown = format!("{{{subnet} {range} {gateway} map[{}]}}", pairs.join(" "));
    let absent = NAMES.into_iter().filter(|name| !members.contains_key(*name));
    let inner = Value::Struct(Rc::new(Struct {
        type_name: "network.IPAMConfig",
        fields: members.iter().map(|(name, value)| (name.clone(), typed(value, name))).collect(),
        omitted: absent
            .map(|name| (name.to_owned(), Value::str("")))
            .chain([("AuxAddress".to_owned(), typed(&Json::Object(others), "AuxiliaryAddresses"))])
            .collect(),
        fold_case: true,
        html_json: false,
    }));
    Value::Text(shown.into(), Rc::new(inner))
}

/// Addresses in the default bridge, which API versions before 1.52 also showed beside the networks; scripts ask
/// for `.NetworkSettings.IPAddress`.
fn of_default_bridge(settings: &serde_json::Map<String, Json>) -> Vec<(String, Value)> {
    const NAMES: [&str; 8] = [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ];
    let bridge = settings.get("Networks").and_then(|networks| networks.get("bridge"));
    let absent = NAMES.into_iter().filter(|name| !settings.contains_key(*name));
    absent
        .map(|name| {
            let value = bridge.and_then(|b| b.get(name)).map_or_else(
                || if name.ends_with("Len") { Value::Int(0) } else { Value::str("") },
                Value::from,
            );
            (name.to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, document: &Json) -> Result<String, String> {
        execute(&Template::parse(template).unwrap(), document)
    }

    #[test]
    fn documents_look_like_dockers_structures() {
        let document = serde_json::json!({
            "Id": "abc",
            "State": {"Status": "running", "Pid": 7},
            "HostConfig": {"Binds": null, "LogConfig": {"Type": "json-file", "Config": {}}, "MemorySwappiness": null},
            "Config": {"Labels": {"a": "b"}, "Cmd": ["x", "y"]},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "IPPrefixLen": 16}}},
        });
        let cases = [
            ("{{.ID}} {{.Id}}", "abc abc"),
            ("{{.State}} {{.State.Health}}", "{running 7 <nil>} <nil>"),
            ("{{json .State}}", "{\"Status\":\"running\",\"Pid\":7}"),
            (
                "{{.HostConfig.Binds}} {{.HostConfig.Sysctls}} {{.HostConfig.MemorySwappiness}}",
                "[] map[] <nil>",
            ),
            ("{{.HostConfig.LogConfig}}", "{json-file map[]}"),
            ("{{.Config.Labels.nope}} {{.Config.Cmd}}", "<no value> [x y]"),
            ("{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}}", "172.17.0.2/16"),
        ];
        for (template, expected) in cases {
            assert_eq!(run(template, &document).as_deref(), Ok(expected), "{template}");
        }
        let network =
            serde_json::json!({"IPAM": {"Config": [{"Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1"}]}});
        assert_eq!(run("{{.IPAM.Config}}", &network).as_deref(), Ok("[{10.0.0.0/8  10.0.0.1 map[]}]"));
        let subnets = "{{range .IPAM.Config}}{{.Subnet}}{{.IPRange}}{{end}} {{json .IPAM.Config}}";
        assert_eq!(
            run(subnets, &network).as_deref(),
            Ok("10.0.0.0/8 [{\"Subnet\":\"10.0.0.0/8\",\"Gateway\":\"10.0.0.1\"}]")
        );
        assert_eq!(
            run("{{.State.Foo}}", &document).unwrap_err(),
            "template parsing error: template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""
        );
    }
}
