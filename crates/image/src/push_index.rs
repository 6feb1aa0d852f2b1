//! Pushing the index that an image was chosen from, byte for byte as it came.
//!
//! An index may go out when the repository has every manifest that it names. The image's own is sent; those of other
//! platforms are usually not here, but the registry may have them: in this repository (a new tag of it), or in another one
//! that the image is known from, from where manifests are copied and their blobs mounted. Invariant: a registry never gets an
//! index with a part missing; one that cannot be completed is left out, and that is told.
use crate::error::Error;
use crate::push::Push;
use crate::service::references_of;
use knarr_base::ImageId;
use knarr_content::Lease;
use knarr_distribution::{Access, Fetched, Repository, Select};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, Document, Index, MAX_MANIFEST_LEN};
use knarr_oci::reference::Reference;

/// Repositories that the rest of an index is looked for in.
const MAX_SOURCES: usize = 3;
/// Manifests of an index that are copied from another repository.
const MAX_COPIES: usize = 64;

/// An index that is here.
pub(crate) struct Known {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
    index: Index,
}

impl Push {
    /// The index, if it is still here.
    pub async fn index(&self, descriptor: &Descriptor, lease: &Lease) -> Result<Option<Known>, Error> {
        lease.hold(&descriptor.digest);
        let (content, descriptor) = (self.images.content.clone(), descriptor.clone());
        crate::pull::blocking(move || {
            let bytes = match content.read(&descriptor.digest, MAX_MANIFEST_LEN) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(digest = %descriptor.digest, %error, "index of the image cannot be read");
                    return Ok(None);
                }
            };
            match Document::parse(&bytes, &descriptor.media_type)? {
                Document::Index(index) => Ok(Some(Known { descriptor, bytes, index })),
                Document::Manifest(_) => Ok(None),
            }
        })
        .await
    }

    /// Whether the repository has every manifest of the index now. `own` has just been sent.
    pub async fn complete(
        &self,
        name: &Reference,
        id: &ImageId,
        known: &Known,
        own: &Descriptor,
    ) -> Result<bool, Error> {
        let mut missing: Vec<&Descriptor> = Vec::new();
        for manifest in &known.index.manifests {
            let asked = manifest.digest != own.digest && !missing.iter().any(|m| m.digest == manifest.digest);
            if asked && !has(&self.repository, &manifest.digest).await? {
                missing.push(manifest);
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        if missing.len() > MAX_COPIES {
            return Ok(false);
        }
        for source in self.elsewhere(name, id, &known.descriptor.digest)? {
            match self.copy(&source, &missing).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                // Not allowed to read there, or not there any more: the image itself has been sent.
                Err(error) => tracing::debug!(%source, %error, "rest of the index not copied"),
            }
        }
        Ok(false)
    }

    /// Other repositories of the registry that the image is known from by this index, as far as we know.
    fn elsewhere(&self, target: &Reference, id: &ImageId, index: &Digest) -> Result<Vec<Reference>, Error> {
        let names = self.images.store.read(|tx| references_of(tx, id))?;
        let elsewhere = |name: &Reference| name.domain() == target.domain() && name.path() != target.path();
        let mut found: Vec<Reference> =
            names.into_iter().filter(|name| elsewhere(name) && name.digest() == Some(index)).collect();
        found.truncate(MAX_SOURCES);
        Ok(found)
    }

    /// Copies manifests within the registry. False when a blob cannot be mounted.
    async fn copy(&self, source: &Reference, manifests: &[&Descriptor]) -> Result<bool, Error> {
        let client = self.images.registries();
        let from = client.repository(source, self.options.credentials.clone(), Access::Pull)?;
        for manifest in manifests {
            let Fetched { bytes, .. } = from.manifest(Select::Digest(&manifest.digest)).await?;
            let Document::Manifest(parsed) = Document::parse(&bytes, &manifest.media_type)? else {
                return Ok(false);
            };
            for blob in parsed.layers.iter().chain([&parsed.config]) {
                if !self.repository.mount_blob(blob, source.path()).await? {
                    return Ok(false);
                }
            }
            let select = Select::Digest(&manifest.digest);
            self.repository.put_manifest(select, &manifest.media_type, &bytes).await?;
        }
        Ok(true)
    }
}

async fn has(repository: &Repository, digest: &Digest) -> Result<bool, Error> {
    match repository.manifest_head(Select::Digest(digest)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
