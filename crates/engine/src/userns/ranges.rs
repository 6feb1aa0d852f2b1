//! Sets of ids as ranges: what is free, what is taken. Pure.
//!
//! Invariant: spans of a set are sorted, not empty, and do not touch each other.
use crate::record::IdMaps;
use knarr_oci::runtime::IdMapping;

/// Ids `start..end`; wide, so that the last id has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub start: u64,
    pub end: u64,
}

impl Span {
    pub fn new(start: u32, size: u32) -> Self {
        Self { start: start.into(), end: u64::from(start) + u64::from(size) }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdSet {
    spans: Vec<Span>,
}

impl IdSet {
    pub fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|span| span.start < span.end).collect();
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        Self { spans: merged }
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub fn insert(&mut self, span: Span) {
        *self = Self::of(std::mem::take(&mut self.spans).into_iter().chain([span]));
    }

    /// Whether an id of the span is in the set.
    pub fn touches(&self, span: Span) -> bool {
        self.spans.iter().any(|own| own.start < span.end && span.start < own.end)
    }

    pub fn remove(&mut self, taken: Span) {
        let keep = |span: Span| {
            let before = Span { end: span.end.min(taken.start), ..span };
            let after = Span { start: span.start.max(taken.end), ..span };
            [before, after].into_iter().filter(|span| span.start < span.end)
        };
        self.spans = std::mem::take(&mut self.spans).into_iter().flat_map(keep).collect();
    }

    /// The first place with that many ids in a row.
    pub fn first(&self, size: u32) -> Option<u32> {
        let fits = |span: &&Span| span.end - span.start >= u64::from(size);
        self.spans.iter().find(fits).and_then(|span| u32::try_from(span.start).ok())
    }
}

/// Ids of the host that containers may be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    pub users: IdSet,
    pub groups: IdSet,
    /// Ids that somebody has, in the pool or not.
    pub taken_users: IdSet,
    pub taken_groups: IdSet,
}

impl Pool {
    pub fn of(users: IdSet, groups: IdSet) -> Self {
        Self { users, groups, ..Self::default() }
    }

    /// What somebody has is not given to another.
    pub fn remove(&mut self, maps: &IdMaps) {
        let take = |maps: &[IdMapping], free: &mut IdSet, taken: &mut IdSet| {
            for span in maps.iter().map(|map| Span::new(map.host_id, map.size)) {
                free.remove(span);
                taken.insert(span);
            }
        };
        take(&maps.users, &mut self.users, &mut self.taken_users);
        take(&maps.groups, &mut self.groups, &mut self.taken_groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let mut set = IdSet::of([Span::new(10, 5), Span::new(0, 3), Span::new(15, 5), Span::new(7, 0)]);
        assert_eq!(set.spans(), [Span::new(0, 3), Span::new(10, 10)]);
        assert_eq!((set.first(3), set.first(4), set.first(11)), (Some(0), Some(10), None));
        set.remove(Span::new(2, 10));
        assert_eq!(set.spans(), [Span::new(0, 2), Span::new(12, 8)]);
        set.remove(Span::new(14, 1));
        assert_eq!(set.spans(), [Span::new(0, 2), Span::new(12, 2), Span::new(15, 5)]);
        assert!(set.touches(Span::new(13, 2)) && !set.touches(Span::new(14, 1)));
        set.insert(Span::new(14, 1));
        assert_eq!(set.spans(), [Span::new(0, 2), Span::new(12, 8)]);
        let last = IdSet::of([Span::new(u32::MAX, 1)]);
        assert_eq!(last.first(1), Some(u32::MAX));
    }
}
