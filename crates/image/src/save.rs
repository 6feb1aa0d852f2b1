//! `save`: images as an archive that Docker of any age, and readers of OCI image layouts, can load.
//!
//! The archive has an image layout (`oci-layout`, `index.json`, `blobs/`) and, over the same blobs, `manifest.json` and
//! `repositories`. Layers are uncompressed, so each is named by its diff id. Invariant: the same images give the same bytes.
use crate::error::Error;
use crate::image::Image;
use crate::record::LayerRef;
use crate::service::{Images, all_references};
use knarr_base::ImageId;
use knarr_oci::digest::{Digest, Hasher};
use knarr_oci::image::{Descriptor, Index, Manifest, media_type};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_snapshot::decompress::Decompressor;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// One entry of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    layer_sources: BTreeMap<String, Descriptor>,
}

/// An image to be saved, with the names to save it under.
struct Selected {
    image: Image,
    names: Vec<Reference>,
}

/// Where a blob of the archive comes from.
#[expect(clippy::large_enum_variant, reason = "there are as many as layers")]
enum Blob {
    Bytes(Vec<u8>),
    Layer { layer: LayerRef, size: u64 },
}

impl Images {
    /// Writes images as a tar stream. A name without tag stands for all tags of that repository.
    pub fn save(&self, names: &[String], sink: &mut dyn Write) -> Result<(), Error> {
        let _pass = self.enter();
        let selected = self.select(names)?;
        let mut blobs: BTreeMap<String, (Blob, i64)> = BTreeMap::new();
        let mut saved = Vec::new();
        let mut index = Index::new(Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Selected { image, names } in &selected {
            let time = image.created_nanos().unwrap_or(0).div_euclid(1_000_000_000);
            let (manifest, layers) = self.manifest_of(image)?;
            let bytes = to_json(&manifest)?;
            let digest = Digest::sha256(&bytes);
            let descriptor = Descriptor {
                platform: Some(image.config.platform()),
                ..Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), bytes.len() as u64)
            };
            for entry in index_entries(&descriptor, names) {
                index.manifests.push(entry);
            }
            saved.push(SavedImage {
                config: path_of(&manifest.config.digest),
                repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
                layers: manifest.layers.iter().map(|layer| path_of(&layer.digest)).collect(),
                layer_sources: manifest.layers.iter().map(|l| (l.digest.to_string(), l.clone())).collect(),
            });
            for name in names {
                if let (Some(tag), Some(top)) = (name.tag(), manifest.layers.last()) {
                    let tags = repositories.entry(name.familiar_name()).or_default();
                    tags.insert(tag.to_owned(), top.digest.hex().to_owned());
                }
            }
            blobs.insert(path_of(&digest), (Blob::Bytes(bytes), time));
            blobs.insert(path_of(&manifest.config.digest), (Blob::Bytes(image.config.raw().to_vec()), time));
            for (layer, size) in layers {
                blobs.entry(path_of(&layer.diff_id)).or_insert((Blob::Layer { layer, size }, time));
            }
        }
        let documents = [
            ("index.json", to_json(&index)?),
            ("manifest.json", to_json(&saved)?),
            ("oci-layout", LAYOUT.to_vec()),
            ("repositories", to_json(&repositories)?),
        ];
        self.write_archive(&blobs, &documents, sink)
    }

    /// Whether all these can be saved, before anything is sent.
    pub fn check_save(&self, names: &[String], platforms: &[Platform]) -> Result<(), Error> {
        for Selected { image, names } in self.select(names)? {
            let own = image.config.platform();
            if platforms.is_empty() || platforms.iter().any(|wanted| wanted.is_same(&own)) {
                continue;
            }
            let shown = names.first().map_or_else(|| format!("sha256:{}", image.id), Reference::familiar);
            let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            return Err(Error::Missing(format!(
                "image with reference {shown} was found but its platform ({own}) does not match the specified platform ({})",
                wanted.join(", ")
            )));
        }
        Ok(())
    }

    fn write_archive(
        &self,
        blobs: &BTreeMap<String, (Blob, i64)>,
        documents: &[(&str, Vec<u8>)],
        sink: &mut dyn Write,
    ) -> Result<(), Error> {
        let mut writer = TarWriter::new(io::BufWriter::with_capacity(256 << 10, sink));
        for dir in ["blobs/", "blobs/sha256/"] {
            writer.entry(&member(EntryKind::Directory, dir, 0, 0), &mut io::empty())?;
        }
        for (path, (blob, time)) in blobs {
            match blob {
                Blob::Bytes(bytes) => {
                    let entry = member(EntryKind::File, path, bytes.len() as u64, *time);
                    writer.entry(&entry, &mut bytes.as_slice())?;
                }
                Blob::Layer { layer, size } => {
                    let entry = member(EntryKind::File, path, *size, *time);
                    let mut source = self.layer_tar(layer)?;
                    writer.entry(&entry, &mut source)?;
                    source.verify(&layer.diff_id)?;
                }
            }
        }
        for (path, bytes) in documents {
            if *path == "repositories" && bytes.as_slice() == b"{}" {
                continue;
            }
            writer.entry(&member(EntryKind::File, path, bytes.len() as u64, 0), &mut bytes.as_slice())?;
        }
        writer.finish()?;
        Ok(())
    }

    /// The uncompressed tar of a layer.
    fn layer_tar(&self, layer: &LayerRef) -> Result<Hashed, Error> {
        let blob = self.content.open_blob(&layer.blob.digest)?;
        Ok(Hashed { source: Decompressor::new(blob)?, hasher: Hasher::sha256() })
    }

    fn manifest_of(&self, image: &Image) -> Result<(Manifest, Vec<(LayerRef, u64)>), Error> {
        let config =
            Descriptor::new(media_type::OCI_CONFIG, image.config.digest(), image.config.raw().len() as u64);
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for layer in &image.record.layers {
            let size = self.layers.meta(&layer.diff_id)?.stream_len;
            descriptors.push(Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), size));
            layers.push((layer.clone(), size));
        }
        Ok((Manifest::new(config, descriptors), layers))
    }

    fn select(&self, names: &[String]) -> Result<Vec<Selected>, Error> {
        if names.is_empty() {
            return Err(Error::Invalid("no images to save".to_owned()));
        }
        let mut selected: Vec<Selected> = Vec::new();
        for text in names {
            for (id, name) in self.select_one(text)? {
                let found = match selected.iter().position(|s| s.image.id == id) {
                    Some(at) => at,
                    None => {
                        selected.push(Selected { image: self.get(&id)?, names: Vec::new() });
                        selected.len() - 1
                    }
                };
                if let Some(name) = name
                    && !selected[found].names.contains(&name)
                {
                    selected[found].names.push(name);
                }
            }
        }
        Ok(selected)
    }

    /// Images that one argument stands for, each with its name if it was given by name.
    fn select_one(&self, text: &str) -> Result<Vec<(ImageId, Option<Reference>)>, Error> {
        if let Ok(name) = Reference::parse_name(text) {
            let all = self.store.read(all_references)?;
            let tags = all.into_iter().filter(|(n, _)| n.tag().is_some());
            let wanted: Vec<_> = if name.is_name_only() {
                tags.filter(|(n, _)| n.repository() == name).map(|(n, id)| (id, Some(n))).collect()
            } else {
                tags.filter(|(n, _)| *n == name).map(|(n, id)| (id, Some(n))).collect()
            };
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
        Ok(vec![(self.resolve(text)?.id, None)])
    }
}

fn index_entries(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let named = names.iter().map(|name| {
        let mut entry = descriptor.clone();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        let tag = name.tag().unwrap_or_default().to_owned();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        entry
    });
    named.collect()
}

fn path_of(digest: &Digest) -> String {
    crate::archive::blob_path(digest)
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Sink(e.into()))
}

fn member(kind: EntryKind, path: &str, size: u64, time: i64) -> Entry {
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    Entry::new(kind, path.as_bytes().to_vec(), mode, size, time)
}

/// A stream that is hashed as it passes.
struct Hashed {
    source: Decompressor<std::fs::File>,
    hasher: Hasher,
}

impl Hashed {
    /// The whole stream is the layer that it should be, to the last byte.
    fn verify(mut self, diff_id: &Digest) -> Result<(), Error> {
        io::copy(&mut self, &mut io::sink())
            .map_err(|e| Error::Snapshot(knarr_snapshot::Error::Source(e)))?;
        let found = self.hasher.finish();
        if found == *diff_id {
            return Ok(());
        }
        Err(knarr_snapshot::Error::DiffId { expected: diff_id.clone(), found }.into())
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        Ok(len)
    }
}
