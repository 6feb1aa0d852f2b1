//! An image as others see it.
use crate::record::ImageRecord;
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, ImageConfig};
use knarr_oci::reference::Reference;

/// An image with its configuration and names.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: ImageId,
    pub config: ImageConfig,
    /// `nginx:latest`, as people write it.
    pub repo_tags: Vec<String>,
    /// `nginx@sha256:...`
    pub repo_digests: Vec<String>,
    pub parent: Option<ImageId>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Nanoseconds since the epoch at which the image came here or was tagged last.
    pub updated_nanos: i64,
    pub(crate) record: ImageRecord,
}

impl Image {
    pub(crate) fn new(
        id: ImageId,
        config: ImageConfig,
        record: ImageRecord,
        references: &[Reference],
    ) -> Self {
        let mut repo_tags = Vec::new();
        let mut repo_digests = Vec::new();
        for reference in references {
            if reference.tag().is_some() { &mut repo_tags } else { &mut repo_digests }
                .push(reference.familiar());
        }
        Self {
            id,
            config,
            repo_tags,
            repo_digests,
            parent: record.parent.clone(),
            size: record.size,
            updated_nanos: record.updated_nanos,
            record,
        }
    }

    /// The manifest that the image came with.
    pub fn manifest(&self) -> Option<&Descriptor> {
        self.record.manifest.as_ref()
    }
    /// Diff ids of the layers, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Digest> {
        self.record.layers.iter().map(|layer| &layer.diff_id)
    }
    /// Nanoseconds since the epoch at which the image was built; none if its configuration does not say.
    pub fn created_nanos(&self) -> Option<i64> {
        crate::record::created_nanos(&self.config)
    }
    /// No tag names it.
    pub fn is_dangling(&self) -> bool {
        self.repo_tags.is_empty()
    }
}
