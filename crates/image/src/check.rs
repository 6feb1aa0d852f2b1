//! `system check`: whether all that the rows say is there and is what it is to be.
//!
//! Blobs are hashed. A layer's tree is compared with one that is unpacked anew from the layer's blob; after that its seal
//! (crate `snapshot`, `measure`) says whether anything touched it since, so that later checks read no file unless they are
//! to be deep. Invariant: without `repair` nothing is changed but seals; collection waits while a check is under way.
use crate::error::Error;
use crate::parallel::in_parallel;
use crate::record::{ImageRecord, LayerRecord, LayerRef, PullRecord, ReferenceRecord, TreeRecord};
use crate::service::Images;
use crate::standing::Standing;
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use knarr_snapshot::{Limits, Staged, Whiteouts};
use knarr_state::Record;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a check is to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Compare every layer, also those that nothing touched since they were compared last.
    pub deep: bool,
    pub repair: bool,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Record,
    Blob,
    Layer,
    Image,
}

impl Subject {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Blob => "blob",
            Self::Layer => "layer",
            Self::Image => "image",
        }
    }
}

/// What became of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be repaired.
    Found,
    Repaired(String),
    Removed(String),
    /// Put aside, out of everybody's way.
    Quarantined(String),
    /// It could not be repaired: why, and what to do.
    Left(String),
}

/// Something that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: Subject,
    /// Digest, or table and key.
    pub object: String,
    pub problem: String,
    /// Nobody owns it: space is lost, nothing else.
    pub orphan: bool,
    /// Names or ids of the images that need it.
    pub used_by: Vec<String>,
    pub outcome: Outcome,
}

/// What a check looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub records: u64,
    pub images: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    pub layers: u64,
    /// Layers whose files were read; the others are as they were when that was done last.
    pub layers_compared: u64,
    pub findings: Vec<Finding>,
}

/// A blob that the rows name.
#[derive(Debug, Clone)]
pub(crate) struct NeededBlob {
    pub size: Option<u64>,
    pub users: BTreeSet<ImageId>,
    /// The configuration or the manifest of an image.
    pub is_document: bool,
}

/// All that the rows name.
pub(crate) struct Rows {
    pub images: Vec<(ImageId, ImageRecord)>,
    pub names: BTreeMap<ImageId, Vec<String>>,
    pub blobs: BTreeMap<Digest, NeededBlob>,
    /// Layers of images, and how they came.
    pub layers: BTreeMap<Digest, LayerRef>,
    /// Of pulls that have not come to their end.
    kept: HashSet<Digest>,
}

impl Rows {
    fn shown(&self, users: &BTreeSet<ImageId>) -> Vec<String> {
        let name = |id: &ImageId| match self.names.get(id).and_then(|names| names.first()) {
            Some(name) => name.clone(),
            None => format!("sha256:{}", id.short()),
        };
        users.iter().map(name).collect()
    }

    pub(crate) fn users_of_layer(&self, layer: &Digest) -> Vec<String> {
        let uses = |record: &ImageRecord| record.layers.iter().any(|l| l.diff_id == *layer);
        self.shown(&self.images.iter().filter(|(_, r)| uses(r)).map(|(id, _)| id.clone()).collect())
    }

    pub(crate) fn users_of_blob(&self, blob: &Digest) -> Vec<String> {
        self.blobs.get(blob).map(|needed| self.shown(&needed.users)).unwrap_or_default()
    }
}

/// A blob that is not as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadBlob {
    Missing,
    Damaged(String),
    /// It may be whole: the disk, or this process's limits, did not let it be read.
    Unreadable(String),
}

impl std::fmt::Display for BadBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Damaged(how) => f.write_str(how),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// A layer that is not what its blob says.
pub(crate) struct BadLayer {
    pub layer: Digest,
    pub problem: String,
    /// What is to be in its place, unpacked already.
    pub staged: Option<Staged>,
}

/// What a look at one layer showed.
enum Looked {
    /// Nothing touched it since it was compared.
    Untouched,
    Same(TreeRecord),
    Bad(BadLayer),
}

