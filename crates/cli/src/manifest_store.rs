//! Manifest lists in the making: `<config>/manifests/<list>/<manifest>`, one file per manifest.
//!
//! Standard: the files of Docker's client (`docker manifest create`), which reads ours and whose we read: a JSON object with
//! `Ref`, `Descriptor`, `Raw` (the manifest's bytes) and the manifest itself under `SchemaV2Manifest` or `OCIManifest`.
//! Invariant: `Raw` has the descriptor's digest.
use crate::failure::{Failure, Outcome, os_text};
use crate::format::go_json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_oci::image::{Descriptor, Document, Manifest, media_type};
use knarr_oci::reference::Reference;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most manifests of one list.
const MAX_MANIFESTS: usize = 1024;

/// One manifest of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// As Docker writes it: the full name.
    pub reference: String,
    pub descriptor: Descriptor,
    pub raw: Vec<u8>,
}

impl Entry {
    pub fn manifest(&self) -> Outcome<Manifest> {
        match Document::parse(&self.raw, "") {
            Ok(Document::Manifest(manifest)) => Ok(manifest),
            _ => Err(Failure::new(format!("{} has no payload", self.reference))),
        }
    }

    pub fn raw_text(&self) -> Outcome<&str> {
        std::str::from_utf8(&self.raw).map_err(|_| Failure::new(format!("{} is no JSON", self.reference)))
    }

    /// As in its file, and as `inspect --verbose` shows it before indentation.
    pub fn json(&self) -> Outcome<String> {
        let kind = match self.descriptor.media_type.as_str() {
            media_type::DOCKER_MANIFEST => "SchemaV2Manifest",
            _ => "OCIManifest",
        };
        Ok(format!(
            "{{\"Ref\":{},\"Descriptor\":{},\"Raw\":\"{}\",\"{kind}\":{}}}",
            encoded(&self.reference)?,
            encoded(&self.descriptor)?,
            STANDARD.encode(&self.raw),
            go_json::compact(self.raw_text()?),
        ))
    }

    fn parse(bytes: &[u8]) -> Outcome<Self> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(rename = "Ref")]
            reference: String,
            #[serde(rename = "Descriptor")]
            descriptor: Descriptor,
            #[serde(rename = "Raw", default)]
            raw: String,
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| Failure::new(error.to_string()))?;
        let raw = STANDARD.decode(&file.raw).unwrap_or_default();
        let (reference, descriptor) = (file.reference, file.descriptor);
        if !descriptor.digest.matches(&raw) {
            let expected = &descriptor.digest;
            return Err(Failure::new(format!(
                "internal digest mismatch for {reference}: expected {expected}; create the manifest list again"
            )));
        }
        Ok(Self { reference, descriptor, raw })
    }
}

fn encoded(value: &impl serde::Serialize) -> Outcome<String> {
    let json = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
    Ok(go_json::compact(&json))
}

pub struct ManifestStore {
    root: PathBuf,
}

impl ManifestStore {
    pub fn new(config: &Path) -> Self {
        Self { root: config.join("manifests") }
    }

    /// The manifest of a list; none if there is no such file.
    pub fn get(&self, list: &Reference, manifest: &Reference) -> Outcome<Option<Entry>> {
        self.read(&self.directory(list).join(file_name(manifest)))
    }

    /// All manifests of a list, by file name; none if there is no such list.
    pub fn list(&self, list: &Reference) -> Outcome<Option<Vec<Entry>>> {
        let directory = self.directory(list);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &directory, &error)),
        };
        let mut names: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        names.sort();
        if names.len() > MAX_MANIFESTS {
            return Err(Failure::new(format!(
                "{}: more than {MAX_MANIFESTS} manifests",
                directory.display()
            )));
        }
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.extend(self.read(&name)?);
        }
        Ok(Some(found))
    }

    fn read(&self, path: &Path) -> Outcome<Option<Entry>> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", path, &error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
        match Entry::parse(&bytes) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => Err(Failure::new(format!("invalid manifest file {}: {error}", path.display()))),
        }
    }

    /// Written beside and renamed, so that nobody sees half a file.
    pub fn save(&self, list: &Reference, manifest: &Reference, entry: &Entry) -> Outcome {
        let directory = self.directory(list);
        std::fs::create_dir_all(&directory).map_err(|error| failed("mkdir", &directory, &error))?;
        let temporary = self.root.join(format!(".{}-{}", std::process::id(), file_name(manifest)));
        let target = directory.join(file_name(manifest));
        let written =
            std::fs::write(&temporary, entry.json()?).and_then(|()| std::fs::rename(&temporary, &target));
        written.map_err(|error| failed("write", &target, &error))
    }

    pub fn remove(&self, list: &Reference) -> Outcome {
        let directory = self.directory(list);
        std::fs::remove_dir_all(&directory).map_err(|error| failed("remove", &directory, &error))
    }

    fn directory(&self, list: &Reference) -> PathBuf {
        self.root.join(file_name(list))
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{what} {}: {}", path.display(), os_text(error)))
}

/// One component: a reference has no other character that means anything in a path.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_oci::digest::Digest;

    fn entry(raw: &str) -> Entry {
        let descriptor =
            Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(raw.as_bytes()), raw.len() as u64);
        Entry { reference: "r.test/a:1".to_owned(), descriptor, raw: raw.as_bytes().to_vec() }
    }

    #[test]
    fn entries_come_back_and_lists_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = ManifestStore::new(dir.path());
        let name = |text: &str| Reference::parse(text).unwrap();
        let list = name("r.test:5000/team/app:v1");
        assert!(store.list(&list).unwrap().is_none());
        for tag in ["b", "a"] {
            store
                .save(
                    &list,
                    &name(&format!("r.test:5000/team/x:{tag}")),
                    &entry(&format!("{{\"{tag}\": \"<\"}}")),
                )
                .unwrap();
        }
        let path = dir.path().join("manifests/r.test-5000_team_app-v1/r.test-5000_team_x-a");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with(r#","OCIManifest":{"a":"\u003c"}}"#), "{text}");
        let all = store.list(&list).unwrap().unwrap();
        assert_eq!(all, [entry("{\"a\": \"<\"}"), entry("{\"b\": \"<\"}")]);
        assert!(store.get(&list, &name("r.test:5000/team/x:c")).unwrap().is_none());
        // What somebody has changed is told, not used.
        std::fs::write(&path, text.replace("\"Raw\":\"", "\"Raw\":\"AAAA")).unwrap();
        assert!(store.list(&list).unwrap_err().message.contains("digest mismatch"));
        store.remove(&list).unwrap();
        assert!(store.list(&list).unwrap().is_none());
    }
}
