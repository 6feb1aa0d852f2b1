//! The host's resolvers, as they are now: a machine that moves gets others, and containers must not notice.
use crate::upstream::{MAX_SERVERS, Upstream};
use knarr_network::resolv_conf;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How old what is known may be.
const FRESH: Duration = Duration::from_secs(1);

/// The servers of a `resolv.conf`, read again when it changed.
#[derive(Debug)]
pub struct Resolvers {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    looked_at: Option<Instant>,
    changed: Option<SystemTime>,
    servers: Vec<IpAddr>,
    upstream: Arc<Upstream>,
}

/// What a look at the file gives.
struct Seen {
    changed: Option<SystemTime>,
    /// `None`: as before.
    servers: Option<Vec<IpAddr>>,
}

impl Resolvers {
    /// Reads the file at once, so that the first query knows the servers.
    pub fn of(path: PathBuf) -> Self {
        let upstream = Arc::new(Upstream::of_host(&[]));
        let mut known = Known { looked_at: None, changed: None, servers: Vec::new(), upstream };
        known.take(look(&path, None));
        Self { path, known: Mutex::new(known) }
    }

    /// Reads at most one small file a second, on a thread that may wait for it.
    pub async fn current(&self, now: Instant) -> Arc<Upstream> {
        let (path, changed) = {
            let mut known = self.known();
            if known.looked_at.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
                return Arc::clone(&known.upstream);
            }
            // Others go on with what is known meanwhile.
            known.looked_at = Some(now);
            (self.path.clone(), known.changed)
        };
        let seen = tokio::task::spawn_blocking(move || look(&path, changed)).await;
        let mut known = self.known();
        if let Ok(seen) = seen {
            known.take(seen);
        }
        Arc::clone(&known.upstream)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(path: &Path, before: Option<SystemTime>) -> Seen {
    let changed = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let read = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut servers = resolv_conf::servers(&text);
        servers.truncate(MAX_SERVERS);
        servers
    };
    Seen { changed, servers: (changed.is_none() || changed != before).then(read) }
}

impl Known {
    fn take(&mut self, seen: Seen) {
        self.changed = seen.changed;
        // What is known about their health stays as long as they are the same.
        if let Some(servers) = seen.servers.filter(|servers| *servers != self.servers) {
            self.upstream = Arc::new(Upstream::of_host(&servers));
            self.servers = servers;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("knarr-dns-resolvers-{}", std::process::id()));
        let resolvers = Resolvers::of(path.clone());
        let now = Instant::now();
        assert!(resolvers.current(now).await.is_empty(), "no file");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(resolvers.current(now).await.is_empty(), "looked at just before");
        let first = resolvers.current(now + FRESH).await;
        assert!(!first.is_empty());
        assert!(Arc::ptr_eq(&first, &resolvers.current(now + 2 * FRESH).await));
        std::fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        assert!(!Arc::ptr_eq(&first, &resolvers.current(now + 3 * FRESH).await));
        std::fs::remove_file(&path).unwrap();
        assert!(resolvers.current(now + 4 * FRESH).await.is_empty());
    }
}
