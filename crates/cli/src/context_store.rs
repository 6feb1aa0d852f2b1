//! Contexts: named engines under `~/.docker/contexts`, shared with Docker's client.
//!
//! Standard: <https://docs.docker.com/engine/manage-resources/contexts/>. A context is
//! `meta/<sha256 of its name>/meta.json` and, with TLS, `tls/<same>/docker/{ca,cert,key}.pem`.
//! What this program does not know in them stays as it is.
use crate::config_file::make_private_dir;
use crate::failure::{Failure, Outcome, os_text};
use crate::format::order::natural;
use knarr_docker_client::TlsFiles;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The context that needs no file.
pub const DEFAULT: &str = "default";
/// The endpoint that is an engine.
pub const ENDPOINT: &str = "docker";

/// The files of TLS by endpoint and name.
pub type Tls = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    pub name: String,
    pub description: String,
    pub host: String,
    pub skip_verify: bool,
    pub document: Value,
}

impl Context {
    /// Reads `meta.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self {
            name: text("/Name"),
            description: text("/Metadata/Description"),
            host: text("/Endpoints/docker/Host"),
            skip_verify: document.pointer("/Endpoints/docker/SkipTLSVerify") == Some(&Value::Bool(true)),
            document,
        })
    }

    /// `meta.json`, in the order of Docker's client.
    pub fn to_document(&self) -> Value {
        let object =
            |name: &str| self.document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let (mut metadata, mut endpoints) = (object("Metadata"), object("Endpoints"));
        metadata.remove("Description");
        if !self.description.is_empty() {
            metadata.insert("Description".into(), self.description.as_str().into());
        }
        let mut endpoint = Map::new();
        if !self.host.is_empty() {
            endpoint.insert("Host".into(), self.host.as_str().into());
        }
        endpoint.insert("SkipTLSVerify".into(), self.skip_verify.into());
        endpoints.insert(ENDPOINT.into(), endpoint.into());
        json!({"Name": self.name, "Metadata": metadata, "Endpoints": endpoints})
    }
}

pub struct Store {
    root: PathBuf,
}

impl Store {
    pub fn new(config_dir: &Path) -> Self {
        Self { root: config_dir.join("contexts") }
    }

    fn id(name: &str) -> String {
        Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
    pub fn meta_dir(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(Self::id(name))
    }
    pub fn tls_dir(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(Self::id(name))
    }

    pub fn list(&self) -> Outcome<Vec<Context>> {
        let Ok(entries) = std::fs::read_dir(self.root.join("meta")) else { return Ok(Vec::new()) };
        let mut contexts = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path().join("meta.json");
            match read(&path) {
                Ok(Some(context)) => contexts.push(context),
                Ok(None) => {}
                Err(failure) => return Err(Failure::new(format!("failed to read metadata: {failure}"))),
            }
        }
        contexts.sort_by(|a, b| natural(&a.name, &b.name));
        Ok(contexts)
    }

    pub fn get(&self, name: &str) -> Outcome<Context> {
        let path = self.meta_dir(name).join("meta.json");
        let quoted = knarr_gotemplate::quote(name);
        match read(&path) {
            Ok(Some(context)) => Ok(context),
            Ok(None) => Err(Failure::new(format!(
                "context {quoted}: context not found: open {}: no such file or directory",
                path.display()
            ))),
            Err(failure) => Err(Failure::new(format!("context {quoted}: {failure}"))),
        }
    }

    pub fn exists(&self, name: &str) -> bool {
        self.meta_dir(name).exists()
    }

    pub fn tls(&self, context: &Context) -> Option<TlsFiles> {
        let dir = self.tls_dir(&context.name).join(ENDPOINT);
        dir.exists().then(|| TlsFiles::in_directory(&dir, !context.skip_verify))
    }

    /// Names of the files of TLS, by endpoint.
    pub fn tls_names(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let dir = self.tls_dir(name);
        names(&dir).into_iter().map(|endpoint| (endpoint.clone(), names(&dir.join(endpoint)))).collect()
    }

