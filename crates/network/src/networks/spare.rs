//! One namespace made ahead of time: making it is most of what a start costs here (1 ms of 1.4).
use crate::error::{Error, Result};
use crate::namespace::{Namespace, View};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The next one is made when the start that took this one is likely through.
const REFILL_DELAY: Duration = Duration::from_millis(15);

type Slot = Arc<Mutex<Option<Namespace>>>;

pub(super) struct Spare {
    slot: Slot,
    view: Arc<View>,
    refill: SyncSender<()>,
}

impl Spare {
    pub fn start() -> Result<Self> {
        let slot = Slot::default();
        let (refill, wanted) = sync_channel(1);
        let thread = thread::Builder::new().name("netns-spare".into());
        let view = Arc::new(View::renewed());
        let (filled, seen) = (Arc::clone(&slot), Arc::clone(&view));
        thread.spawn(move || fill(&wanted, &filled, &seen)).map_err(Error::io("start a thread"))?;
        let spare = Self { slot, view, refill };
        spare.ask();
        Ok(spare)
    }

    /// The view of `/proc` that settings of namespaces are written by.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The spare one, or a new one while the calling thread does `f`.
    pub fn take_beside<T>(&self, f: impl FnOnce() -> T) -> (Result<Namespace>, T) {
        let ready = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.ask();
        match ready {
            Some(namespace) => (Ok(namespace), f()),
            None => Namespace::create_beside(&self.view, f),
        }
    }

    /// A request that is already waiting is enough.
    fn ask(&self) {
        let _ = self.refill.try_send(());
    }
}

fn fill(wanted: &Receiver<()>, slot: &Slot, view: &View) {
    while wanted.recv().is_ok() {
        thread::sleep(REFILL_DELAY);
        if slot.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            continue;
        }
        match Namespace::create_seen(view) {
            Ok(namespace) => *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(namespace),
            // The next start will say so itself.
            Err(error) => tracing::debug!(%error, "no spare network namespace"),
        }
    }
}
