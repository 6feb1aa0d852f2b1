//! `tag`, and the rules by which an image loses its names and goes.
//!
//! Invariants: names and image go in one transaction, data after it; a conflict leaves everything as it was.
use crate::error::Error;
use crate::index::Listed;
use crate::record::{ImageRecord, LayerRecord, ReferenceRecord, UseRecord};
use crate::service::{Images, now_nanos, set_reference};
use knarr_base::{ContainerId, ImageId};
use knarr_oci::digest::Digest;
use knarr_oci::reference::Reference;
use knarr_state::{Event, WriteTx};
use std::collections::HashSet;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    pub container: ContainerId,
    pub running: bool,
}

/// Tells which containers use an image.
pub type InUse<'a> = &'a dyn Fn(&ImageId) -> Vec<ImageUse>;

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    /// The id of an image or of a layer.
    Deleted(String),
}

/// All rows that the rules look at.
struct Rows {
    references: Vec<(Reference, ImageId)>,
    images: Vec<(ImageId, ImageRecord)>,
}

impl Rows {
    fn read(tx: &WriteTx<'_>) -> Result<Self, Error> {
        let references = tx.list::<ReferenceRecord>()?.into_iter();
        let images = tx.list::<ImageRecord>()?.into_iter();
        Ok(Self {
            references: references
                .filter_map(|(key, row)| Some((Reference::parse_name(&key).ok()?, row.image)))
                .collect(),
            images: images.filter_map(|(key, row)| Some((ImageId::parse(&key).ok()?, row))).collect(),
        })
    }
    fn names(&self, id: &ImageId) -> Vec<Reference> {
        self.references.iter().filter(|(_, image)| image == id).map(|(name, _)| name.clone()).collect()
    }
    fn has_children(&self, id: &ImageId) -> bool {
        self.images.iter().any(|(_, record)| record.parent.as_ref() == Some(id))
    }
    fn record(&self, id: &ImageId) -> Option<&ImageRecord> {
        self.images.iter().find(|(other, _)| other == id).map(|(_, record)| record)
    }
}

/// Why an image stays.
struct Conflict {
    hard: bool,
    used: bool,
    message: String,
}

impl Conflict {
    fn error(&self, id: &ImageId) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::Conflict(format!("conflict: unable to delete {} ({force}) - {}", id.short(), self.message))
    }
}

/// Which conflicts count.
#[derive(Clone, Copy)]
struct Checks {
    references: bool,
    stopped: bool,
}

/// One removal in progress.
struct Removal<'t, 's, 'u> {
    tx: &'t mut WriteTx<'s>,
    rows: Rows,
    in_use: InUse<'u>,
    removed: Vec<Removed>,
}

