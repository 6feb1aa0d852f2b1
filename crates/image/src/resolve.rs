//! Which image a text means: a name, an id, or the beginning of an id.
use crate::error::Error;
use crate::record::{ImageRecord, ReferenceRecord};
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_oci::reference::{self, Reference};
use knarr_state::ReadTx;

/// Finds the image that `text` means: a full id, else a name, else the beginning of exactly one id.
pub(crate) fn find(tx: &ReadTx, text: &str) -> knarr_state::Result<Option<ImageId>> {
    let full = text.strip_prefix("sha256:").unwrap_or(text);
    if reference::is_identifier(full) {
        if let Ok(id) = ImageId::parse(full)
            && tx.get::<ImageRecord>(id.as_str())?.is_some()
        {
            return Ok(Some(id));
        }
        return Ok(None);
    }
    if let Some(id) = by_name(tx, text)? {
        return Ok(Some(id));
    }
    by_prefix(tx, full)
}

fn by_name(tx: &ReadTx, text: &str) -> knarr_state::Result<Option<ImageId>> {
    let Ok(name) = Reference::parse(text) else { return Ok(None) };
    // With a digest the tag does not count.
    let key = match name.digest() {
        Some(digest) => name.with_digest(digest).to_string(),
        None => name.to_string(),
    };
    if let Some(row) = tx.get::<ReferenceRecord>(&key)? {
        return Ok(Some(row.image));
    }
    Ok(None)
}

fn by_prefix(tx: &ReadTx, prefix: &str) -> knarr_state::Result<Option<ImageId>> {
    if prefix.is_empty() || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let mut found = tx.list_prefix::<ImageRecord>(prefix)?.into_iter();
    match (found.next(), found.next()) {
        (Some((key, _)), None) => Ok(ImageId::parse(&key).ok()),
        _ => Ok(None),
    }
}

/// The error for a text that means no image: what is no name at all is the caller's mistake.
pub(crate) fn not_found(text: &str) -> Error {
    if Digest::parse(text).is_ok() || reference::is_identifier(text) {
        return Error::NotFound(text.to_owned());
    }
    match Reference::parse(text) {
        Ok(name) => Error::NotFound(name.familiar()),
        Err(error) => error.into(),
    }
}
