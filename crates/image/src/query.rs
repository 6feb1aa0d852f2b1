//! Questions about images: filtered lists, history, disk usage.
use crate::error::Error;
use crate::index::Listed;
use crate::service::Images;
use knarr_oci::reference::Reference;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which images a list shows. An empty filter shows all but intermediate ones.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Also images without a name that others were made from.
    pub all: bool,
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// Patterns of names; one must match. Only the names that match are shown.
    pub references: Vec<String>,
    /// Created before this image.
    pub before: Option<String>,
    /// Created after this image.
    pub since: Option<String>,
    /// Created before this time, in nanoseconds since the epoch.
    pub until_nanos: Option<i64>,
}

/// One line of an image's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// `sha256:...`, or `<missing>`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub created_by: String,
    pub comment: String,
    pub tags: Vec<String>,
    pub size: u64,
}

impl Images {
    /// Images that a filter lets through, newest first.
    pub fn list_filtered(&self, filter: &ImageFilter) -> Result<Vec<Arc<Listed>>, Error> {
        let all = self.list()?;
        let bound = |name: &Option<String>| -> Result<Option<Option<i64>>, Error> {
            let Some(name) = name else { return Ok(None) };
            let id = self.find(name)?;
            Ok(Some(all.iter().find(|image| image.id == id).and_then(|image| image.created_nanos)))
        };
        let (before, since) = (bound(&filter.before)?, bound(&filter.since)?);
        let shown = |image: &&Arc<Listed>| {
            let created = image.created_nanos;
            let intermediate = image.is_dangling() && image.repo_digests.is_empty() && image.has_children;
            (filter.all || !intermediate)
                && filter.dangling.is_none_or(|wanted| wanted == (image.is_dangling() && !image.has_children))
                && filter.labels.iter().all(|label| has_label(&image.labels, label))
                && before.is_none_or(|bound| created < bound)
                && since.is_none_or(|bound| created > bound)
                && filter.until_nanos.is_none_or(|until| created.is_some_and(|c| c < until))
        };
        let images = all.iter().filter(shown);
        if filter.references.is_empty() {
            return Ok(images.cloned().collect());
        }
        let with_names = images.filter_map(|image| {
            let only = |names: &[String]| -> Vec<String> {
                names.iter().filter(|name| matches_any(&filter.references, name)).cloned().collect()
            };
            let (repo_tags, repo_digests) = (only(&image.repo_tags), only(&image.repo_digests));
            let named = !repo_tags.is_empty() || !repo_digests.is_empty();
            named.then(|| Arc::new(Listed { repo_tags, repo_digests, ..Listed::clone(image) }))
        });
        Ok(with_names.collect())
    }

    /// How an image came about, newest step first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryLine>, Error> {
        let image = self.resolve(name)?;
        let mut layers = image.record.layers.iter();
        let mut lines = Vec::new();
        for step in &image.config.history {
            let size = if step.empty_layer {
                0
            } else {
                let Some(layer) = layers.next() else {
                    let reason = "too many non-empty layers in History section".to_owned();
                    return Err(Error::Image { id: image.id, reason });
                };
                self.layers.meta(&layer.diff_id).map_or(0, |meta| meta.size)
            };
            let created: Option<jiff::Timestamp> = step.created.as_deref().and_then(|t| t.parse().ok());
            lines.push(HistoryLine {
                id: "<missing>".to_owned(),
                created: created.map_or(0, jiff::Timestamp::as_second),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                tags: Vec::new(),
                size,
            });
        }
        lines.reverse();
        let mut current = Some(image);
        for line in &mut lines {
            let Some(image) = current else { break };
            line.id = format!("sha256:{}", image.id);
            line.tags.clone_from(&image.repo_tags);
            current = image.parent.as_ref().and_then(|parent| self.get(parent).ok());
        }
        Ok(lines)
    }
}

pub(crate) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

/// A pattern matches the whole name or the name without tag and digest.
pub(crate) fn matches_any(patterns: &[String], name: &str) -> bool {
    let Ok(reference) = Reference::parse_name(name) else { return false };
    let bare = reference.familiar_name();
    patterns.iter().any(|p| glob(p.as_bytes(), name.as_bytes()) || glob(p.as_bytes(), bare.as_bytes()))
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, `\` quotes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.first() {
        None => text.is_empty(),
        Some(b'*') => {
            let reach = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=reach).any(|skip| glob(&pattern[1..], &text[skip..]))
        }
        Some(b'?') => text.first().is_some_and(|b| *b != b'/') && glob(&pattern[1..], &text[1..]),
        Some(b'[') => {
            let Some((matched, rest)) = text.first().and_then(|b| class(&pattern[1..], *b)) else {
                return false;
            };
            matched && text[0] != b'/' && glob(rest, &text[1..])
        }
        Some(b'\\') if pattern.len() > 1 => {
            text.first() == Some(&pattern[1]) && glob(&pattern[2..], &text[1..])
        }
        Some(literal) => text.first() == Some(literal) && glob(&pattern[1..], &text[1..]),
    }
}

/// Whether a class (after its bracket) has the byte, and the pattern after the class.
fn class(mut pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    let mut first = true;
    loop {
        match pattern {
            [b']', rest @ ..] if !first => return Some((found != negated, rest)),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                pattern = rest;
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                pattern = rest;
            }
            [] => return None,
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?sy", "busy", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[x", "x", false),
            ("a\\*", "a*", true),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_any(&["busybox".to_owned()], "busybox:latest"));
    }
}