impl Images {
    /// Gives an image one more name: `repository[:tag]`.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), Error> {
        let name = Reference::parse(target)?;
        if name.digest().is_some() {
            return Err(Error::Invalid("refusing to create a tag with a digest reference".to_owned()));
        }
        if name.familiar_name() == "sha256" {
            return Err(Error::Invalid(
                "refusing to create an ambiguous tag using digest algorithm as name".to_owned(),
            ));
        }
        let id = self.find(source)?;
        let done = self.store.write(|tx| {
            let Some(mut record) = tx.get::<ImageRecord>(id.as_str())? else {
                return Err(Error::NotFound(source.to_owned()));
            };
            record.updated_nanos = now_nanos();
            tx.put(id.as_str(), &record)?;
            set_reference(tx, &name, &id)?;
            let event = Event::now("image", "tag", &format!("sha256:{id}"));
            tx.emit(event.with("name", name.familiar()));
            Ok(())
        });
        self.index.changed();
        done
    }

    /// Removes a name, and the image with its last one; or an image by id. `prune` also removes parents that nothing
    /// names or uses any more.
    pub fn remove(
        &self,
        text: &str,
        force: bool,
        prune: bool,
        in_use: InUse<'_>,
    ) -> Result<Vec<Removed>, Error> {
        let id = self.find(text)?;
        let removed = self.store.write(|tx| {
            let rows = Rows::read(tx)?;
            let mut removal = Removal { tx, rows, in_use, removed: Vec::new() };
            removal.run(&id, text, force, prune)?;
            Ok::<_, Error>(removal.removed)
        });
        self.index.changed();
        let removed = removed?;
        knarr_base::failpoint!("remove.committed", Error::Failpoint("remove.committed"));
        if removed.iter().any(|r| matches!(r, Removed::Deleted(_))) {
            self.collect()?;
        }
        Ok(removed)
    }

    /// Removes images that no container uses: those without a tag, or with `all` any. `keep` can save some more.
    /// Returns what went and the bytes that were freed.
    pub fn prune(
        &self,
        all: bool,
        keep: &dyn Fn(&Listed) -> bool,
        in_use: InUse<'_>,
    ) -> Result<(Vec<Removed>, u64), Error> {
        let before = self.disk_size()?;
        let mut removed = Vec::new();
        for image in self.list()?.iter() {
            if !all && !image.is_dangling() || keep(image) || !in_use(&image.id).is_empty() {
                continue;
            }
            removed.extend(self.delete_with(&image.id, in_use)?);
        }
        self.forget_pulls()?;
        self.collect()?;
        Ok((removed, before.saturating_sub(self.disk_size()?)))
    }

    /// Deletes an image with all its names; nothing if others were made from it or a container uses it.
    fn delete_with(&self, id: &ImageId, in_use: InUse<'_>) -> Result<Vec<Removed>, Error> {
        let gone = self.store.write(|tx| {
            let rows = Rows::read(tx)?;
            if rows.has_children(id) || rows.record(id).is_none() {
                return Ok(Vec::new());
            }
            let mut removal = Removal { tx, rows, in_use, removed: Vec::new() };
            removal.delete(id, true, true, true)?;
            Ok::<_, Error>(removal.removed)
        });
        self.index.changed();
        gone
    }

    /// The same for an image that is known to be used by no container. Its parents stay.
    pub(crate) fn delete_unused(&self, id: &ImageId) -> Result<Vec<Removed>, Error> {
        let gone = self.store.write(|tx| {
            let rows = Rows::read(tx)?;
            if rows.has_children(id) || rows.record(id).is_none() {
                return Ok(Vec::new());
            }
            let mut removal = Removal { tx, rows, in_use: &|_| Vec::new(), removed: Vec::new() };
            removal.delete(id, true, false, true)?;
            Ok::<_, Error>(removal.removed)
        });
        self.index.changed();
        gone
    }

    fn disk_size(&self) -> Result<u64, Error> {
        let layers: u64 = self.store.list::<LayerRecord>()?.iter().map(|(_, layer)| layer.size).sum();
        let blobs: u64 = self.content.list()?.iter().map(|(_, size)| size).sum();
        Ok(layers + blobs)
    }
}

