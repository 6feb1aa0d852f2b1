//! `load`: images from an archive of `docker save`, old or new, or a tar of an OCI image layout.
use crate::archive::{Members, blob_path};
use crate::early::Early;
use crate::error::Error;
use crate::progress::{Progress, Report};
use crate::record::{ImageRecord, LayerRef};
use crate::service::{Images, now_nanos};
use knarr_base::ImageId;
use knarr_content::Lease;
use knarr_oci::digest::Digest;
use knarr_oci::image::{
    Descriptor, Document, ImageConfig, Index, MAX_CONFIG_LEN, MAX_INDEX_ENTRIES, MAX_LAYERS,
    MAX_MANIFEST_LEN, Manifest, media_type,
};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_state::Event;
use serde::Deserialize;
use std::io::Read;

const CONTAINERD_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes within indexes.
const MAX_NESTING: usize = 4;

/// One entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image found in an archive.
struct Found {
    config: ImageConfig,
    config_size: u64,
    layers: Vec<LayerRef>,
    manifest: Option<Descriptor>,
    names: Vec<Reference>,
}

impl Images {
    /// Loads all images of an archive: plain, or compressed in any way that Docker reads. With `platform` only that one is taken from an index; without,
    /// the best for this machine. Returns their ids.
    pub fn load(
        &self,
        source: &mut dyn Read,
        platform: Option<&Platform>,
        report: Report<'_>,
    ) -> Result<Vec<ImageId>, Error> {
        let _pass = self.enter();
        self.or_collect(self.load_all(source, platform, report))
    }

    fn load_all(
        &self,
        source: &mut dyn Read,
        platform: Option<&Platform>,
        report: Report<'_>,
    ) -> Result<Vec<ImageId>, Error> {
        let lease = self.content.lease();
        let mut early = Early::new(self.clone());
        let members = Members::read(source, &self.content, &lease, self.limits, &mut early)?;
        let mut early = early.finish(&lease)?;
        knarr_base::failpoint!("load.read", Error::Failpoint("load.read"));
        let found = self.found(&members, platform, &lease)?;
        let mut ids = Vec::new();
        for image in found {
            self.unpack(&image.layers, &mut early, "Loading layer", report)?;
            knarr_base::failpoint!("load.unpacked", Error::Failpoint("load.unpacked"));
            ids.push(self.finish_load(&image, &lease, report)?);
        }
        Ok(ids)
    }

    fn finish_load(&self, image: &Found, lease: &Lease, report: Report<'_>) -> Result<ImageId, Error> {
        let id = image.config.id();
        lease.hold(&image.config.digest());
        if !self.content.exists(&image.config.digest()) {
            self.content.put(lease, image.config.raw())?;
        }
        let record = ImageRecord {
            layers: image.layers.clone(),
            manifest: image.manifest.clone(),
            index: None,
            parent: None,
            size: self.size_of(&image.layers),
            updated_nanos: now_nanos(),
            facts: None,
        };
        debug_assert_eq!(image.config_size, image.config.raw().len() as u64);
        let shown = image.names.first().map_or_else(|| format!("sha256:{id}"), Reference::familiar);
        let event = Event::now("image", "load", &format!("sha256:{id}")).with("name", shown);
        let moved = self.commit_image(&id, &record, &image.names, Some(event), lease)?;
        for (name, before) in moved {
            report(Progress::Stream(format!(
                "The image {} already exists, renaming the old one with ID sha256:{before} to empty string\n",
                name.familiar()
            )));
        }
        if image.names.is_empty() {
            report(Progress::Stream(format!("Loaded image ID: sha256:{id}\n")));
        }
        for name in &image.names {
            report(Progress::Stream(format!("Loaded image: {}\n", name.familiar())));
        }
        Ok(id)
    }

    pub(crate) fn size_of(&self, layers: &[LayerRef]) -> u64 {
        layers.iter().filter_map(|l| self.layers.meta(&l.diff_id).ok()).map(|m| m.size).sum()
    }