/// What was found, before anything is done about it.
pub(crate) struct Found {
    pub report: CheckReport,
    pub rows: Rows,
    pub bad_blobs: BTreeMap<Digest, BadBlob>,
    pub bad_layers: Vec<BadLayer>,
}

impl Images {
    /// Checks rows, blobs and layers. Containers are made and started meanwhile; `standing` keeps them out for each repair
    /// alone.
    pub fn check(&self, options: CheckOptions, standing: &Standing) -> Result<CheckReport, Error> {
        let pass = self.enter();
        let mut found = self.look(options)?;
        if options.repair {
            self.repair_found(&mut found, standing)?;
        } else {
            found.tell();
        }
        let mut report = found.report;
        drop(pass);
        if options.repair {
            self.collect()?;
            for orphan in report.findings.iter_mut().filter(|finding| finding.orphan) {
                orphan.outcome = self.after_collection(orphan);
            }
        }
        report.findings.sort_by(|a, b| (a.subject, &a.object).cmp(&(b.subject, &b.object)));
        Ok(report)
    }

    fn after_collection(&self, orphan: &Finding) -> Outcome {
        let Ok(digest) = Digest::parse(&orphan.object) else { return orphan.outcome.clone() };
        let gone = match orphan.subject {
            Subject::Blob => !self.content.exists(&digest),
            Subject::Layer => !self.layers.exists(&digest),
            _ => return orphan.outcome.clone(),
        };
        if gone { Outcome::Removed(String::new()) } else { Outcome::Left("it is in use again".to_owned()) }
    }

    fn look(&self, options: CheckOptions) -> Result<Found, Error> {
        let mut report = CheckReport::default();
        let rows = self.read_rows(&mut report)?;
        let mut found = Found { report, rows, bad_blobs: BTreeMap::new(), bad_layers: Vec::new() };
        self.look_at_rows(&mut found)?;
        self.look_at_blobs(&mut found)?;
        self.look_at_layers(&mut found, options)?;
        Ok(found)
    }

    pub(crate) fn read_rows(&self, report: &mut CheckReport) -> Result<Rows, Error> {
        let (images, references, pulls) = self.store.read(|tx| {
            Ok((tx.list::<ImageRecord>()?, tx.list::<ReferenceRecord>()?, tx.list::<PullRecord>()?))
        })?;
        report.images = images.len() as u64;
        report.records = (images.len() + references.len() + pulls.len()) as u64;
        let mut names: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
        for (key, row) in references {
            let shown = knarr_oci::reference::Reference::parse_name(&key).map_or(key, |name| name.familiar());
            names.entry(row.image).or_default().push(shown);
        }
        let mut rows = Rows {
            images: Vec::new(),
            names,
            blobs: BTreeMap::new(),
            layers: BTreeMap::new(),
            kept: pulls.into_iter().flat_map(|(_, p)| [p.blobs, p.layers].concat()).collect(),
        };
        for (key, record) in images {
            let Ok(id) = ImageId::parse(&key) else { continue };
            for digest in record.blobs(&id) {
                let layer = record.layers.iter().find(|layer| layer.blob.digest == digest);
                let manifest = record.manifest.as_ref().filter(|m| m.digest == digest);
                let index = record.index.as_ref().filter(|index| index.digest == digest);
                let size = layer.map(|l| l.blob.size).or(manifest.map(|m| m.size)).or(index.map(|i| i.size));
                let needed = rows.blobs.entry(digest).or_insert_with(|| NeededBlob {
                    size,
                    users: BTreeSet::new(),
                    is_document: layer.is_none(),
                });
                needed.users.insert(id.clone());
            }
            for layer in &record.layers {
                rows.layers.entry(layer.diff_id.clone()).or_insert_with(|| layer.clone());
            }
            rows.images.push((id, record));
        }
        Ok(rows)
    }

    /// Rows against each other.
    fn look_at_rows(&self, found: &mut Found) -> Result<(), Error> {
        for row in self.store.quarantined()? {
            found.report.findings.push(Finding {
                subject: Subject::Record,
                object: format!("{}/{}", row.table, row.key),
                problem: format!("damaged: {}", row.reason),
                orphan: false,
                used_by: Vec::new(),
                outcome: Outcome::Found,
            });
        }
        for (object, problem) in self.crooked_rows(&found.rows)? {
            let (subject, used_by, outcome) = (Subject::Record, Vec::new(), Outcome::Found);
            found.report.findings.push(Finding { subject, object, problem, orphan: false, used_by, outcome });
        }
        Ok(())
    }