impl Removal<'_, '_, '_> {
    fn run(&mut self, id: &ImageId, text: &str, force: bool, prune: bool) -> Result<(), Error> {
        let names = self.rows.names(id);
        let digest = format!("sha256:{id}");
        let by_id = digest.starts_with(text) || id.as_str().starts_with(text);
        if by_id {
            if is_single(&names) {
                let checks = Checks { references: false, stopped: !force };
                if let Some(conflict) = self.conflict(id, checks) {
                    return Err(conflict.error(id));
                }
                for name in &names {
                    self.untag(name, id)?;
                }
            }
            return self.delete(id, force, prune, false);
        }
        if !force
            && is_single(&names)
            && let Some(user) = (self.in_use)(id).first()
        {
            return Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference {text:?} (must force) - container {} is using its \
                 referenced image {}",
                user.container.short(),
                id.short()
            )));
        }
        let name = Reference::parse(text)?;
        let name = match name.digest() {
            Some(digest) => name.with_digest(digest),
            None => name,
        };
        self.untag(&name, id)?;
        if name.digest().is_none() {
            self.untag_digests(&name, id)?;
        }
        if !self.rows.names(id).is_empty() {
            return Ok(());
        }
        self.delete(id, force, prune, true)
    }

    /// With the last tag of a repository its digests go too.
    fn untag_digests(&mut self, name: &Reference, id: &ImageId) -> Result<(), Error> {
        let same: Vec<Reference> =
            self.rows.names(id).into_iter().filter(|n| n.repository() == name.repository()).collect();
        if same.iter().any(|n| n.tag().is_some()) {
            return Ok(());
        }
        for name in same {
            self.untag(&name, id)?;
        }
        Ok(())
    }

    fn untag(&mut self, name: &Reference, id: &ImageId) -> Result<(), Error> {
        self.tx.delete::<ReferenceRecord>(&name.to_string())?;
        self.rows.references.retain(|(other, _)| other != name);
        self.removed.push(Removed::Untagged(name.familiar()));
        self.tx
            .emit(Event::now("image", "untag", &format!("sha256:{id}")).with("name", format!("sha256:{id}")));
        Ok(())
    }

    /// Deletes the image, then with `prune` its parents. `quiet`: a conflict of an image in use is no error.
    fn delete(&mut self, id: &ImageId, force: bool, prune: bool, quiet: bool) -> Result<(), Error> {
        let checks = Checks { references: !force, stopped: !force };
        if let Some(conflict) = self.conflict(id, checks) {
            let dangling = self.rows.names(id).is_empty() && !self.rows.has_children(id);
            return if quiet && (!dangling || conflict.used) { Ok(()) } else { Err(conflict.error(id)) };
        }
        let Some(record) = self.rows.record(id).cloned() else { return Ok(()) };
        for name in self.rows.names(id) {
            self.untag(&name, id)?;
        }
        forget(self.tx, id, &record)?;
        self.rows.images.retain(|(other, _)| other != id);
        self.removed.push(Removed::Deleted(format!("sha256:{id}")));
        self.tx.emit(
            Event::now("image", "delete", &format!("sha256:{id}")).with("name", format!("sha256:{id}")),
        );
        let kept: HashSet<Digest> = self.rows.images.iter().flat_map(|(_, other)| chain_ids(other)).collect();
        let gone = chain_ids(&record).into_iter().rev().filter(|chain| !kept.contains(chain));
        self.removed.extend(gone.map(|chain| Removed::Deleted(chain.to_string())));
        match record.parent {
            Some(parent) if prune => self.delete(&parent, false, true, true),
            _ => Ok(()),
        }
    }

    fn conflict(&self, id: &ImageId, checks: Checks) -> Option<Conflict> {
        let conflict = |hard, used, message: String| Some(Conflict { hard, used, message });
        if self.rows.has_children(id) {
            return conflict(true, false, "image has dependent child images".to_owned());
        }
        let users = (self.in_use)(id);
        if let Some(user) = users.iter().find(|user| user.running) {
            let message = format!("image is being used by running container {}", user.container.short());
            return conflict(true, true, message);
        }
        if checks.references && !self.rows.names(id).is_empty() {
            return conflict(false, false, "image is referenced in multiple repositories".to_owned());
        }
        match users.first() {
            Some(user) if checks.stopped => {
                let message = format!("image is being used by stopped container {}", user.container.short());
                conflict(false, true, message)
            }
            _ => None,
        }
    }
}

/// Takes an image's row and its part in its layers away.
pub(crate) fn forget(tx: &mut WriteTx<'_>, id: &ImageId, record: &ImageRecord) -> Result<(), Error> {
    tx.delete::<ImageRecord>(id.as_str())?;
    tx.delete::<UseRecord>(id.as_str())?;
    for layer in &record.layers {
        let key = layer.diff_id.to_string();
        let Some(mut row) = tx.get::<LayerRecord>(&key)? else { continue };
        row.images = row.images.saturating_sub(1);
        if row.images == 0 {
            tx.delete::<LayerRecord>(&key)?;
        } else {
            tx.put(&key, &row)?;
        }
    }
    Ok(())
}

/// At most one tag, and all names in one repository.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.tag().is_some()).count();
    let repositories: HashSet<Reference> = names.iter().map(Reference::repository).collect();
    names.len() <= 1 || tags <= 1 && repositories.len() == 1
}

/// Names of the layer stacks of an image, bottom first, as Docker computes them.
pub(crate) fn chain_ids(record: &ImageRecord) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::new();
    for layer in &record.layers {
        let chain = match chains.last() {
            None => layer.diff_id.clone(),
            Some(below) => Digest::sha256(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        chains.push(chain);
    }
    chains
}
