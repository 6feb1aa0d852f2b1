//! The bounded pool for calls that block: the database, the network, files.
use crate::error::{Error, Result};
use tokio::sync::Semaphore;

/// Blocking calls at a time. More wait in line without a thread.
const MAX_BLOCKING: usize = 64;

pub(crate) struct Pool {
    permits: Semaphore,
}

impl Pool {
    pub fn new() -> Self {
        Self { permits: Semaphore::new(MAX_BLOCKING) }
    }

    /// Runs `f` on a thread that may block. A panic there is an error here.
    pub async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _permit = self.permits.acquire().await.map_err(|e| Error::Internal(e.to_string()))?;
        tokio::task::spawn_blocking(f)
            .await
            .map_err(|e| Error::Internal(format!("an operation was aborted: {e}")))
    }
}
