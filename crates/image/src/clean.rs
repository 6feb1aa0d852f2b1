//! Automatic clean-up: which images go when the disk fills or when nobody used them for long.
//!
//! [`plan`] is pure: images, the file system's use, a policy and a time give the steps. Invariant: what a container is made of,
//! running or not, what is pinned and what another kept image was made from stays; the least recently used goes first, and no
//! more than needed.
use crate::error::Error;
use crate::query::{has_label, matches_any};
use crate::record::{ImageRecord, UseRecord};
use crate::service::{Images, now_nanos};
use knarr_base::ImageId;
use knarr_oci::digest::Digest;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Label of images that clean-up never takes.
pub const PIN_LABEL: &str = "io.knarr.pin";
/// How often the policy is looked at, unless it says so itself.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// When images go by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanPolicy {
    /// Percent of the file system in use at which clean-up begins, and at which it ends.
    pub watermarks: Option<(u8, u8)>,
    /// Images that were not used for so long go, whatever the disk says.
    pub unused_for: Option<Duration>,
    /// `label=KEY[=VALUE]` or `reference=PATTERN`: never taken.
    pub keep: Vec<String>,
    pub interval: Duration,
}

impl Default for CleanPolicy {
    fn default() -> Self {
        Self { watermarks: None, unused_for: None, keep: Vec::new(), interval: DEFAULT_INTERVAL }
    }
}

impl CleanPolicy {
    /// Reads `high-watermark`, `low-watermark` (`85%`), `unused-for`, `interval` (`720h`) and `keep` (filters, by commas).
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut policy = Self::default();
        let (mut high, mut low) = (None, None);
        for (key, value) in options {
            match key.as_str() {
                "high-watermark" => high = Some(percent(key, value)?),
                "low-watermark" => low = Some(percent(key, value)?),
                "unused-for" => policy.unused_for = Some(duration(key, value)?),
                "interval" => policy.interval = duration(key, value)?.max(Duration::from_secs(1)),
                "keep" => policy.keep = value.split(',').map(|part| part.trim().to_owned()).collect(),
                _ => {
                    return Err(format!(
                        "{key}: not known; there are high-watermark, low-watermark, unused-for, keep, interval"
                    ));
                }
            }
        }
        for filter in &policy.keep {
            if !matches!(filter.split_once('='), Some(("label" | "reference", value)) if !value.is_empty()) {
                return Err(format!("keep: {filter:?}: expected label=KEY[=VALUE] or reference=PATTERN"));
            }
        }
        policy.watermarks = match (high, low) {
            (None, None) => None,
            (None, Some(_)) => return Err("low-watermark: needs a high-watermark".to_owned()),
            (Some(high), low) => {
                let low = low.unwrap_or(high.saturating_sub(10));
                if low > high {
                    return Err("low-watermark: is above the high-watermark".to_owned());
                }
                Some((high, low))
            }
        };
        Ok(policy)
    }

    /// Whether there is anything that it would take.
    pub fn is_empty(&self) -> bool {
        self.watermarks.is_none() && self.unused_for.is_none()
    }

    fn keeps(&self, labels: &BTreeMap<String, String>, names: &[String]) -> bool {
        let pinned = labels.get(PIN_LABEL).is_some_and(|value| !matches!(value.as_str(), "false" | "0"));
        pinned
            || self.keep.iter().any(|filter| match filter.split_once('=') {
                Some(("label", label)) => has_label(labels, label),
                Some((_, pattern)) => names.iter().any(|name| matches_any(&[pattern.to_owned()], name)),
                None => false,
            })
    }
}

fn percent(key: &str, value: &str) -> Result<u8, String> {
    let number: Option<u8> = value.trim().trim_end_matches('%').parse().ok();
    number.filter(|n| (1..=99).contains(n)).ok_or_else(|| format!("{key}: {value:?}: expected 1% to 99%"))
}

fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let fail = || format!("{key}: {value:?}: expected a duration such as 720h or 30m");
    let parsed: jiff::SignedDuration = value.trim().parse().map_err(|_| fail())?;
    parsed.try_into().map_err(|_| fail())
}

/// The file system that the images are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes in use, and bytes that there are for whoever is not privileged: what `df` makes its percents of.
    pub used: u64,
    pub total: u64,
}

impl Disk {
    pub fn percent(self) -> u64 {
        if self.total == 0 {
            0
        } else {
            (u128::from(self.used) * 100).div_ceil(u128::from(self.total)) as u64
        }
    }
    fn bytes(self, percent: u8) -> u64 {
        (u128::from(self.total) * u128::from(percent) / 100) as u64
    }
}

/// An image as the planner sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: ImageId,
    /// A name, or the beginning of the id.
    pub shown: String,
    pub parent: Option<ImageId>,
    pub last_used_nanos: i64,
    /// In use by a container, or pinned.
    pub kept: bool,
    /// Layers and blobs with their bytes on the disk.
    pub parts: Vec<(Digest, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody used it for long.
    Unused,
    /// The disk is full.
    Space,
}

