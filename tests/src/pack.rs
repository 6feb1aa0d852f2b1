//! Packing layers into images: `docker save` archives and OCI image layouts, plain, gzip or zstd; and reading a real
//! directory tree into a layer (mode, owner, time, hard links, xattrs, devices).

use crate::tarball::{EPOCH, Entry, archive};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The outer form of an image archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What `docker save` wrote up to version 24: `manifest.json`, `<id>.json`, `<layer>/layer.tar`.
    DockerSave,
    /// OCI image layout alone: `oci-layout`, `index.json`, `blobs/`.
    OciLayout,
    /// What `docker save` writes since version 25: a layout with a `manifest.json` beside it.
    Both,
}

/// An image about to be written.
#[derive(Debug, Clone)]
pub struct Image {
    pub names: Vec<String>,
    pub layers: Vec<Vec<u8>>,
    pub config: Value,
    pub compression: Compression,
    pub created: String,
}

impl Image {
    pub fn new(name: &str, layers: Vec<Vec<u8>>) -> Image {
        let config = json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]});
        Image {
            names: vec![name.to_owned()],
            layers,
            config,
            compression: Compression::Gzip,
            created: "2026-01-01T00:00:00Z".to_owned(),
        }
    }
    /// When the configuration says that it was built.
    #[must_use]
    pub fn created(mut self, time: &str) -> Image {
        time.clone_into(&mut self.created);
        self
    }
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Image {
        self.config["Labels"][key] = value.into();
        self
    }
    #[must_use]
    pub fn also(mut self, name: &str) -> Image {
        self.names.push(name.to_owned());
        self
    }
    #[must_use]
    pub fn compression(mut self, c: Compression) -> Image {
        self.compression = c;
        self
    }
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Image {
        self.config[key] = value;
        self
    }

    pub(crate) fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|l| digest(l)).collect();
        let history: Vec<Value> = (1..=diff_ids.len())
            .map(|n| json!({"created": "2026-01-01T00:00:00Z", "created_by": format!("layer {n}")}))
            .collect();
        let config = json!({"architecture": architecture(), "os": "linux", "created": self.created, "config": self.config,
            "history": history, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        config.to_string().into_bytes()
    }

    /// The image's id: the digest of its configuration.
    pub fn id(&self) -> String {
        digest(&self.config_json())
    }

    /// The whole archive.
    pub fn archive(&self, form: Form) -> Vec<u8> {
        match form {
            Form::DockerSave => self.docker_save(),
            Form::OciLayout => self.layout(false),
            Form::Both => self.layout(true),
        }
    }

    /// # Panics
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path, form: Form) {
        let tmp = path.with_extension("partial");
        std::fs::write(&tmp, self.archive(form)).expect("image file");
        std::fs::rename(&tmp, path).expect("image file");
    }

    fn docker_save(&self) -> Vec<u8> {
        let config = self.config_json();
        let name = format!("{}.json", hex_digest(&config));
        let mut entries = vec![Entry::file(&name, 0o644, &config)];
        let mut layers = Vec::new();
        for (n, l) in self.layers.iter().enumerate() {
            let dir = hex_digest(format!("{n}{}", digest(l)).as_bytes());
            entries.push(Entry::dir(&dir, 0o755));
            entries.push(Entry::file(&format!("{dir}/VERSION"), 0o644, b"1.0"));
            entries.push(Entry::file(&format!("{dir}/layer.tar"), 0o644, &compress(l, self.compression)));
            layers.push(format!("{dir}/layer.tar"));
        }
        let manifest = json!([{"Config": name, "RepoTags": self.names, "Layers": layers}]);
        entries.push(Entry::file("manifest.json", 0o644, manifest.to_string().as_bytes()));
        archive(&entries)
    }

    fn layout(&self, with_manifest_json: bool) -> Vec<u8> {
        let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
        let mut put = |data: Vec<u8>, media: &str| {
            let d = json!({"mediaType": media, "digest": digest(&data), "size": data.len()});
            if !blobs.iter().any(|(h, _)| *h == hex_digest(&data)) {
                blobs.push((hex_digest(&data), data));
            }
            d
        };
        let media = match self.compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|l| put(compress(l, self.compression), media)).collect();
        let config = put(self.config_json(), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = put(
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers})
                .to_string()
                .into_bytes(),
            kind,
        );
        let top: Vec<Value> = self.names.iter().map(|n| with_name(&manifest, n)).collect();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": top});
        let mut entries = vec![Entry::dir("blobs", 0o755), Entry::dir("blobs/sha256", 0o755)];
        entries.extend(blobs.iter().map(|(h, d)| Entry::file(&format!("blobs/sha256/{h}"), 0o644, d)));
        entries.push(Entry::file("index.json", 0o644, index.to_string().as_bytes()));
        if with_manifest_json {
            let path = |d: &Value| format!("blobs/sha256/{}", &d["digest"].as_str().expect("digest")[7..]);
            let legacy = json!([{"Config": path(&config), "RepoTags": self.names, "Layers": layers.iter().map(path).collect::<Vec<_>>()}]);
            entries.push(Entry::file("manifest.json", 0o644, legacy.to_string().as_bytes()));
        }
        entries.push(Entry::file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#));
        archive(&entries)
    }
}

