//! New images: `import` of a root filesystem, `commit` of a container's changes.
//!
//! Invariant: as for every image: blobs and layer are durable before the row.
use crate::error::Error;
use crate::image::Image;
use crate::instruction;
use crate::layer_blob::GZIP_LEVEL;
use crate::progress::{Progress, Report};
use crate::record::{ImageRecord, LayerRef};
use crate::service::{Images, now_nanos};
use knarr_base::ImageId;
use knarr_content::Lease;
use knarr_oci::digest::{Digest, Hasher};
use knarr_oci::image::{
    ContainerConfig, Descriptor, History, ImageConfig, ImageDocument, RootFs, media_type,
};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::{Whiteouts, own};
use knarr_state::Event;
use std::io::{self, Read, Write};

/// Digest of a tar without entries.
const EMPTY_TAR: &[u8] = &[0; 1024];

/// What `import` is to make.
#[derive(Debug, Default)]
pub struct ImportOptions {
    pub name: Option<Reference>,
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    pub platform: Option<Platform>,
}

/// What `commit` is to make.
#[derive(Debug)]
pub struct CommitOptions<'a> {
    /// The image of the container; none for a container from nothing.
    pub parent: Option<&'a ImageId>,
    /// The container's root filesystem.
    pub rootfs: &'a RootfsMount,
    /// Configuration of the new image, before the changes.
    pub config: ContainerConfig,
    /// Dockerfile instructions.
    pub changes: &'a [String],
    pub author: String,
    pub message: String,
    /// The container's command, for the history.
    pub created_by: String,
    pub name: Option<Reference>,
}

impl Images {
    /// Makes an image of a root filesystem's tar: plain, or compressed in any way that Docker reads.
    pub fn import(
        &self,
        source: &mut dyn Read,
        options: &ImportOptions,
        report: Report<'_>,
    ) -> Result<ImageId, Error> {
        let _pass = self.enter();
        self.or_collect(self.import_one(source, options, report))
    }

    fn import_one(
        &self,
        source: &mut dyn Read,
        options: &ImportOptions,
        report: Report<'_>,
    ) -> Result<ImageId, Error> {
        let lease = self.content.lease();
        let mut config = ContainerConfig::default();
        instruction::apply(&mut config, &options.changes)?;
        let mut ingest = self.content.create(self.limits.bytes)?;
        ingest.append_from(source)?;
        let size = ingest.offset();
        let blob = self.layer_blob(ingest.commit(&lease)?, size, &lease)?;
        let layer = self.store_layer(blob, None)?;
        knarr_base::failpoint!("import.unpacked", Error::Failpoint("import.unpacked"));
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let created = now();
        let document = ImageDocument {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            created: Some(created.clone()),
            comment: (!options.message.is_empty()).then(|| options.message.clone()),
            config,
            history: vec![History {
                created: Some(created),
                comment: options.message.clone(),
                ..History::default()
            }],
            rootfs: RootFs { diff_ids: vec![layer.diff_id.clone()], ..RootFs::default() },
            ..ImageDocument::default()
        };
        let id =
            self.store_image(document, vec![layer], None, options.name.as_ref(), Some("import"), &lease)?;
        report(Progress::line(format!("sha256:{id}")));
        Ok(id)
    }

    /// Makes an image of what a container changed.
    pub fn commit(&self, options: &CommitOptions<'_>) -> Result<ImageId, Error> {
        let _pass = self.enter();
        self.or_collect(self.commit_one(options))
    }

    fn commit_one(&self, options: &CommitOptions<'_>) -> Result<ImageId, Error> {
        let lease = self.content.lease();
        let mut config = options.config.clone();
        instruction::apply(&mut config, options.changes)?;
        let parent = options.parent.map(|id| self.get(id)).transpose()?;
        let layer = self.diff_layer(options.rootfs, &lease)?;
        knarr_base::failpoint!("commit.unpacked", Error::Failpoint("commit.unpacked"));
        let mut document = document_after(parent.as_ref());
        let created = now();
        document.created = Some(created.clone());
        document.author = (!options.author.is_empty()).then(|| options.author.clone());
        document.comment = (!options.message.is_empty()).then(|| options.message.clone());
        document.config = config;
        document.history.push(History {
            created: Some(created),
            created_by: options.created_by.clone(),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: layer.is_none(),
        });
        let mut layers = parent.as_ref().map_or_else(Vec::new, |image| image.record.layers.clone());
        if let Some(layer) = layer {
            document.rootfs.diff_ids.push(layer.diff_id.clone());
            layers.push(layer);
        }
        let parent = parent.map(|image| image.id);
        self.store_image(document, layers, parent, options.name.as_ref(), None, &lease)
    }

    /// What a container changed as a compressed layer, stored and unpacked; none if nothing was changed.
    fn diff_layer(&self, rootfs: &RootfsMount, lease: &Lease) -> Result<Option<LayerRef>, Error> {
        let mut ingest = self.content.create(self.limits.bytes)?;
        let diff_id = {
            let gzip = flate2::write::GzEncoder::new(&mut ingest, flate2::Compression::new(GZIP_LEVEL));
            let Hashing { sink, hasher } =
                own::layer(rootfs, Hashing { sink: gzip, hasher: Hasher::sha256() })?;
            sink.finish().map_err(Error::Sink)?;
            hasher.finish()
        };
        if diff_id == Digest::sha256(EMPTY_TAR) {
            return Ok(None);
        }
        let size = ingest.offset();
        let blob = Descriptor::new(media_type::OCI_LAYER_GZIP, ingest.commit(lease)?, size);
        self.store_layer(blob, Some(&diff_id)).map(Some)
    }

    /// Unpacks a blob as a layer. The diff id is found out if it is not known.
    fn store_layer(&self, blob: Descriptor, diff_id: Option<&Digest>) -> Result<LayerRef, Error> {
        let source = self.content.open_blob(&blob.digest)?;
        let staged = self.layers.stage(source, diff_id, Whiteouts::Overlay, self.limits)?;
        let diff_id = staged.meta.diff_id.clone();
        self.layers.commit(vec![staged])?;
        Ok(LayerRef { diff_id, blob })
    }

    fn store_image(
        &self,
        document: ImageDocument,
        layers: Vec<LayerRef>,
        parent: Option<ImageId>,
        name: Option<&Reference>,
        event: Option<&str>,
        lease: &Lease,
    ) -> Result<ImageId, Error> {
        let config = ImageConfig::new(document)?;
        self.content.put(lease, config.raw())?;
        let id = config.id();
        let record = ImageRecord {
            size: self.size_of(&layers),
            layers,
            manifest: None,
            index: None,
            parent,
            updated_nanos: now_nanos(),
            facts: None,
        };
        let names: Vec<Reference> = name.into_iter().cloned().collect();
        let whole = format!("sha256:{id}");
        let event = event.map(|action| Event::now("image", action, &whole).with("name", whole.clone()));
        self.commit_image(&id, &record, &names, event, lease)?;
        Ok(id)
    }
}

/// What an image takes over from the one that it is made from.
fn document_after(parent: Option<&Image>) -> ImageDocument {
    match parent {
        Some(image) => image.config.document().clone(),
        None => {
            let host = Platform::host();
            ImageDocument {
                architecture: host.architecture,
                os: host.os,
                variant: host.variant,
                ..ImageDocument::default()
            }
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Hashes what is written.
struct Hashing<W> {
    sink: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        Ok(len)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