    /// Names without an image, counts of layers that are wrong.
    pub(crate) fn crooked_rows(&self, rows: &Rows) -> Result<Vec<(String, String)>, Error> {
        let mut list = Vec::new();
        let known: HashSet<&ImageId> = rows.images.iter().map(|(id, _)| id).collect();
        for (key, row) in self.store.list::<ReferenceRecord>()? {
            if !known.contains(&row.image) {
                let problem = format!("the image sha256:{} is not there", row.image.short());
                list.push((format!("{}/{key}", ReferenceRecord::TABLE), problem));
            }
        }
        let counted = counts(rows.images.iter().map(|(_, record)| record));
        let mut have: HashMap<String, LayerRecord> = self.store.list::<LayerRecord>()?.into_iter().collect();
        for (layer, count) in counted {
            let counted_as = have.remove(&layer.to_string()).map_or(0, |row| row.images);
            if counted_as != count {
                let problem = format!("counted as used by {counted_as} images, used by {count}");
                list.push((format!("{}/{layer}", LayerRecord::TABLE), problem));
            }
        }
        for key in have.into_keys() {
            list.push((format!("{}/{key}", LayerRecord::TABLE), "no image uses it".to_owned()));
        }
        Ok(list)
    }

    fn look_at_blobs(&self, found: &mut Found) -> Result<(), Error> {
        let there: HashMap<Digest, u64> = self.content.list()?.into_iter().collect();
        let mut to_hash: Vec<(&Digest, u64)> = Vec::new();
        for (digest, needed) in &found.rows.blobs {
            match (there.get(digest), needed.size) {
                (None, _) => drop(found.bad_blobs.insert(digest.clone(), BadBlob::Missing)),
                (Some(len), Some(size)) if *len != size => {
                    let how = format!("has {len} bytes, expected {size}");
                    found.bad_blobs.insert(digest.clone(), BadBlob::Damaged(how));
                }
                (Some(len), _) => to_hash.push((digest, *len)),
            }
        }
        found.report.blobs = to_hash.len() as u64;
        found.report.blob_bytes = to_hash.iter().map(|(_, len)| len).sum();
        let bad = in_parallel(self.threads, &to_hash, |(digest, _)| {
            let bad = match self.content.verify(digest) {
                Ok(()) => return None,
                Err(knarr_content::Error::DigestMismatch { .. }) => {
                    BadBlob::Damaged("its content has another digest".to_owned())
                }
                Err(knarr_content::Error::NotFound(_)) => BadBlob::Missing,
                Err(error) => BadBlob::Unreadable(error.to_string()),
            };
            Some(((*digest).clone(), bad))
        });
        found.bad_blobs.extend(bad.into_iter().flatten());
        for digest in there.keys().filter(|d| !found.rows.blobs.contains_key(d)) {
            if !found.rows.kept.contains(digest) && !self.content.is_leased(digest) {
                found.report.findings.push(Finding {
                    subject: Subject::Blob,
                    object: digest.to_string(),
                    problem: "no image needs it".to_owned(),
                    orphan: true,
                    used_by: Vec::new(),
                    outcome: Outcome::Found,
                });
            }
        }
        Ok(())
    }

