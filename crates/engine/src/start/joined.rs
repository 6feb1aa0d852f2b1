//! Containers that another one needs: whose namespaces it joins (`--network`, `--ipc`, `--pid container:X`), and its links.
//!
//! After a restart of the engine or the machine they come back by their policies at about the same time: the one that joins
//! waits a moment for the one that it joins, and only if that one is going to run.
use crate::engine::Inner;
use crate::machine::{Phase, Policy};
use crate::process::Process;
use crate::record::Container;
use crate::registry::Snapshot;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Docker's time.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The names or ids of the containers whose namespaces it joins or that it is linked to.
pub(crate) fn names(container: &Container) -> Vec<&str> {
    let host = &container.host_config;
    let modes = [&host.network_mode, &host.ipc_mode, &host.pid_mode];
    let linked = host.links.iter().filter_map(|text| text.split(':').next());
    modes.into_iter().filter_map(|mode| mode.strip_prefix("container:")).chain(linked).collect()
}

/// Returns when all of them run, or when it makes no sense to wait any longer; the start says what is missing.
pub(super) async fn wait(engine: &Inner, container: &Container) {
    let give_up = Instant::now() + PATIENCE;
    for name in names(container) {
        while let Ok(entry) = engine.containers.resolve(name)
            && !runs(&entry.snapshot)
            && is_coming(&entry.snapshot)
            && Instant::now() < give_up
        {
            sleep(PAUSE).await;
        }
    }
}

fn runs(snapshot: &Snapshot) -> bool {
    snapshot.is_live() && Process::init(&snapshot.status).is_ok()
}

/// It is between two runs, or ended when the engine was not there and its policy brings it back.
fn is_coming(snapshot: &Snapshot) -> bool {
    let status = &snapshot.status;
    let policy = Policy::of(&snapshot.container.host_config.restart_policy);
    match status.phase {
        Phase::Restarting => true,
        Phase::Running | Phase::Paused | Phase::Exited => {
            policy.restarts_at_boot(status.stopped_by_user, status.exit_code, status.restarts)
                && !(policy == Policy::Always && status.stopped_by_user)
        }
        Phase::Created | Phase::Removing | Phase::Dead => false,
    }
}
