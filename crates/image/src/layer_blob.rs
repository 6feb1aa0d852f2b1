//! A layer's blob as registries take it: plain, gzip or zstd. What comes as bzip2 or xz, which only archives have, is
//! compressed anew; its digest is nobody's promise, since no manifest named it.
use crate::error::Error;
use crate::service::Images;
use knarr_content::Lease;
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, media_type};
use knarr_snapshot::decompress::{Compression, Decompressor};
use std::io::Read;

/// Fast: somebody waits.
pub(crate) const GZIP_LEVEL: u32 = 3;
const COPY_BUFFER_LEN: usize = 256 << 10;

impl Images {
    /// Descriptor of a blob that is a layer, by its first bytes.
    pub(crate) fn layer_blob(&self, digest: Digest, size: u64, lease: &Lease) -> Result<Descriptor, Error> {
        let mut start = [0; 6];
        let mut len = 0;
        let mut file = self.content.open_blob(&digest)?;
        while len < start.len() {
            match file.read(&mut start[len..]).map_err(Error::io("read", self.content.blob_path(&digest)))? {
                0 => break,
                read => len += read,
            }
        }
        let kind = match Compression::detect(&start[..len]) {
            Compression::None => media_type::OCI_LAYER,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
            Compression::Bzip2 | Compression::Xz => return self.as_gzip(&digest, lease),
        };
        Ok(Descriptor::new(kind, digest, size))
    }

    fn as_gzip(&self, digest: &Digest, lease: &Lease) -> Result<Descriptor, Error> {
        let limit = self.limits.bytes;
        let mut source = Decompressor::new(self.content.open_blob(digest)?)?.take(limit + 1);
        let mut ingest = self.content.create(limit)?;
        let mut gzip = flate2::write::GzEncoder::new(&mut ingest, flate2::Compression::new(GZIP_LEVEL));
        let mut buffer = vec![0; COPY_BUFFER_LEN];
        let mut total = 0;
        loop {
            let read = source.read(&mut buffer);
            let len = read.map_err(|e| Error::Snapshot(knarr_snapshot::Error::Source(e)))?;
            if len == 0 {
                break;
            }
            total += len as u64;
            if total > limit {
                return Err(knarr_snapshot::Error::Limit { what: "bytes", limit }.into());
            }
            std::io::Write::write_all(&mut gzip, &buffer[..len]).map_err(Error::Sink)?;
        }
        gzip.finish().map_err(Error::Sink)?;
        let size = ingest.offset();
        Ok(Descriptor::new(media_type::OCI_LAYER_GZIP, ingest.commit(lease)?, size))
    }
}