    fn look_at_layers(&self, found: &mut Found, options: CheckOptions) -> Result<(), Error> {
        let held = self.held().ok();
        let mut all: BTreeSet<Digest> = found.rows.layers.keys().cloned().collect();
        all.insert(self.base_layer.clone());
        found.report.layers = all.len() as u64;
        for layer in self.layers.list()? {
            let kept = found.rows.kept.contains(&layer);
            // Unknown holds may be on any layer.
            if !all.contains(&layer) && !kept && held.as_ref().is_some_and(|held| !held.contains(&layer)) {
                found.report.findings.push(Finding {
                    subject: Subject::Layer,
                    object: layer.to_string(),
                    problem: "no image or container needs it".to_owned(),
                    orphan: true,
                    used_by: Vec::new(),
                    outcome: Outcome::Found,
                });
            }
        }
        let all: Vec<Digest> = all.into_iter().collect();
        let looked = in_parallel(self.threads, &all, |layer| self.look_at_layer(layer, found, options));
        let mut seals = Vec::new();
        for (layer, looked) in all.iter().zip(looked) {
            match looked? {
                Looked::Untouched => continue,
                Looked::Same(row) => seals.push((layer.to_string(), row)),
                Looked::Bad(bad) => found.bad_layers.push(bad),
            }
            found.report.layers_compared += 1;
        }
        if !seals.is_empty() {
            self.store.write(|tx| seals.iter().try_for_each(|(key, row)| tx.put(key, row)))?;
        }
        Ok(())
    }

    fn look_at_layer(&self, layer: &Digest, found: &Found, options: CheckOptions) -> Result<Looked, Error> {
        let bad =
            |problem: String, staged| Ok(Looked::Bad(BadLayer { layer: layer.clone(), problem, staged }));
        if !self.layers.exists(layer) {
            return bad("missing".to_owned(), None);
        }
        let before = self.measure_layer(layer)?;
        let row = self.store.get::<TreeRecord>(&layer.to_string())?;
        if !options.deep && row.is_some_and(|row| row.seal.as_ref() == Some(&before.seal)) {
            return Ok(Looked::Untouched);
        }
        let staged = match self.stage_again(layer, found.rows.layers.get(layer)) {
            Ok(staged) => staged,
            Err(_) if found.bad_blobs.keys().any(|b| found.is_blob_of(b, layer)) => {
                let problem = "its blob is damaged: its files cannot be compared with anything";
                return bad(problem.to_owned(), None);
            }
            Err(error) => return bad(format!("its files could not be compared: {error}"), None),
        };
        if let Some(difference) = staged.differs()? {
            return bad(difference, Some(staged));
        }
        // Reading changes nothing that is sealed, and what was sealed is what was there before the comparison.
        Ok(Looked::Same(TreeRecord::compared(before)))
    }

    /// The layer unpacked once more, beside the one in use.
    pub(crate) fn stage_again(&self, layer: &Digest, known: Option<&LayerRef>) -> Result<Staged, Error> {
        match known {
            Some(known) => self.stage(known),
            None if *layer == self.base_layer => {
                let tar = crate::base_layer::tar()?;
                let limits = Limits::default();
                Ok(self.layers.stage(tar.as_slice(), Some(layer), Whiteouts::Overlay, limits)?)
            }
            None => Err(Error::Missing(format!("no blob of layer {layer} is known"))),
        }
    }
}

impl Found {
    pub(crate) fn is_blob_of(&self, blob: &Digest, layer: &Digest) -> bool {
        self.rows.layers.get(layer).is_some_and(|known| known.blob.digest == *blob)
    }

    pub(crate) fn add(&mut self, subject: Subject, object: &Digest, problem: String, outcome: Outcome) {
        let used_by = match subject {
            Subject::Layer => self.rows.users_of_layer(object),
            _ => self.rows.users_of_blob(object),
        };
        let object = object.to_string();
        self.report.findings.push(Finding { subject, object, problem, orphan: false, used_by, outcome });
    }

    /// What was found, when nothing is to be done about it.
    fn tell(&mut self) {
        for (blob, problem) in std::mem::take(&mut self.bad_blobs) {
            self.add(Subject::Blob, &blob, problem.to_string(), Outcome::Found);
        }
        for bad in std::mem::take(&mut self.bad_layers) {
            self.add(Subject::Layer, &bad.layer, bad.problem, Outcome::Found);
        }
    }
}

/// How many images use each layer. An image that has a layer twice counts twice, as where it is counted.
pub(crate) fn counts<'a>(images: impl Iterator<Item = &'a ImageRecord>) -> BTreeMap<Digest, u64> {
    let mut counts = BTreeMap::new();
    for layer in images.flat_map(|record| &record.layers) {
        *counts.entry(layer.diff_id.clone()).or_insert(0) += 1;
    }
    counts
}
