//! The host's resolvers, as they are now: a machine that moves gets others, and containers must not notice.
use crate::upstream::{MAX_SERVERS, Upstream};
use knarr_network::resolv_conf;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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

impl Resolvers {
    pub fn of(path: PathBuf) -> Self {
        let upstream = Arc::new(Upstream::of_host(&[]));
        let known = Known { looked_at: None, changed: None, servers: Vec::new(), upstream };
        Self { path, known: Mutex::new(known) }
    }

    /// Reads at most one small file a second.
    pub fn current(&self, now: Instant) -> Arc<Upstream> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked_at.is_none_or(|at| now.saturating_duration_since(at) >= FRESH) {
            known.looked_at = Some(now);
            let changed = std::fs::metadata(&self.path).and_then(|m| m.modified()).ok();
            if changed.is_none() || changed != known.changed {
                known.changed = changed;
                let text = std::fs::read_to_string(&self.path).unwrap_or_default();
                let mut servers = resolv_conf::servers(&text);
                servers.truncate(MAX_SERVERS);
                // What is known about their health stays as long as they are the same.
                if servers != known.servers {
                    known.upstream = Arc::new(Upstream::of_host(&servers));
                    known.servers = servers;
                }
            }
        }
        Arc::clone(&known.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("knarr-dns-resolvers-{}", std::process::id()));
        let resolvers = Resolvers::of(path.clone());
        let now = Instant::now();
        assert!(resolvers.current(now).is_empty(), "no file");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(resolvers.current(now).is_empty(), "looked at just before");
        let first = resolvers.current(now + FRESH);
        assert!(!first.is_empty());
        assert!(Arc::ptr_eq(&first, &resolvers.current(now + 2 * FRESH)));
        std::fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        assert!(!Arc::ptr_eq(&first, &resolvers.current(now + 3 * FRESH)));
        std::fs::remove_file(&path).unwrap();
        assert!(resolvers.current(now + 4 * FRESH).is_empty());
    }
}