    fn found(
        &self,
        members: &Members,
        platform: Option<&Platform>,
        lease: &Lease,
    ) -> Result<Vec<Found>, Error> {
        let saved = if members.has("manifest.json") { self.saved_images(members)? } else { Vec::new() };
        let mut found = if members.has("index.json") {
            self.layout_images(members, platform)?
        } else if saved.is_empty() {
            let reason = "neither manifest.json nor index.json is in it";
            return Err(Error::Archive(reason.to_owned()));
        } else {
            Vec::new()
        };
        let from_index = !found.is_empty();
        for image in saved {
            let bytes = members.document(&image.config, MAX_CONFIG_LEN, &self.content)?;
            let names = image.repo_tags.unwrap_or_default();
            let names: Vec<Reference> =
                names.iter().map(|name| Reference::parse(name)).collect::<Result<_, _>>()?;
            let digest = Digest::sha256(&bytes);
            match found.iter_mut().find(|f| f.config.digest() == digest) {
                Some(known) => add_names(known, names),
                None if platform.is_some() && from_index => {}
                None => {
                    let config = ImageConfig::parse(&bytes)?;
                    if platform.is_some_and(|wanted| !wanted.is_same(&config.platform())) {
                        continue;
                    }
                    let paths = image.layers.unwrap_or_default();
                    found.push(self.saved_image(members, config, &paths, names, lease)?);
                }
            }
        }
        if found.is_empty() {
            let what = platform.map_or_else(String::new, |wanted| format!(" for {wanted}"));
            return Err(Error::Archive(format!("no image{what} is in it")));
        }
        Ok(found)
    }

    fn saved_images(&self, members: &Members) -> Result<Vec<SavedImage>, Error> {
        let bytes = members.document("manifest.json", MAX_MANIFEST_LEN, &self.content)?;
        let images: Vec<SavedImage> =
            serde_json::from_slice(&bytes).map_err(|e| Error::Archive(format!("manifest.json: {e}")))?;
        if images.len() > MAX_INDEX_ENTRIES {
            return Err(Error::Archive(format!("manifest.json has more than {MAX_INDEX_ENTRIES} images")));
        }
        Ok(images)
    }

    /// An image that only `manifest.json` describes.
    fn saved_image(
        &self,
        members: &Members,
        config: ImageConfig,
        layers: &[String],
        names: Vec<Reference>,
        lease: &Lease,
    ) -> Result<Found, Error> {
        check_counts(&config, layers.len())?;
        let mut refs = Vec::new();
        for (diff_id, path) in config.diff_ids().iter().zip(layers) {
            let (digest, size) = members.blob(path, &self.content, lease)?;
            let blob = self.layer_blob(digest, size, lease)?;
            refs.push(LayerRef { diff_id: diff_id.clone(), blob });
        }
        Ok(Found { config_size: config.raw().len() as u64, config, layers: refs, manifest: None, names })
    }

    fn layout_images(&self, members: &Members, platform: Option<&Platform>) -> Result<Vec<Found>, Error> {
        let bytes = members.document("index.json", MAX_MANIFEST_LEN, &self.content)?;
        let Document::Index(index) = Document::parse(&bytes, media_type::OCI_INDEX)? else {
            return Err(Error::Archive("index.json is not an index".to_owned()));
        };
        let mut found: Vec<Found> = Vec::new();
        for descriptor in top_level(&index, platform) {
            let names = names_of(descriptor)?;
            let Some(image) = self.layout_image(members, descriptor, platform, names, 0)? else { continue };
            match found.iter_mut().find(|f| f.config.digest() == image.config.digest()) {
                Some(known) => add_names(known, image.names),
                None => found.push(image),
            }
        }
        Ok(found)
    }

    /// Follows a descriptor to an image; none for what is not an image.
    fn layout_image(
        &self,
        members: &Members,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
        names: Vec<Reference>,
        depth: usize,
    ) -> Result<Option<Found>, Error> {
        if depth > MAX_NESTING {
            return Err(Error::Archive("indexes are nested too deep".to_owned()));
        }
        let path = blob_path(&descriptor.digest);
        let bytes = members.document(&path, MAX_MANIFEST_LEN, &self.content)?;
        if bytes.len() as u64 != descriptor.size {
            return Err(Error::Archive(format!("{path} has another size than its descriptor says")));
        }
        match Document::parse(&bytes, &descriptor.media_type)? {
            Document::Index(index) => match choose(&index, platform, members) {
                Some(chosen) => self.layout_image(members, chosen, platform, names, depth + 1),
                None => Ok(None),
            },
            Document::Manifest(manifest) => {
                if !media_type::is_config(&manifest.config.media_type) {
                    return Ok(None);
                }
                self.layout_manifest(members, descriptor, &manifest, names).map(Some)
            }
        }
    }