/// One image that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanStep {
    pub id: ImageId,
    pub shown: String,
    pub last_used_nanos: i64,
    pub reason: Reason,
    /// Bytes that nobody needs after it.
    pub frees: u64,
}

/// Which images go, in order.
pub fn plan(candidates: &[Candidate], disk: Disk, policy: &CleanPolicy, now_nanos: i64) -> Vec<CleanStep> {
    let mut users: HashMap<&Digest, usize> = HashMap::new();
    let mut children: HashMap<&ImageId, usize> = HashMap::new();
    for candidate in candidates {
        for (part, _) in &candidate.parts {
            *users.entry(part).or_default() += 1;
        }
        if let Some(parent) = &candidate.parent {
            *children.entry(parent).or_default() += 1;
        }
    }
    let mut left: Vec<&Candidate> = candidates.iter().filter(|c| !c.kept).collect();
    left.sort_by(|a, b| a.last_used_nanos.cmp(&b.last_used_nanos).then_with(|| a.id.cmp(&b.id)));
    let oldest = policy
        .unused_for
        .map(|age| now_nanos.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
    let space =
        policy.watermarks.filter(|(high, _)| disk.used >= disk.bytes(*high)).map(|(_, low)| disk.bytes(low));
    let mut used = disk.used;
    let mut steps = Vec::new();
    loop {
        let lacks_space = space.is_some_and(|low| used > low);
        let next = left.iter().position(|c| {
            let alone = children.get(&c.id).copied().unwrap_or(0) == 0;
            alone && (lacks_space || oldest.is_some_and(|oldest| c.last_used_nanos < oldest))
        });
        let Some(next) = next else { return steps };
        let candidate = left.remove(next);
        let mut frees = 0;
        for (part, size) in &candidate.parts {
            let count = users.entry(part).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                frees += size;
            }
        }
        if let Some(count) = candidate.parent.as_ref().and_then(|parent| children.get_mut(parent)) {
            *count = count.saturating_sub(1);
        }
        used = used.saturating_sub(frees);
        let unused = oldest.is_some_and(|oldest| candidate.last_used_nanos < oldest);
        steps.push(CleanStep {
            id: candidate.id.clone(),
            shown: candidate.shown.clone(),
            last_used_nanos: candidate.last_used_nanos,
            reason: if unused { Reason::Unused } else { Reason::Space },
            frees,
        });
    }
}

