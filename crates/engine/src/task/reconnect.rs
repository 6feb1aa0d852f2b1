//! Finding a supervisor again whose control connection ended, or that an earlier engine left.
//!
//! Invariant: a supervisor counts as dead when the process of its record is gone, and for no other reason; one that is slow
//! or refuses a connection is asked again as long as it lives.
use crate::supervisor::{Events, ShimHandle, records};
use knarr_shim_proto::{ExitRecord, StateReport};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long one connection may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(2);

pub(crate) enum Found {
    Connected(Box<Connected>),
    /// Its container ended; the record is final.
    Ended(ExitRecord),
    /// No process, no record.
    Dead,
    /// It lives and did not answer in time.
    Busy,
}

pub(crate) struct Connected {
    pub handle: ShimHandle,
    pub events: Events,
    pub report: StateReport,
}

/// Looks for the supervisor of a run directory; without `patience` as long as it lives.
pub(crate) async fn supervisor(run: &Path, patience: Option<Duration>) -> Found {
    let give_up = patience.map(|patience| Instant::now() + patience);
    let mut pause = FIRST_PAUSE;
    loop {
        // Before its record is read: what it wrote last is not missed.
        let alive = match records::shim(run).await {
            Ok(Some(record)) => records::is_shim_alive(&record).await,
            _ => false,
        };
        if let Ok(Some(record)) = records::exit(run).await {
            return Found::Ended(record);
        }
        if !alive {
            return Found::Dead;
        }
        let left = give_up.map_or(ANSWER, |end| end.saturating_duration_since(Instant::now()).min(ANSWER));
        match timeout(left, connect(run)).await {
            Ok(Ok(connected)) => return Found::Connected(Box::new(connected)),
            Ok(Err(error)) => tracing::debug!(path = %run.display(), %error, "supervisor not reached"),
            Err(_) => tracing::debug!(path = %run.display(), "no answer from a supervisor"),
        }
        if give_up.is_some_and(|end| Instant::now() + pause >= end) {
            return Found::Busy;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn connect(run: &Path) -> crate::supervisor::Result<Connected> {
    let (handle, events) = ShimHandle::connect(run).await?;
    let report = handle.state().await?;
    Ok(Connected { handle, events, report })
}