    fn layout_manifest(
        &self,
        members: &Members,
        descriptor: &Descriptor,
        manifest: &Manifest,
        names: Vec<Reference>,
    ) -> Result<Found, Error> {
        manifest.check_image()?;
        let path = blob_path(&manifest.config.digest);
        let bytes = members.document(&path, MAX_CONFIG_LEN, &self.content)?;
        let config = ImageConfig::parse(&bytes)?;
        if config.digest() != manifest.config.digest {
            return Err(Error::Archive(format!("{path} is not what its name says")));
        }
        check_counts(&config, manifest.layers.len())?;
        for layer in &manifest.layers {
            if !members.has(&blob_path(&layer.digest)) {
                return Err(Error::Archive(format!("{} is missing", blob_path(&layer.digest))));
            }
        }
        let pairs = config.diff_ids().iter().zip(&manifest.layers);
        let layers = pairs.map(|(diff_id, blob)| LayerRef { diff_id: diff_id.clone(), blob: blob.clone() });
        let media_type = match descriptor.media_type.as_str() {
            "" => media_type::OCI_MANIFEST,
            known => known,
        };
        let own = Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size);
        Ok(Found {
            config_size: bytes.len() as u64,
            layers: layers.collect(),
            config,
            manifest: Some(own),
            names,
        })
    }
}

/// What the top level of a layout offers: every named entry, or, where entries differ by platform alone, the best.
fn top_level<'a>(index: &'a Index, platform: Option<&Platform>) -> Vec<&'a Descriptor> {
    let is_image = |d: &&Descriptor| {
        d.artifact_type.is_none() && !d.annotations.contains_key("vnd.docker.reference.type")
    };
    let named =
        |d: &&Descriptor| d.annotations.contains_key(CONTAINERD_NAME) || d.annotations.contains_key(REF_NAME);
    let all: Vec<&Descriptor> = index.manifests.iter().filter(is_image).collect();
    let by_platform = all.len() > 1 && all.iter().all(|d| d.platform.is_some() && !named(d));
    if by_platform {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        return index.select(&wanted, platform.is_some()).into_iter().collect();
    }
    match platform {
        Some(wanted) => {
            all.into_iter().filter(|d| d.platform.as_ref().is_none_or(|p| wanted.is_same(p))).collect()
        }
        None => all,
    }
}

/// The best entry of an index for this machine; else, if none was asked for, the first that is in the archive.
fn choose<'a>(index: &'a Index, platform: Option<&Platform>, members: &Members) -> Option<&'a Descriptor> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let chosen = index.select(&wanted, platform.is_some()).filter(|d| members.has(&blob_path(&d.digest)));
    if platform.is_some() {
        return chosen;
    }
    chosen.or_else(|| {
        let mut real =
            index.manifests.iter().filter(|d| !d.platform.as_ref().is_some_and(Platform::is_unknown));
        real.find(|d| members.has(&blob_path(&d.digest)))
    })
}

/// Names that a descriptor's annotations give. A bare tag names no image.
fn names_of(descriptor: &Descriptor) -> Result<Vec<Reference>, Error> {
    if let Some(name) = descriptor.annotations.get(CONTAINERD_NAME) {
        return Ok(vec![Reference::parse(name)?]);
    }
    match descriptor.annotations.get(REF_NAME) {
        Some(name) if name.contains([':', '/']) => Ok(vec![Reference::parse(name)?]),
        _ => Ok(Vec::new()),
    }
}

fn add_names(image: &mut Found, names: Vec<Reference>) {
    for name in names {
        if !image.names.contains(&name) {
            image.names.push(name);
        }
    }
}

pub(crate) fn check_counts(config: &ImageConfig, layers: usize) -> Result<(), Error> {
    let diff_ids = config.diff_ids().len();
    if diff_ids != layers {
        let reason = format!("invalid manifest, layers length mismatch: expected {diff_ids}, got {layers}");
        return Err(Error::Archive(reason));
    }
    if layers > MAX_LAYERS {
        return Err(Error::Archive(format!("more than {MAX_LAYERS} layers")));
    }
    Ok(())
}