impl Images {
    /// How full the file system is that the images are on.
    pub fn disk(&self) -> Result<Disk, Error> {
        let stat = rustix::fs::statvfs(&self.data_root)
            .map_err(|e| Error::io("look at the file system of", &self.data_root)(e.into()))?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Disk { used: used * stat.f_frsize, total: (used + stat.f_bavail) * stat.f_frsize })
    }

    /// What clean-up would do now. `in_use`: images that containers are made of.
    pub fn plan_clean(
        &self,
        policy: &CleanPolicy,
        in_use: &HashSet<ImageId>,
    ) -> Result<Vec<CleanStep>, Error> {
        let disk = self.disk()?;
        let crosses = policy.watermarks.is_some_and(|(high, _)| disk.used >= disk.bytes(high));
        if !crosses && policy.unused_for.is_none() {
            return Ok(Vec::new());
        }
        let (records, uses) =
            self.store.read(|tx| Ok((tx.list::<ImageRecord>()?, tx.list::<UseRecord>()?)))?;
        let records: HashMap<String, ImageRecord> = records.into_iter().collect();
        let uses: HashMap<String, UseRecord> = uses.into_iter().collect();
        let trees: HashMap<Digest, u64> = self.layers_on_disk()?.into_iter().collect();
        let held = self.held()?;
        let mut candidates = Vec::new();
        for image in self.list()?.iter() {
            let Some(record) = records.get(image.id.as_str()) else { continue };
            let mut parts: Vec<(Digest, u64)> = Vec::new();
            for blob in record.blobs(&image.id) {
                let size = knarr_snapshot::disk_usage(&self.content.blob_path(&blob))?;
                parts.push((blob, size));
            }
            for layer in &record.layers {
                // A blob that is not compressed has the digest of its layer: one part for both.
                let size = if held.contains(&layer.diff_id) {
                    0
                } else {
                    trees.get(&layer.diff_id).copied().unwrap_or(0)
                };
                match parts.iter_mut().find(|(digest, _)| *digest == layer.diff_id) {
                    Some((_, both)) => *both += size,
                    None => parts.push((layer.diff_id.clone(), size)),
                }
            }
            parts.sort();
            parts.dedup_by(|a, b| a.0 == b.0);
            let names: Vec<String> = [image.repo_tags.clone(), image.repo_digests.clone()].concat();
            let known = uses.get(image.id.as_str()).map_or(record.updated_nanos, |row| row.used_nanos);
            candidates.push(Candidate {
                id: image.id.clone(),
                shown: names.first().cloned().unwrap_or_else(|| format!("sha256:{}", image.id.short())),
                parent: image.parent.clone(),
                last_used_nanos: known.max(record.updated_nanos),
                kept: in_use.contains(&image.id) || policy.keeps(&image.labels, &names),
                parts,
            });
        }
        Ok(plan(&candidates, disk, policy, now_nanos()))
    }

    /// Does what was planned, but for images that somebody used meanwhile.
    pub fn clean(
        &self,
        steps: &[CleanStep],
        in_use: &HashSet<ImageId>,
    ) -> Result<Vec<(CleanStep, Vec<crate::Removed>)>, Error> {
        let mut done = Vec::new();
        for step in steps {
            if in_use.contains(&step.id) {
                continue;
            }
            let used = self.store.get::<UseRecord>(step.id.as_str())?.map_or(0, |row| row.used_nanos);
            if used > step.last_used_nanos {
                continue;
            }
            let removed = self.delete_unused(&step.id)?;
            if !removed.is_empty() {
                done.push((step.clone(), removed));
            }
        }
        if steps.iter().any(|step| step.reason == Reason::Space) {
            self.forget_pulls()?;
        }
        self.collect()?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ImageId {
        ImageId::parse(&format!("{n:02x}").repeat(32)).unwrap()
    }
    fn part(name: &str, size: u64) -> (Digest, u64) {
        (Digest::sha256(name.as_bytes()), size)
    }
    fn image(n: u8, used: i64, parts: &[(&str, u64)]) -> Candidate {
        Candidate {
            id: id(n),
            shown: format!("image{n}"),
            parent: None,
            last_used_nanos: used,
            kept: false,
            parts: parts.iter().map(|(name, size)| part(name, *size)).collect(),
        }
    }
    fn policy(text: &[(&str, &str)]) -> CleanPolicy {
        CleanPolicy::parse(&text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).unwrap()
    }
    fn names(steps: &[CleanStep]) -> Vec<(&str, Reason, u64)> {
        steps.iter().map(|s| (s.shown.as_str(), s.reason, s.frees)).collect()
    }

    #[test]
    fn the_least_recently_used_goes_until_the_low_watermark() {
        let images = [
            image(1, 30, &[("base", 20), ("one", 10)]),
            image(2, 10, &[("base", 20), ("two", 10)]),
            image(3, 20, &[("three", 10)]),
            image(4, 40, &[("four", 50)]),
        ];
        let policy = policy(&[("high-watermark", "90%"), ("low-watermark", "75%")]);
        let disk = |used| Disk { used, total: 100 };
        assert!(plan(&images, disk(89), &policy, 100).is_empty());
        let steps = plan(&images, disk(90), &policy, 100);
        assert_eq!(names(&steps), [("image2", Reason::Space, 10), ("image3", Reason::Space, 10)]);
        // What images share goes with the last of them.
        let steps = plan(&images, disk(99), &policy, 100);
        assert_eq!(
            names(&steps),
            [("image2", Reason::Space, 10), ("image3", Reason::Space, 10), ("image1", Reason::Space, 30)]
        );
    }

    #[test]
    fn age_pins_use_and_children_count() {
        let mut images = [
            image(1, 10, &[("one", 10)]),
            image(2, 20, &[("two", 10)]),
            image(3, 90, &[("three", 10)]),
            image(4, 5, &[("four", 10)]),
        ];
        images[0].kept = true;
        // 2 is the parent of 3, which is young; 4 is old and the child of 2.
        images[2].parent = Some(id(2));
        images[3].parent = Some(id(2));
        let policy = policy(&[("unused-for", "50ns")]);
        let disk = Disk { used: 99, total: 100 };
        assert_eq!(names(&plan(&images, disk, &policy, 100)), [("image4", Reason::Unused, 10)]);
        images[2].parent = None;
        let steps = plan(&images, disk, &policy, 100);
        assert_eq!(names(&steps), [("image4", Reason::Unused, 10), ("image2", Reason::Unused, 10)]);
    }

    #[test]
    fn policies() {
        let parse = |list: &[(&str, &str)]| {
            CleanPolicy::parse(&list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(parse(&[("high-watermark", "85%")]).unwrap().watermarks, Some((85, 75)));
        assert!(parse(&[]).unwrap().is_empty());
        let labels = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let policy = parse(&[("keep", "label=stage=prod, reference=debian*")]).unwrap();
        assert!(policy.keeps(&labels(&[("stage", "prod")]), &[]));
        assert!(policy.keeps(&labels(&[]), &["debian:12".to_owned()]));
        assert!(
            policy.keeps(&labels(&[(PIN_LABEL, "")]), &[])
                && !policy.keeps(&labels(&[(PIN_LABEL, "false")]), &[])
        );
        assert!(!policy.keeps(&labels(&[("stage", "test")]), &["nginx:1".to_owned()]));
        for bad in [
            ("high-watermark", "0%"),
            ("high-watermark", "x"),
            ("low-watermark", "5%"),
            ("unused-for", "-1h"),
            ("unused-for", "long"),
            ("keep", "nginx"),
            ("nosuch", "1"),
        ] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
        assert!(parse(&[("high-watermark", "50%"), ("low-watermark", "60%")]).is_err());
    }
}
