//! Bounded pools for calls that block: the database, the network, files.
//!
//! Invariants: a place is taken until the call has ended, also when nobody waits for it any longer; calls whose length a client
//! decides (archives that come or go over its connection) have places of their own, so that slow clients hold up each other
//! and nothing else.
use crate::error::{Error, Result};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Blocking calls at a time. More wait in line without a thread.
const MAX_BLOCKING: usize = 64;
/// Archives on their way at a time.
const MAX_STREAMS: usize = 128;

#[derive(Clone)]
pub(crate) struct Pool {
    permits: Arc<Semaphore>,
}

impl Pool {
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_BLOCKING)) }
    }

    /// For archives.
    pub fn of_streams() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// Runs `f` on a thread that may block. A panic there is an error here.
    pub async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|e| Error::Internal(e.to_string()))?;
        let work = move || {
            let _permit = permit;
            f()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::Internal(format!("an operation was aborted: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A request that is given up does not give its place to another while its work goes on.
    #[tokio::test]
    async fn a_place_is_taken_until_the_work_has_ended() {
        let pool = Pool::new();
        let (end, ended) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let other = pool.clone();
        let request = tokio::spawn(async move {
            other
                .run(move || {
                    let _ = begun.send(());
                    let _ = ended.recv();
                })
                .await
        });
        has_begun.await.unwrap();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(pool.permits.available_permits(), MAX_BLOCKING - 1);
        end.send(()).unwrap();
        while pool.permits.available_permits() < MAX_BLOCKING {
            tokio::task::yield_now().await;
        }
    }
}
