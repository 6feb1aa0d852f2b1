//! Puts images into a registry over its API (OCI distribution-spec), so that tests choose every byte: platforms, indexes,
//! media types.

use crate::pack::{Image, compress, digest};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Which words the documents use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Oci,
    Docker,
}

impl Words {
    fn manifest(self) -> &'static str {
        match self {
            Words::Oci => "application/vnd.oci.image.manifest.v1+json",
            Words::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }
    fn index(self) -> &'static str {
        match self {
            Words::Oci => "application/vnd.oci.image.index.v1+json",
            Words::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }
    fn config(self) -> &'static str {
        match self {
            Words::Oci => "application/vnd.oci.image.config.v1+json",
            Words::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }
    fn layer(self, compression: crate::pack::Compression) -> &'static str {
        use crate::pack::Compression::{Gzip, None, Zstd};
        match (self, compression) {
            (Words::Oci, None) => "application/vnd.oci.image.layer.v1.tar",
            (Words::Oci, Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (_, Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Words::Docker, None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Words::Docker, Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// An image in a registry.
#[derive(Debug, Clone)]
pub struct Published {
    pub id: String,
    /// Digest, size and media type of the manifest, for an index.
    pub descriptor: Value,
    /// Digests of the layers' blobs, bottom first.
    pub layers: Vec<String>,
    pub sizes: Vec<u64>,
}

/// A registry's repository.
#[derive(Debug, Clone)]
pub struct Repository {
    pub port: u16,
    pub name: String,
}

impl Repository {
    pub fn new(port: u16, name: &str) -> Repository {
        Repository { port, name: name.to_owned() }
    }

    /// Puts an image under `tag`, for `os/architecture[/variant]` or this machine's platform.
    pub fn image(&self, image: &Image, words: Words, platform: Option<&str>, tag: &str) -> Published {
        let mut config: Value = serde_json::from_slice(&image.config_json()).expect("JSON");
        if let Some(platform) = platform {
            let mut parts = platform.split('/');
            config["os"] = parts.next().into();
            config["architecture"] = parts.next().into();
            if let Some(variant) = parts.next() {
                config["variant"] = variant.into();
            }
        }
        let config = config.to_string().into_bytes();
        self.blob(&config);
        let layers: Vec<Vec<u8>> = image.layers.iter().map(|l| compress(l, image.compression)).collect();
        layers.iter().for_each(|layer| self.blob(layer));
        let described = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let descriptors: Vec<Value> =
            layers.iter().map(|l| described(words.layer(image.compression), l)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": words.manifest(), "config": described(words.config(), &config), "layers": descriptors});
        let manifest = manifest.to_string().into_bytes();
        self.manifest(tag, words.manifest(), &manifest);
        Published {
            id: digest(&config),
            descriptor: described(words.manifest(), &manifest),
            layers: layers.iter().map(|l| digest(l)).collect(),
            sizes: layers.iter().map(|l| l.len() as u64).collect(),
        }
    }

    /// Puts an index of images, each with its platform, under `tag`; its digest.
    pub fn index(&self, images: &[(&Published, &str)], words: Words, tag: &str) -> String {
        let entries: Vec<Value> = images
            .iter()
            .map(|(image, platform)| {
                let mut parts = platform.split('/');
                let mut value = json!({"os": parts.next(), "architecture": parts.next()});
                if let Some(variant) = parts.next() {
                    value["variant"] = variant.into();
                }
                let mut entry = image.descriptor.clone();
                entry["platform"] = value;
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": words.index(), "manifests": entries}).to_string();
        self.manifest(tag, words.index(), index.as_bytes());
        digest(index.as_bytes())
    }

    fn blob(&self, bytes: &[u8]) {
        let begun = self.request("POST", &format!("/v2/{}/blobs/uploads/", self.name), &[], b"");
        let location = begun.lines().find_map(|l| {
            let (key, value) = l.split_once(':')?;
            key.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        let location = location.unwrap_or_else(|| panic!("no upload: {begun}"));
        let path = location
            .split_once("://")
            .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let join = if path.contains('?') { '&' } else { '?' };
        let done = self.request("PUT", &format!("{path}{join}digest={}", digest(bytes)), &[], bytes);
        assert!(done.contains(" 201 "), "{done}");
    }

    fn manifest(&self, tag: &str, kind: &str, bytes: &[u8]) {
        let path = format!("/v2/{}/manifests/{tag}", self.name);
        let done = self.request("PUT", &path, &[("Content-Type", kind)], bytes);
        assert!(done.contains(" 201 "), "{done}");
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry");
        let headers: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.port,
            body.len()
        );
        server.write_all(head.as_bytes()).and_then(|()| server.write_all(body)).expect("request");
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).expect("answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Bytes that no compression makes smaller, always the same for one seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
