//! Contexts: named engines under `~/.docker/contexts`.
//!
//! Standard: <https://docs.docker.com/engine/manage-resources/contexts/>. A context is
//! `meta/<sha256 of its name>/meta.json` and, with TLS, `tls/<same>/docker/{ca,cert,key}.pem`.
use crate::config_file::make_private_dir;
use crate::failure::{Failure, Outcome, os_text};
use knarr_docker_client::TlsFiles;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The context that needs no file.
pub const DEFAULT: &str = "default";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    pub name: String,
    pub description: String,
    pub host: String,
    pub skip_verify: bool,
    pub document: Value,
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

    pub fn list(&self) -> Vec<Context> {
        let Ok(entries) = std::fs::read_dir(self.root.join("meta")) else { return Vec::new() };
        let mut contexts: Vec<Context> =
            entries.flatten().filter_map(|entry| read(&entry.path().join("meta.json")).ok()).collect();
        contexts.sort_by(|a, b| a.name.cmp(&b.name));
        contexts
    }

    pub fn get(&self, name: &str) -> Outcome<Context> {
        let missing = || {
            let path = self.meta_dir(name).join("meta.json");
            Failure::new(format!(
                "context {}: context not found: open {}: no such file or directory",
                knarr_gotemplate::quote(name),
                path.display()
            ))
        };
        read(&self.meta_dir(name).join("meta.json")).map_err(|_| missing())
    }

    pub fn tls(&self, context: &Context) -> Option<TlsFiles> {
        let dir = self.tls_dir(&context.name).join("docker");
        dir.exists().then(|| TlsFiles::in_directory(&dir, !context.skip_verify))
    }

    pub fn put(&self, context: &Context, tls: &[(&str, PathBuf)]) -> Outcome {
        let failed = |e: std::io::Error| Failure::new(format!("could not write context: {}", os_text(&e)));
        let mut endpoint = json!({"Host": context.host, "SkipTLSVerify": context.skip_verify});
        if context.host.is_empty() {
            endpoint = json!({"SkipTLSVerify": context.skip_verify});
        }
        let mut metadata = json!({});
        if !context.description.is_empty() {
            metadata = json!({"Description": context.description});
        }
        let document = json!({"Name": context.name, "Metadata": metadata, "Endpoints": {"docker": endpoint}});
        let dir = self.meta_dir(&context.name);
        make_private_dir(&dir).map_err(failed)?;
        std::fs::write(dir.join("meta.json"), document.to_string()).map_err(failed)?;
        for (name, source) in tls {
            let dir = self.tls_dir(&context.name).join("docker");
            make_private_dir(&dir).map_err(failed)?;
            std::fs::copy(source, dir.join(name))
                .map_err(|e| Failure::new(format!("open {}: {}", source.display(), os_text(&e))))?;
        }
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Outcome {
        let failed = |e: std::io::Error| Failure::new(format!("could not remove context: {}", os_text(&e)));
        for dir in [self.tls_dir(name), self.meta_dir(name)] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
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

fn read(path: &Path) -> Result<Context, ()> {
    let bytes = std::fs::read(path).map_err(drop)?;
    let document: Value = serde_json::from_slice(&bytes).map_err(drop)?;
    let text =
        |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Context {
        name: text("/Name"),
        description: text("/Metadata/Description"),
        host: text("/Endpoints/docker/Host"),
        skip_verify: document.pointer("/Endpoints/docker/SkipTLSVerify") == Some(&Value::Bool(true)),
        document: document.clone(),
    })
}
