//! Manifest and index: which blobs an image is made of, and which image suits which platform.
//! Standards: <https://github.com/opencontainers/image-spec/blob/main/manifest.md>, `image-index.md` beside it.
use super::lenient::or_default;
use super::{InvalidDocument, MAX_INDEX_ENTRIES, MAX_LAYERS, MAX_MANIFEST_LEN, media_type};
use crate::digest::Digest;
use crate::image::Descriptor;
use crate::platform::Platform;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One image: its configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of images, by platform or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest digest can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is read at a time, and most are manifests")]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// The keys that decide how a document is read. Go's decoder ignores letter case, ours does not: a key that differs
/// from one of these by case alone makes the document ambiguous.
const DECIDING_KEYS: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "fsLayers",
    "history",
    "artifactType",
];

struct Keys(Vec<String>);
impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        d.deserialize_map(KeyVisitor)
    }
}

fn syntax(what: &'static str) -> impl Fn(serde_json::Error) -> InvalidDocument {
    move |e| InvalidDocument::Syntax { what, reason: e.to_string() }
}

impl Document {
    /// Reads a manifest or an index. `declared` is the media type that the registry or the descriptor gave for it,
    /// or an empty text where there was none.
    pub fn parse(bytes: &[u8], declared: &str) -> Result<Self, InvalidDocument> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(InvalidDocument::TooLarge { what: "manifest", limit: MAX_MANIFEST_LEN });
        }
        let Keys(keys) = serde_json::from_slice(bytes).map_err(syntax("manifest"))?;
        refuse_ambiguous(&keys)?;
        let has = |key: &str| keys.iter().any(|k| k == key);
        if has("fsLayers") {
            return Err(InvalidDocument::Unsupported(
                "application/vnd.docker.distribution.manifest.v1+json".to_owned(),
            ));
        }
        let document = if has("manifests") {
            Self::Index(serde_json::from_slice(bytes).map_err(syntax("index"))?)
        } else {
            Self::Manifest(serde_json::from_slice(bytes).map_err(syntax("manifest"))?)
        };
        document.check(declared)?;
        Ok(document)
    }

    fn check(&self, declared: &str) -> Result<(), InvalidDocument> {
        let (version, found, right): (u32, &str, fn(&str) -> bool) = match self {
            Self::Manifest(m) => (m.schema_version, &m.media_type, media_type::is_manifest),
            Self::Index(i) => (i.schema_version, &i.media_type, media_type::is_index),
        };
        // Some tools leave the version out; what says its media type is known all the same, as for Docker.
        if version != 2 && !(version == 0 && right(found)) {
            return Err(InvalidDocument::Unsupported(format!("manifest schema version {version}")));
        }
        let declared = declared.split(';').next().unwrap_or_default().trim();
        let generic = matches!(declared, "" | "application/json" | "application/octet-stream" | "text/plain");
        if !found.is_empty() && !right(found)
            || !generic && !right(declared)
            || !generic && !found.is_empty() && found != declared
        {
            return Err(InvalidDocument::MediaType {
                declared: declared.to_owned(),
                found: found.to_owned(),
            });
        }
        let (what, count, limit) = match self {
            Self::Manifest(m) => ("layers", m.layers.len(), MAX_LAYERS),
            Self::Index(i) => ("manifests", i.manifests.len(), MAX_INDEX_ENTRIES),
        };
        if count > limit {
            return Err(InvalidDocument::TooMany { what, count, limit });
        }
        Ok(())
    }

    /// The media type that a registry is told.
    pub fn media_type(&self) -> &str {
        let (own, default) = match self {
            Self::Manifest(m) => (&m.media_type, media_type::OCI_MANIFEST),
            Self::Index(i) => (&i.media_type, media_type::OCI_INDEX),
        };
        if own.is_empty() { default } else { own }
    }
}

fn refuse_ambiguous(keys: &[String]) -> Result<(), InvalidDocument> {
    for (n, key) in keys.iter().enumerate() {
        if keys[..n].contains(key) && DECIDING_KEYS.contains(&key.as_str()) {
            return Err(InvalidDocument::Ambiguous(format!("key {key:?} twice")));
        }
        if let Some(right) = DECIDING_KEYS.iter().find(|d| **d != key && d.eq_ignore_ascii_case(key)) {
            return Err(InvalidDocument::Ambiguous(format!("key {key:?} where {right:?} is meant")));
        }
    }
    let has = |key: &str| keys.iter().any(|k| k == key);
    if has("manifests") && (has("config") || has("layers") || has("fsLayers")) {
        return Err(InvalidDocument::Ambiguous("both a manifest and an index".to_owned()));
    }
    Ok(())
}

impl Manifest {
    /// A new OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The manifest holds a container image whose layers we can unpack.
    pub fn check_image(&self) -> Result<(), InvalidDocument> {
        if !media_type::is_config(&self.config.media_type) {
            return Err(InvalidDocument::Unsupported(self.config.media_type.clone()));
        }
        match self.layers.iter().find(|layer| !media_type::is_layer(&layer.media_type)) {
            Some(layer) => Err(InvalidDocument::Unsupported(layer.media_type.clone())),
            None => Ok(()),
        }
    }
}

