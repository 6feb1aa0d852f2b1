//! Rows of the image service.
//!
//! `images`: key is the image id. `references`: key is the full reference, `docker.io/library/nginx:latest` for a tag or
//! `docker.io/library/nginx@sha256:...` for a digest under which a registry knows the image. `layers`: key is the diff id;
//! counts the images that use the layer, in the transaction that adds or removes the image.
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, ImageConfig};
use knarr_state::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageRecord {
    /// Layers, bottom first.
    pub layers: Vec<LayerRef>,
    /// The manifest as it came, if it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Descriptor>,
    /// The index that the manifest was chosen from, if it came by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Descriptor>,
    /// The image that this one was committed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ImageId>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Nanoseconds since the epoch at which the image came here or was tagged last.
    pub updated_nanos: i64,
    /// What lists show of the configuration. Filled in when the row is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// What lists show of an image's configuration, so that they need not read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_nanos: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub config_size: u64,
}

impl Facts {
    pub(crate) fn of(config: &ImageConfig) -> Self {
        let platform = config.platform();
        Self {
            created_nanos: created_nanos(config),
            labels: config.config.labels.clone(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config_size: config.raw().len() as u64,
        }
    }
}

/// Nanoseconds since the epoch at which the image was built; none if its configuration does not say.
pub(crate) fn created_nanos(config: &ImageConfig) -> Option<i64> {
    let time: jiff::Timestamp = config.created.as_deref()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// One layer of an image: its tree and the blob that it came as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerRef {
    pub diff_id: Digest,
    pub blob: Descriptor,
}

impl Record for ImageRecord {
    const TABLE: &'static str = "images";
}

impl ImageRecord {
    /// Digests of all blobs that the image needs.
    pub(crate) fn blobs(&self, id: &ImageId) -> Vec<Digest> {
        let mut blobs = vec![Digest::of_image(id)];
        blobs.extend(self.manifest.as_ref().map(|m| m.digest.clone()));
        blobs.extend(self.index.as_ref().map(|index| index.digest.clone()));
        blobs.extend(self.layers.iter().map(|layer| layer.blob.digest.clone()));
        blobs
    }
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferenceRecord {
    pub image: ImageId,
}

impl Record for ReferenceRecord {
    const TABLE: &'static str = "references";
}

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerRecord {
    /// Bytes of all regular files.
    pub size: u64,
    /// Images that use it.
    pub images: u64,
}

impl Record for LayerRecord {
    const TABLE: &'static str = "layers";
}

/// What is known of an unpacked layer's tree: key is the diff id. A row of this kind may be lost: it is made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TreeRecord {
    /// Bytes of its blocks, with its directories and its facts.
    pub disk: u64,
    /// Over the facts of its inodes at the time when its content was last compared with its blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Digest>,
    /// The same soon after it was unpacked: nobody read it since, but what was written was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Digest>,
}

impl TreeRecord {
    /// Of a layer that was compared when it was like this.
    pub(crate) fn compared(measure: knarr_snapshot::Measure) -> Self {
        Self { disk: measure.disk, seal: Some(measure.seal.clone()), made: Some(measure.seal) }
    }
}

impl Record for TreeRecord {
    const TABLE: &'static str = "layer_trees";
}

/// When an image was used last: pulled, loaded, or made a container of. Key is the image id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UseRecord {
    pub used_nanos: i64,
}

impl Record for UseRecord {
    const TABLE: &'static str = "image_uses";
}

/// A pull that has not come to its end: key is the reference. Holds what arrived for the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PullRecord {
    pub blobs: Vec<Digest>,
    pub layers: Vec<Digest>,
    pub started_nanos: i64,
}

impl Record for PullRecord {
    const TABLE: &'static str = "pulls";
}
