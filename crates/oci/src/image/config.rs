//! Image configuration: what to run, on which platform, over which layers.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/config.md> with Docker's additions (`Healthcheck`,
//! `OnBuild`, `Shell`, `ArgsEscaped`). Invariant: `ImageConfig` keeps the bytes that its digest covers; the typed view
//! is for reading. A new configuration is written once from an [`ImageDocument`].
use super::lenient::{key_set, list_or_string, or_default, write_key_set};
use super::{InvalidDocument, MAX_CONFIG_LEN, MAX_LAYERS};
use crate::digest::Digest;
use crate::platform::Platform;
use knarr_base::ImageId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

/// An image configuration: its exact bytes and a typed view, which is reached by dereference.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    raw: Arc<[u8]>,
    document: ImageDocument,
}

/// The typed view of an image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDocument {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub variant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub config: ContainerConfig,
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub history: Vec<History>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub os_features: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
}

/// The layers, bottom first, by digest of their uncompressed tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// How one layer, or one change of configuration, came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub created_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub author: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub comment: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub empty_layer: bool,
}

/// What a container of the image runs by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub domainname: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub user: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub attach_stdin: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub attach_stdout: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub attach_stderr: bool,
    /// `80/tcp`
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        deserialize_with = "key_set",
        serialize_with = "write_key_set"
    )]
    pub exposed_ports: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub tty: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub open_stdin: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub stdin_once: bool,
    /// `NAME=value`. An entry without `=` never takes a value from the engine's own environment (CVE-2026-57231):
    /// readers use [`ContainerConfig::environment`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "list_or_string")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The command is one string that is already escaped for Windows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub args_escaped: bool,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub image: String,
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        deserialize_with = "key_set",
        serialize_with = "write_key_set"
    )]
    pub volumes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub working_dir: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "list_or_string")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub network_disabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub mac_address: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "list_or_string")]
    pub shell: Option<Vec<String>>,
}

impl ContainerConfig {
    /// Well-formed environment entries, as (name, value).
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().filter_map(|e| e.split_once('=')).filter(|(name, _)| !name.is_empty())
    }
}

/// How the health of a container is found out. Durations are nanoseconds; 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub interval: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub retries: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl ImageConfig {
    /// Reads a configuration and keeps its bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        const WHAT: &str = "image configuration";
        if bytes.len() > MAX_CONFIG_LEN {
            return Err(InvalidDocument::TooLarge { what: WHAT, limit: MAX_CONFIG_LEN });
        }
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
            return Err(InvalidDocument::Syntax { what: WHAT, reason: "expected a JSON object".to_owned() });
        }
        let document: ImageDocument = serde_json::from_slice(bytes)
            .map_err(|e| InvalidDocument::Syntax { what: WHAT, reason: e.to_string() })?;
        if !matches!(document.rootfs.kind.as_str(), "layers" | "") {
            return Err(InvalidDocument::Unsupported(format!(
                "root filesystem type {:?}",
                document.rootfs.kind
            )));
        }
        check_count(&document)?;
        Ok(Self { raw: bytes.into(), document })
    }

    /// Writes a new configuration.
    pub fn new(document: ImageDocument) -> Result<Self, InvalidDocument> {
        check_count(&document)?;
        let raw = serde_json::to_vec(&document)
            .map_err(|e| InvalidDocument::Syntax { what: "image configuration", reason: e.to_string() })?;
        Ok(Self { raw: raw.into(), document })
    }

    /// The exact bytes, which the digest covers.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.raw)
    }
    pub fn id(&self) -> ImageId {
        let digest = self.digest();
        ImageId::parse(digest.hex()).unwrap_or_else(|_| unreachable!("a SHA-256 digest is 64 digits"))
    }
    pub fn document(&self) -> &ImageDocument {
        &self.document
    }
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.document.architecture.clone(),
            os: self.document.os.clone(),
            os_version: self.document.os_version.clone(),
            os_features: self.document.os_features.clone(),
            variant: self.document.variant.clone(),
        }
        .normalized()
    }
    pub fn diff_ids(&self) -> &[Digest] {
        &self.document.rootfs.diff_ids
    }
}

impl Deref for ImageConfig {
    type Target = ImageDocument;
    fn deref(&self) -> &ImageDocument {
        &self.document
    }
}

fn check_count(document: &ImageDocument) -> Result<(), InvalidDocument> {
    match document.rootfs.diff_ids.len() {
        count if count > MAX_LAYERS => {
            Err(InvalidDocument::TooMany { what: "diff_ids", count, limit: MAX_LAYERS })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = r#"{"architecture":"amd64","config":{"Env":["PATH=/bin","HOME","=x"],"Cmd":"sh","Entrypoint":null,
        "ExposedPorts":{"80/tcp":{}},"Volumes":null,"Labels":null,"OnBuild":null,"ArgsEscaped":true,
        "Healthcheck":{"Test":["CMD","true"],"Interval":30000000000,"Retries":3},"StopSignal":"SIGQUIT","Shell":["/bin/sh","-c"],
        "Unknown":{"kept":1}},"created":"2024-01-01T00:00:00Z","history":[{"created_by":"x","empty_layer":true},{}],"os":"linux",
        "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
        "variant":"v2","x":1}"#;

    #[test]
    fn bytes_are_kept_and_the_view_is_complete() {
        let config = ImageConfig::parse(REAL.as_bytes()).unwrap();
        assert_eq!(config.raw(), REAL.as_bytes());
        assert_eq!(config.digest(), Digest::sha256(REAL.as_bytes()));
        assert_eq!(config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert!(config.config.entrypoint.is_none() && config.config.args_escaped);
        assert!(config.config.exposed_ports.contains("80/tcp"));
        assert_eq!(config.config.environment().collect::<Vec<_>>(), [("PATH", "/bin")]);
        assert_eq!(config.config.healthcheck.as_ref().unwrap().retries, 3);
        assert_eq!(config.config.stop_signal, "SIGQUIT");
        assert_eq!(config.platform().to_string(), "linux/amd64/v2");
        assert_eq!((config.diff_ids().len(), config.history.len()), (1, 2));
    }

    #[test]
    fn a_new_configuration_reads_back_the_same() {
        let document = ImageConfig::parse(REAL.as_bytes()).unwrap().document().clone();
        let new = ImageConfig::new(document.clone()).unwrap();
        assert_eq!(ImageConfig::parse(new.raw()).unwrap().document(), &document);
    }

    #[test]
    fn bad_ones_are_refused() {
        for bad in [
            "",
            "[]",
            "null",
            r#"{"rootfs":{"type":"windows","diff_ids":[]}}"#,
            r#"{"rootfs":{"diff_ids":["x"]}}"#,
        ] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ImageConfig::parse(&vec![b' '; MAX_CONFIG_LEN + 1]).is_err());
        let deep = format!(r#"{{"config":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(ImageConfig::parse(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn mutations_never_panic(at in 0usize..1200, byte in any::<u8>(), cut in 0usize..1300) {
            let mut bytes = REAL.as_bytes().to_vec();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(cut);
            if let Ok(config) = ImageConfig::parse(&bytes) {
                prop_assert!(ImageConfig::new(config.document().clone()).is_ok());
            }
        }
    }
}
