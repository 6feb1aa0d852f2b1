//! The layer between an image and a container: what the engine mounts over, so that starting a container writes nothing
//! into its upper directory, and `diff`, `commit` and `export` show what the container did and nothing else.
//!
//! Its content is Docker's: mount points, empty files for names and resolvers, `/.dockerenv`. Invariant: it is the same for
//! all containers, and is left out where it would change how the image looks (an `/etc` that is not an ordinary directory).
use crate::error::Error;
use crate::service::Images;
use knarr_oci::digest::Digest;
use knarr_snapshot::{Entry, EntryKind, Limits, TarWriter, Whiteouts};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const DIRECTORIES: [&str; 6] = ["dev", "dev/pts", "dev/shm", "etc", "proc", "sys"];
const FILES: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// The layer's tar.
pub(crate) fn tar() -> Result<Vec<u8>, Error> {
    let mut writer = TarWriter::new(Vec::new());
    for path in DIRECTORIES {
        let entry = Entry::new(EntryKind::Directory, path.as_bytes().to_vec(), 0o755, 0, 0);
        writer.entry(&entry, &mut io::empty())?;
    }
    for path in FILES {
        writer
            .entry(&Entry::new(EntryKind::File, path.as_bytes().to_vec(), 0o755, 0, 0), &mut io::empty())?;
    }
    let mut link = Entry::new(EntryKind::Symlink, MTAB.0.as_bytes().to_vec(), 0o777, 0, 0);
    link.link = MTAB.1.as_bytes().to_vec();
    writer.entry(&link, &mut io::empty())?;
    Ok(writer.finish()?)
}

impl Images {
    /// Unpacks the layer if it is not there yet; returns its diff id.
    pub(crate) fn base_layer(layers: &knarr_snapshot::Layers) -> Result<Digest, Error> {
        let tar = tar()?;
        let diff_id = Digest::sha256(&tar);
        if let Some(_claim) = layers.claim(&diff_id) {
            let staged =
                layers.stage(tar.as_slice(), Some(&diff_id), Whiteouts::Overlay, Limits::default())?;
            layers.commit(vec![staged])?;
        }
        Ok(diff_id)
    }
}

/// The topmost `/etc` of these layers (top first) is as the base layer's, or there is none.
pub(crate) fn suits(layers: &[PathBuf]) -> bool {
    let etc = layers.iter().find_map(|layer| fs::symlink_metadata(layer.join("etc")).ok());
    etc.is_none_or(|meta| meta.is_dir() && (meta.mode() & 0o7777, meta.uid(), meta.gid()) == (0o755, 0, 0))
}