    pub fn tls_data(&self, name: &str) -> Outcome<Tls> {
        let mut all = Tls::new();
        for (endpoint, files) in self.tls_names(name) {
            let dir = self.tls_dir(name).join(&endpoint);
            for file in files {
                let path = dir.join(&file);
                let bytes = std::fs::read(&path)
                    .map_err(|e| Failure::new(format!("open {}: {}", path.display(), os_text(&e))))?;
                all.entry(endpoint.clone()).or_default().insert(file, bytes);
            }
        }
        Ok(all)
    }

    /// Writes `meta.json`, whole or not at all.
    pub fn put(&self, context: &Context) -> Outcome {
        let failed = |e: std::io::Error| Failure::new(format!("could not write context: {}", os_text(&e)));
        let dir = self.meta_dir(&context.name);
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let (target, temporary) =
            (dir.join("meta.json"), dir.join(format!(".meta.{}.tmp", std::process::id())));
        let written = std::fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(context.to_document().to_string().as_bytes()))
            .and_then(|()| std::fs::rename(&temporary, &target));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written.map_err(failed)
    }

    /// Replaces the files of TLS of one endpoint.
    pub fn reset_endpoint(&self, name: &str, endpoint: &str, files: &BTreeMap<String, Vec<u8>>) -> Outcome {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |e: std::io::Error| Failure::new(format!("could not write context: {}", os_text(&e)));
        let dir = self.tls_dir(name).join(endpoint);
        remove(&dir).map_err(failed)?;
        if files.is_empty() {
            return Ok(());
        }
        make_private_dir(&dir).map_err(failed)?;
        for (file, bytes) in files {
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o600).open(dir.join(file));
            opened.and_then(|mut file| file.write_all(bytes)).map_err(failed)?;
        }
        Ok(())
    }

    /// Replaces all files of TLS.
    pub fn reset_tls(&self, name: &str, tls: &Tls) -> Outcome {
        let failed = |e: std::io::Error| Failure::new(format!("could not write context: {}", os_text(&e)));
        remove(&self.tls_dir(name)).map_err(failed)?;
        tls.iter().try_for_each(|(endpoint, files)| self.reset_endpoint(name, endpoint, files))
    }

    pub fn remove(&self, name: &str) -> Outcome {
        for dir in [self.meta_dir(name), self.tls_dir(name)] {
            remove(&dir)
                .map_err(|e| Failure::new(format!("failed to remove context {name}: {}", os_text(&e))))?;
        }
        Ok(())
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names that can be a directory's and a flag's value.
pub fn check_name(name: &str) -> Outcome {
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() > 1
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    match name {
        "" => Err(Failure::new("context name cannot be empty")),
        DEFAULT => Err(Failure::new("\"default\" is a reserved context name")),
        _ if fits => Ok(()),
        _ => Err(Failure::new(format!(
            "context name {} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
            knarr_gotemplate::quote(name)
        ))),
    }
}

/// A context's file; None where there is none.
fn read(path: &Path) -> Outcome<Option<Context>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let parsed = Context::parse(&bytes);
            parsed.map(Some).map_err(|e| Failure::new(format!("parsing {}: {e}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("open {}: {}", path.display(), os_text(&error)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays() {
        let text = r#"{"Name":"a","Metadata":{"Description":"d","Other":1},"Endpoints":{"docker":{"Host":"tcp://x:1","SkipTLSVerify":true},"k":{}}}"#;
        let mut context = Context::parse(text.as_bytes()).unwrap();
        assert_eq!((context.host.as_str(), context.skip_verify), ("tcp://x:1", true));
        context.description = String::new();
        assert_eq!(
            context.to_document().to_string(),
            r#"{"Name":"a","Metadata":{"Other":1},"Endpoints":{"docker":{"Host":"tcp://x:1","SkipTLSVerify":true},"k":{}}}"#
        );
        assert!(Context::parse(b"nonsense").is_err());
    }
}
