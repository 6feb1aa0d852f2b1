//! `system check --repair`: what was found is made whole again, from the nearest source that can be believed.
//!
//! A blob comes from the registry that an image is known from by digest; a layer's tree from its blob; a row from manifest and
//! configuration. Invariant: nothing whole is given up for something that is not; what running containers stand on is left;
//! what cannot be repaired is out of the way, so that a pull or a load brings it anew.
use crate::check::{BadBlob, BadLayer, Finding, Found, NeededBlob, Outcome, Rows, Subject, counts};
use crate::error::Error;
use crate::record::{Facts, ImageRecord, LayerRecord, LayerRef, ReferenceRecord, TreeRecord};
use crate::service::{Images, add_layer, now_nanos};
use crate::standing::Standing;
use knarr_base::ImageId;
use knarr_distribution::{Access, Select};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, Document, ImageConfig, MAX_CONFIG_LEN, MAX_MANIFEST_LEN};
use knarr_oci::reference::Reference;
use knarr_state::{Event, Record};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// How long what was put aside is kept.
const QUARANTINE_SECONDS: i64 = 30 * 24 * 3600;

impl Images {
    /// Where damaged blobs lie that could not be brought again.
    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.data_root.join("quarantine")
    }

    /// Removes what was put aside long ago. For the start of an engine.
    pub(crate) fn sweep_quarantine(&self) {
        let now = now_nanos() / 1_000_000_000;
        for entry in fs::read_dir(self.quarantine_dir()).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|meta| now - meta.ctime() > QUARANTINE_SECONDS) {
                self.layers.trash().discard(&entry.path());
            }
        }
    }

    pub(crate) fn repair_found(&self, found: &mut Found, standing: &Standing) -> Result<(), Error> {
        self.repair_rows(found)?;
        let damaged_blobs = std::mem::take(&mut found.bad_blobs);
        for (blob, problem) in &damaged_blobs {
            let outcome = self.repair_blob(blob, problem, &found.rows);
            found.add(Subject::Blob, blob, problem.to_string(), outcome);
        }
        for bad in std::mem::take(&mut found.bad_layers) {
            let (layer, problem) = (bad.layer.clone(), bad.problem.clone());
            let outcome = self.repair_layer(bad, &found.rows, standing);
            found.add(Subject::Layer, &layer, problem, outcome);
        }
        standing.alone(|_| self.drop_unusable(found))?;
        self.index.changed();
        Ok(())
    }

    fn repair_rows(&self, found: &mut Found) -> Result<(), Error> {
        let quarantined = self.store.quarantined()?;
        for row in &quarantined {
            let object = format!("{}/{}", row.table, row.key);
            let Some(finding) = found.report.findings.iter_mut().find(|f| f.object == object) else {
                continue;
            };
            finding.outcome = if row.table == ImageRecord::TABLE {
                match ImageId::parse(&row.key).ok().map(|id| self.rebuild(&id)) {
                    Some(Ok(())) => {
                        Outcome::Repaired("made again from manifest and configuration".to_owned())
                    }
                    Some(Err(error)) => Outcome::Removed(format!("{error}: pull or load the image again")),
                    None => Outcome::Removed(String::new()),
                }
            } else if row.table == ReferenceRecord::TABLE {
                Outcome::Removed("tag or pull the image again".to_owned())
            } else if [LayerRecord::TABLE, TreeRecord::TABLE].contains(&row.table.as_str()) {
                Outcome::Repaired("counted again".to_owned())
            } else {
                // Of containers, volumes, networks: not ours to judge.
                Outcome::Left("remove what it is about, or make it anew".to_owned())
            };
            if !matches!(finding.outcome, Outcome::Left(_)) {
                self.store.forget_quarantined(row)?;
            }
        }
        // An image that is there again counts.
        found.rows = self.rows_again()?;
        let crooked = self.crooked_rows(&found.rows)?;
        self.store.write(|tx| {
            // As they are now: images come and go while a check is under way.
            let images = tx.list::<ImageRecord>()?;
            let counted = counts(images.iter().map(|(_, record)| record));
            let known: HashSet<ImageId> =
                images.iter().filter_map(|(key, _)| ImageId::parse(key).ok()).collect();
            for (key, row) in tx.list::<ReferenceRecord>()? {
                if !known.contains(&row.image) {
                    tx.delete::<ReferenceRecord>(&key)?;
                }
            }
            for (key, _) in tx.list::<LayerRecord>()? {
                if !Digest::parse(&key).is_ok_and(|digest| counted.contains_key(&digest)) {
                    tx.delete::<LayerRecord>(&key)?;
                }
            }
            for (layer, images) in &counted {
                let key = layer.to_string();
                let size = tx.get::<LayerRecord>(&key)?.map_or(0, |row| row.size);
                let size = if size > 0 { size } else { self.layers.meta(layer).map_or(0, |meta| meta.size) };
                tx.put(&key, &LayerRecord { size, images: *images })?;
            }
            Ok::<_, Error>(())
        })?;
        let crooked: HashSet<String> = crooked.into_iter().map(|(object, _)| object).collect();
        for finding in &mut found.report.findings {
            if finding.outcome == Outcome::Found && finding.subject == Subject::Record {
                finding.outcome =
                    if crooked.contains(&finding.object) && finding.object.starts_with("references/") {
                        Outcome::Removed("pull or load the image again".to_owned())
                    } else {
                        Outcome::Repaired("counted again".to_owned())
                    };
            }
        }
        Ok(())
    }

    /// An image's row from its configuration and the manifest that names it.
    fn rebuild(&self, id: &ImageId) -> Result<(), Error> {
        let digest = Digest::of_image(id);
        let config = ImageConfig::parse(&self.content.read(&digest, MAX_CONFIG_LEN)?)?;
        for (blob, size) in self.content.list()? {
            if size > MAX_MANIFEST_LEN as u64 {
                continue;
            }
            let Ok(bytes) = self.content.read(&blob, MAX_MANIFEST_LEN) else { continue };
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, "") else { continue };
            if manifest.config.digest != digest || manifest.layers.len() != config.diff_ids().len() {
                continue;
            }
            let pairs = config.diff_ids().iter().zip(&manifest.layers);
            let layers: Vec<LayerRef> = pairs
                .map(|(diff_id, blob)| LayerRef { diff_id: diff_id.clone(), blob: blob.clone() })
                .collect();
            let media_type = match manifest.media_type.as_str() {
                "" => knarr_oci::image::media_type::OCI_MANIFEST.to_owned(),
                kind => kind.to_owned(),
            };
            let record = ImageRecord {
                size: self.size_of(&layers),
                layers,
                manifest: Some(Descriptor::new(&media_type, blob, size)),
                index: None,
                parent: None,
                updated_nanos: now_nanos(),
                facts: Some(Facts::of(&config)),
            };
            return self.store.write(|tx| {
                for layer in &record.layers {
                    let size = self.layers.meta(&layer.diff_id).map_or(0, |meta| meta.size);
                    add_layer(tx, &layer.diff_id, size)?;
                }
                tx.put(id.as_str(), &record)?;
                Ok(())
            });
        }
        Err(Error::Missing("no manifest names it".to_owned()))
    }

    fn rows_again(&self) -> Result<Rows, Error> {
        self.read_rows(&mut crate::check::CheckReport::default())
    }

    fn repair_blob(&self, blob: &Digest, problem: &BadBlob, rows: &Rows) -> Outcome {
        let Some(needed) = rows.blobs.get(blob) else { return Outcome::Removed(String::new()) };
        if let BadBlob::Unreadable(_) = problem {
            return Outcome::Left(
                "it may be whole: see what the kernel says about the disk, then check again".to_owned(),
            );
        }
        let path = self.content.blob_path(blob);
        // A pull may have brought it again since it was looked at.
        let there = match self.content.verify(blob) {
            Ok(()) => return Outcome::Repaired("it came again meanwhile".to_owned()),
            Err(knarr_content::Error::DigestMismatch { .. }) => true,
            Err(knarr_content::Error::NotFound(_)) => false,
            Err(error) => return Outcome::Left(error.to_string()),
        };
        let aside = self.quarantine_dir().join(format!("{}-{}", blob.algorithm().name(), blob.hex()));
        if there {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(self.quarantine_dir());
            if let Err(error) = made.and_then(|()| fs::rename(&path, &aside)) {
                return Outcome::Left(format!("not put aside: {error}"));
            }
        }
        let mut reasons = Vec::new();
        for source in self.known_from(&needed.users) {
            match self.fetch_again(&source, blob, needed) {
                Ok(()) => {
                    self.layers.trash().discard(&aside);
                    return Outcome::Repaired(format!("fetched from {}", source.familiar_name()));
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let why = match reasons.pop() {
            Some(why) => why,
            None => "no registry is known that has it".to_owned(),
        };
        if needed.is_document {
            return Outcome::Left(why);
        }
        let what = "containers still run, but the image cannot be saved or pushed until it is pulled or loaded again";
        if there {
            Outcome::Quarantined(format!("{why}; {what}"))
        } else {
            Outcome::Left(format!("{why}; {what}"))
        }
    }

    /// Registries' names, by digest, of these images.
    fn known_from(&self, images: &BTreeSet<ImageId>) -> Vec<Reference> {
        let rows = self.store.list::<ReferenceRecord>().unwrap_or_default().into_iter();
        let of_these = rows.filter(|(_, row)| images.contains(&row.image));
        of_these
            .filter_map(|(key, _)| Reference::parse_name(&key).ok())
            .filter(|reference| reference.digest().is_some())
            .collect()
    }

    /// On a thread that may block.
    fn fetch_again(&self, source: &Reference, blob: &Digest, needed: &NeededBlob) -> Result<(), Error> {
        let lease = Arc::new(self.content.lease());
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| Error::Task(e.to_string()))?;
        let repository = self.registries().repository(source, None, Access::Pull)?;
        let size = match needed.size {
            Some(_) if needed.is_document => {
                let fetched = runtime.block_on(repository.manifest(Select::Digest(blob)))?;
                if fetched.descriptor.digest != *blob {
                    return Err(Error::Missing("the registry gives another manifest".to_owned()));
                }
                self.content.put(&lease, &fetched.bytes)?;
                return Ok(());
            }
            Some(size) => size,
            // Of a configuration only the manifest says it.
            None => {
                let size = runtime.block_on(repository.blob_size(blob))?;
                size.ok_or_else(|| Error::Missing("the registry does not have it".to_owned()))?
            }
        };
        let blob = Descriptor::new("", blob.clone(), size);
        Ok(runtime.block_on(repository.fetch_blob(&blob, &self.content, &lease, &|_, _| ()))?)
    }

    fn repair_layer(&self, bad: BadLayer, rows: &Rows, standing: &Standing) -> Outcome {
        let BadLayer { layer, staged, .. } = bad;
        let staged = match staged.map_or_else(|| self.stage_again(&layer, rows.layers.get(&layer)), Ok) {
            Ok(staged) => staged,
            Err(error) => return Outcome::Left(error.to_string()),
        };
        match self.replace_layer(&layer, staged, standing) {
            Ok(true) => Outcome::Repaired("unpacked again".to_owned()),
            Ok(false) => Outcome::Left("running containers stand on it: stop them, then repair".to_owned()),
            Err(error) => Outcome::Left(error.to_string()),
        }
    }

    /// An image without its configuration is none.
    fn drop_unusable(&self, found: &mut Found) -> Result<(), Error> {
        for (id, _) in found.rows.images.clone() {
            // Only what is gone for sure is lost.
            match self.content.size(&Digest::of_image(&id)) {
                Err(knarr_content::Error::NotFound(_)) => {}
                _ => continue,
            }
            let names = found.rows.names.get(&id).cloned().unwrap_or_default();
            let gone = self.store.write(|tx| {
                // As it is now: it may have been removed meanwhile.
                let Some(record) = tx.get::<ImageRecord>(id.as_str())? else { return Ok(false) };
                for (key, row) in tx.list::<ReferenceRecord>()? {
                    if row.image == id {
                        tx.delete::<ReferenceRecord>(&key)?;
                    }
                }
                crate::names::forget(tx, &id, &record)?;
                let whole = format!("sha256:{id}");
                tx.emit(Event::now("image", "delete", &whole).with("name", whole.clone()));
                Ok::<_, Error>(true)
            })?;
            if !gone {
                continue;
            }
            found.report.findings.push(Finding {
                subject: Subject::Image,
                object: format!("sha256:{id}"),
                problem: "its configuration is lost".to_owned(),
                orphan: false,
                used_by: names,
                outcome: Outcome::Removed("pull or load it again; its containers go on".to_owned()),
            });
        }
        // Of a configuration or manifest that went with its image nothing is left to repair.
        for finding in &mut found.report.findings {
            if finding.subject == Subject::Blob
                && let Outcome::Left(why) = &finding.outcome
                && Digest::parse(&finding.object).is_ok_and(|digest| !self.is_needed(&digest))
            {
                finding.outcome = Outcome::Quarantined(why.clone());
            }
        }
        Ok(())
    }

    fn is_needed(&self, blob: &Digest) -> bool {
        let images = self.store.list::<ImageRecord>().unwrap_or_default();
        images
            .iter()
            .any(|(key, record)| ImageId::parse(key).is_ok_and(|id| record.blobs(&id).contains(blob)))
    }
}
