//! A signal to a container's process, also when its supervisor does not answer.
//!
//! Invariant: SIGKILL always has an end. A supervisor may be held up for a while, by an exec whose process was stopped from
//! inside of the container, or by the host; then the container's control group is killed without it, and one that shows no
//! sign of life after that is ended, too: its task takes over from its records.
use super::Found;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::signal::SIGKILL;
use crate::supervisor::{self, ShimHandle, records};
use knarr_shim_proto::FailureKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a supervisor may take to deliver SIGKILL.
const KILL_ANSWER: Duration = Duration::from_secs(2);
/// How long it may take to answer at all after everything that it looks after was killed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// Success: it was delivered.
pub(super) async fn signal(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    live: Option<ShimHandle>,
    signal: i32,
) -> Result<()> {
    let why = match (&live, signal) {
        (Some(handle), SIGKILL) => match timeout(KILL_ANSWER, handle.kill(SIGKILL)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if has_ended(&error) => return Err(not_running(container)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {KILL_ANSWER:?}"),
        },
        (Some(handle), _) => {
            return handle.kill(signal).await.map_err(|error| match has_ended(&error) {
                true => not_running(container),
                false => error.into(),
            });
        }
        (None, SIGKILL) => "not reached".to_owned(),
        (None, _) => return Err(Error::Unavailable("the container's supervisor is not reached".to_owned())),
    };
    tracing::warn!(container = container.id.short(), why, "killed without its supervisor");
    crate::start::kill_leftovers(engine, container).await;
    end_if_dead(engine, container, live.as_ref()).await;
    Ok(())
}

/// A supervisor that does not even say how things stand is of no use any more.
pub(crate) async fn end_if_dead(engine: &Inner, container: &Container, handle: Option<&ShimHandle>) {
    let run = engine.paths.run(&container.id);
    let lives = match handle {
        Some(handle) => matches!(timeout(SIGN_OF_LIFE, handle.state()).await, Ok(Ok(_))),
        None => !matches!(super::find_supervisor(&run, Some(SIGN_OF_LIFE)).await, Found::Busy),
    };
    if lives {
        return;
    }
    if let Ok(Some(record)) = records::shim(&run).await
        && records::kill_shim(&record).await
    {
        tracing::error!(container = container.id.short(), "a supervisor that did not answer was ended");
    }
}

fn has_ended(error: &supervisor::Error) -> bool {
    error.failure().is_some_and(|failure| failure.kind == FailureKind::Conflict)
}

fn not_running(container: &Container) -> Error {
    Error::Conflict(format!("container {} is not running", container.id))
}
