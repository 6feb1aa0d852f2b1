//! How much one container may ask of the engine.
//!
//! Invariant: whatever one client does, a part of what all share is left for the others.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Queries that wait for other servers, of all clients. Each may hold a socket per server.
const MAX_WAITING: usize = 1024;
/// Of one client, when nobody else asks.
const MAX_WAITING_PER_CLIENT: usize = 256;
/// What a client always gets as long as there is anything.
const MIN_WAITING: usize = 4;
/// A client may take this part of what is free.
const SHARE: usize = 4;

/// Queries read per second of one client, in the long run and at once. More wait in its socket's buffer, or are lost there.
const QUERIES_PER_SECOND: u32 = 20_000;
const BURST: u32 = 2_000;

/// Queries of all clients that wait for other servers.
#[derive(Debug, Default)]
pub struct Waiting {
    all: Arc<AtomicUsize>,
}

/// Those of one.
#[derive(Debug, Clone)]
pub struct Share {
    all: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
}

/// One query that waits; it counts until it is dropped.
#[derive(Debug)]
pub struct Place(Share);

impl Waiting {
    pub fn share(&self) -> Share {
        Share { all: Arc::clone(&self.all), own: Arc::default() }
    }
}

impl Share {
    /// `None`: the client has too many.
    pub fn take(&self) -> Option<Place> {
        let all = self.all.fetch_add(1, Ordering::Relaxed);
        let own = self.own.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        is_allowed(all, own).then_some(place)
    }
}

/// Whether a client that has `own` of the `all` may have one more.
fn is_allowed(all: usize, own: usize) -> bool {
    let free = MAX_WAITING.saturating_sub(all);
    free > 0 && own < MAX_WAITING_PER_CLIENT.min((free / SHARE).max(MIN_WAITING))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.all.fetch_sub(1, Ordering::Relaxed);
        self.0.own.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How fast a client may go: a bucket of tokens.
#[derive(Debug)]
pub struct Pace {
    tokens: f64,
    filled: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), filled: now }
    }

    /// One more query; how long to wait before the next.
    pub fn step(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * f64::from(QUERIES_PER_SECOND)).min(f64::from(BURST)) - 1.0;
        // Several at a time: a sleep for every query would cost more than the query.
        (self.tokens < 0.0).then(|| Duration::from_millis(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_client_leaves_places_for_others() {
        let waiting = Waiting::default();
        let mut places = Vec::new();
        for _ in 0..20 {
            let greedy = waiting.share();
            let before = places.len();
            while let Some(place) = greedy.take() {
                places.push(place);
            }
            assert!(places.len() - before <= MAX_WAITING_PER_CLIENT);
        }
        assert!(places.len() < MAX_WAITING, "{}", places.len());
        let modest = waiting.share();
        let mine: Vec<Place> = (0..MIN_WAITING).map_while(|_| modest.take()).collect();
        assert_eq!(mine.len(), MIN_WAITING);
        drop((mine, places));
        assert_eq!(waiting.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flood_is_slowed_down() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut read) = (start, 0);
        while now < start + Duration::from_secs(1) {
            read += 1;
            now += pace.step(now).unwrap_or(Duration::from_micros(1));
        }
        assert!((20_000..=22_500).contains(&read), "{read}");
        assert_eq!(Pace::new(start).step(start), None);
    }
}