/// One `docker save` archive of all these images.
///
/// # Panics
/// Where the file cannot be written.
pub fn write_many(path: &Path, images: &[Image]) {
    let mut entries = Vec::new();
    let mut manifest = Vec::new();
    for (n, image) in images.iter().enumerate() {
        let config = image.config_json();
        let name = format!("{}.json", hex_digest(&config));
        entries.push(Entry::file(&name, 0o644, &config));
        let mut layers = Vec::new();
        for (l, layer) in image.layers.iter().enumerate() {
            let name = format!("{n}-{l}.tar");
            entries.push(Entry::file(&name, 0o644, &compress(layer, image.compression)));
            layers.push(name);
        }
        manifest.push(json!({"Config": name, "RepoTags": image.names, "Layers": layers}));
    }
    entries.push(Entry::file("manifest.json", 0o644, Value::from(manifest).to_string().as_bytes()));
    std::fs::write(path, archive(&entries)).expect("archive");
}

/// An index entry that names the image as containerd and Docker do.
fn with_name(manifest: &Value, name: &str) -> Value {
    let first = name.split('/').next().unwrap_or_default();
    let full = match name.contains('/') {
        true if first.contains('.') || first.contains(':') => name.to_owned(),
        true => format!("docker.io/{name}"),
        false => format!("docker.io/library/{name}"),
    };
    let mut m = manifest.clone();
    let tag = name.rsplit(':').next().unwrap_or("latest");
    m["annotations"] = json!({"io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag});
    m["platform"] = json!({"architecture": architecture(), "os": "linux"});
    m
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

pub fn hex_digest(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

pub fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex_digest(data))
}

/// # Panics
/// Never on memory.
pub fn compress(data: &[u8], how: Compression) -> Vec<u8> {
    match how {
        Compression::None => data.to_vec(),
        Compression::Gzip => {
            let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            w.write_all(data).and_then(|()| w.finish()).expect("gzip")
        }
        Compression::Zstd => zstd::encode_all(data, 3).expect("zstd"),
    }
}

/// A directory tree as the members of a layer, sorted by name.
///
/// # Panics
/// Where the tree cannot be read.
pub fn tree(root: &Path) -> Vec<Entry> {
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    let mut seen: HashMap<(u64, u64), String> = HashMap::new();
    let mut entries = Vec::new();
    for p in paths {
        let m = p.symlink_metadata().expect("metadata");
        let rel = p.strip_prefix(root).expect("below root").to_str().expect("UTF-8 name").to_owned();
        let mode = m.mode() & 0o7777;
        let t = m.file_type();
        let rdev = (rustix::fs::major(m.rdev()), rustix::fs::minor(m.rdev()));
        let e = if t.is_dir() {
            Entry::dir(&rel, mode)
        } else if t.is_symlink() {
            let target = std::fs::read_link(&p).expect("link");
            Entry { link: target.as_os_str().as_bytes().to_vec(), ..Entry::symlink(&rel, "") }
        } else if t.is_fifo() {
            Entry::fifo(&rel, mode)
        } else if t.is_char_device() {
            Entry::char_device(&rel, mode, rdev.0, rdev.1)
        } else if t.is_block_device() {
            Entry::block_device(&rel, mode, rdev.0, rdev.1)
        } else if t.is_socket() {
            continue;
        } else if let Some(first) = seen.get(&(m.dev(), m.ino())) {
            Entry { link: first.clone().into_bytes(), mode, ..Entry::hardlink(&rel, "") }
        } else {
            if m.nlink() > 1 {
                seen.insert((m.dev(), m.ino()), rel.clone());
            }
            Entry::file(&rel, mode, &std::fs::read(&p).expect("file"))
        };
        let mut e = e.owner(u64::from(m.uid()), u64::from(m.gid()));
        e.mtime = u64::try_from(m.mtime()).unwrap_or(EPOCH);
        if e.kind != b'1' {
            e.pax.extend(xattrs(&p).into_iter().map(|(k, v)| (format!("SCHILY.xattr.{k}"), v)));
        }
        entries.push(e);
    }
    entries
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())).flatten() {
        let is_dir = e.file_type().is_ok_and(|t| t.is_dir());
        out.push(e.path());
        if is_dir {
            collect(&e.path(), out);
        }
    }
}

/// All extended attributes of a file, its link not followed.
pub fn xattrs(p: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0u8; 64 * 1024];
    let Ok(n) = llistxattr(p, &mut names) else { return vec![] };
    let mut found = Vec::new();
    for name in names[..n].split(|b| *b == 0).filter(|s| !s.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0u8; 64 * 1024];
        if let Ok(n) = lgetxattr(p, name.as_str(), &mut value) {
            value.truncate(n);
            found.push((name, value));
        }
    }
    found.sort();
    found
}

/// Set an extended attribute.
///
/// # Panics
/// Where the filesystem refuses.
pub fn set_xattr(p: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(p, name, value, XattrFlags::empty()).expect("setxattr");
}
