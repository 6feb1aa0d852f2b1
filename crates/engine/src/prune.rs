//! What all clean-ups that clients ask for know: the filters `until`, `label` and `label!`.
use crate::error::{Error, Result};
use crate::record::Time;
use knarr_docker_types::Filters;
use std::collections::BTreeMap;

/// The filters of one clean-up, checked.
pub(crate) struct Prune {
    filters: Filters,
    before: Option<i64>,
}

impl Prune {
    /// `known` are all filters that this clean-up has.
    pub fn new(filters: Filters, known: &[&str]) -> Result<Self> {
        filters.validate(known)?;
        if filters.get("until").nth(1).is_some() {
            return Err(Error::Invalid("more than one until filter specified".to_owned()));
        }
        let before = filters.get("until").next().map(until).transpose()?;
        Ok(Self { filters, before })
    }

    /// Whether something that was made then and has these labels may go.
    pub fn wants(&self, created_nanos: i64, labels: &BTreeMap<String, String>) -> bool {
        self.before.is_none_or(|before| created_nanos < before)
            && self.filters.labels_match("label", labels)
            // Docker: something that has all of them stays.
            && !(self.filters.contains("label!") && self.filters.labels_match("label!", labels))
    }
}

/// A time, or how long ago: `24h`, RFC 3339, seconds since the epoch.
pub(crate) fn until(text: &str) -> Result<i64> {
    if let Some(nanos) = crate::duration::parse(text) {
        return Ok(Time::now().0.saturating_sub(nanos));
    }
    let invalid = || Error::Invalid(format!("failed to parse value as time or duration: {text:?}"));
    let time = crate::logs::time(text).map_err(|_| invalid())?;
    time.map(|t| Time::from(t).0).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let known = ["label", "label!", "until"];
        let filters =
            Filters::default().with("until", "1700000000").with("label", "a").with("label!", "keep=1");
        let prune = Prune::new(filters, &known).unwrap();
        let old = 1_600_000_000_000_000_000;
        assert!(prune.wants(old, &labels(&[("a", "1"), ("keep", "2")])));
        assert!(!prune.wants(old, &labels(&[("a", "1"), ("keep", "1")])));
        assert!(!prune.wants(old, &labels(&[])) && !prune.wants(i64::MAX, &labels(&[("a", "1")])));
        let text = |filters: Filters| match Prune::new(filters, &known) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        let twice = Filters::default().with("until", "1h").with("until", "2h");
        assert_eq!(text(twice), "more than one until filter specified");
        assert!(text(Filters::default().with("until", "soon")).contains("time or duration"));
        assert!(text(Filters::default().with("dangling", "1")).contains("dangling"));
    }
}