impl Index {
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The best entry for a machine of platform `wanted`; with `strict` only the very same platform.
    /// Entries without a platform match last.
    pub fn select(&self, wanted: &Platform, strict: bool) -> Option<&Descriptor> {
        let candidates = self.manifests.iter().filter(|d| {
            !d.annotations.contains_key("vnd.docker.reference.type")
                && !d.platform.as_ref().is_some_and(Platform::is_unknown)
        });
        candidates
            .filter_map(|d| match &d.platform {
                Some(p) if strict => wanted.is_same(p).then_some((0, d)),
                Some(p) => wanted.rank(p).map(|rank| (rank, d)),
                None => Some((usize::MAX, d)),
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, d)| d)
    }

    pub fn find(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.iter().find(|d| d.digest == *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> String {
        Digest::sha256(b"").to_string()
    }
    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{}","digest":"{}","size":0}},"layers":[]}}"#,
            media_type::OCI_CONFIG,
            digest()
        )
    }

    #[test]
    fn a_manifest_and_an_index() {
        let Document::Manifest(m) =
            Document::parse(manifest("").as_bytes(), media_type::OCI_MANIFEST).unwrap()
        else {
            panic!("not a manifest")
        };
        m.check_image().unwrap();
        let index = r#"{"schemaVersion":2,"manifests":null}"#;
        assert!(matches!(Document::parse(index.as_bytes(), "").unwrap(), Document::Index(_)));
    }

    #[test]
    fn confusion_is_refused() {
        let both = manifest(r#""manifests":[],"#);
        let case = manifest(r#""Manifests":[],"#);
        let twice = manifest(r#""layers":[],"#);
        for text in [both, case, twice] {
            let error = Document::parse(text.as_bytes(), "").unwrap_err();
            assert!(matches!(error, InvalidDocument::Ambiguous(_)), "{text}: {error}");
        }
        let lies = manifest(&format!(r#""mediaType":"{}","#, media_type::OCI_INDEX));
        assert!(matches!(Document::parse(lies.as_bytes(), ""), Err(InvalidDocument::MediaType { .. })));
        assert!(Document::parse(manifest("").as_bytes(), media_type::OCI_INDEX).is_err());
        assert!(
            Document::parse(br#"{"schemaVersion":2,"manifests":[]}"#, media_type::DOCKER_MANIFEST).is_err()
        );
        let old = r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
        assert!(matches!(Document::parse(old.as_bytes(), ""), Err(InvalidDocument::Unsupported(_))));
    }

    #[test]
    fn bounds() {
        let big = vec![b' '; MAX_MANIFEST_LEN + 1];
        assert!(matches!(Document::parse(&big, ""), Err(InvalidDocument::TooLarge { .. })));
        let layer = format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, digest());
        let many = vec![layer; MAX_LAYERS + 1].join(",");
        let text = manifest("").replace(r#""layers":[]"#, &format!(r#""layers":[{many}]"#));
        assert!(matches!(Document::parse(text.as_bytes(), ""), Err(InvalidDocument::TooMany { .. })));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Document::parse(format!(r#"{{"schemaVersion":2,"x":{deep}}}"#).as_bytes(), "").is_err());
    }

    #[test]
    fn choice_by_platform() {
        let mut index = Index::new(Vec::new());
        for (n, platform) in ["linux/arm64", "linux/386", "linux/amd64", "unknown/unknown"].iter().enumerate()
        {
            let mut d =
                Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(&[u8::try_from(n).unwrap()]), 1);
            let (os, arch) = platform.split_once('/').unwrap();
            d.platform =
                Some(Platform { os: os.to_owned(), architecture: arch.to_owned(), ..Platform::default() });
            index.manifests.push(d);
        }
        let pick = |p: &str, strict| {
            index
                .select(&Platform::parse(p).unwrap(), strict)
                .and_then(|d| d.platform.clone())
                .map(|p| p.to_string())
        };
        assert_eq!(pick("linux/amd64", false).as_deref(), Some("linux/amd64"));
        assert_eq!(pick("linux/arm64", false).as_deref(), Some("linux/arm64"));
        assert_eq!(pick("linux/s390x", false), None);
        index.manifests.remove(2);
        let pick = |strict| index.select(&Platform::parse("linux/amd64").unwrap(), strict);
        assert!(pick(false).is_some() && pick(true).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), declared in ".{0,40}") {
            let _ = Document::parse(&bytes, &declared);
        }
        #[test]
        fn mutations_never_panic(at in 0usize..200, byte in any::<u8>(), cut in 0usize..250) {
            let mut bytes = manifest(r#""annotations":{"a":"b"},"#).into_bytes();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(cut);
            let _ = Document::parse(&bytes, "");
        }
    }
}
