//! How many requests are open: what an engine that ends when idle asks.
use std::sync::Arc;
use tokio::sync::watch;

/// Counts open requests, from the first byte of a request to the last byte of its reply (of its stream, for
/// `attach`, `logs -f`, `events`). Cloning shares the count.
#[derive(Debug, Clone)]
pub struct Activity {
    open: Arc<watch::Sender<usize>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(0)) }
    }
}

impl Activity {
    /// Requests that are open now.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }
    /// Follows the count.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }
    /// Counts one more until the guard is dropped.
    pub fn enter(&self) -> Busy {
        self.open.send_modify(|open| *open += 1);
        Busy { activity: self.clone() }
    }
}

/// One open request.
#[derive(Debug)]
pub struct Busy {
    activity: Activity,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.open.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;

    #[test]
    fn guards_count() {
        let activity = Activity::default();
        let watch = activity.watch();
        let first = activity.enter();
        let second = activity.enter();
        assert_eq!((activity.open(), *watch.borrow()), (2, 2));
        drop(first);
        drop(second);
        assert_eq!(activity.open(), 0);
    }
}
