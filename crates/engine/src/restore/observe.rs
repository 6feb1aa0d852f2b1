//! What is found of a container's last run.
use crate::engine::Inner;
use crate::record::Container;
use crate::supervisor::records;
use knarr_oci::rootfs::RootfsMount;
use knarr_shim_proto::ExitRecord;
use std::path::Path;
use std::sync::Arc;

/// Facts; a record that cannot be read counts as missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    pub exit: Option<ExitRecord>,
    pub supervisor_alive: bool,
    /// There was a supervisor in this boot.
    pub had_supervisor: bool,
    /// Its root was mounted without being synced: whatever the record says, it was started.
    pub ran_unsynced: bool,
}

pub(super) async fn container(run: &Path, rootfs: &RootfsMount) -> Observed {
    let report = |error| tracing::warn!(path = %run.display(), %error, "record not read");
    let exit = records::exit(run).await.map_err(report).ok().flatten();
    let shim = records::shim(run).await.map_err(report).ok().flatten();
    let supervisor_alive = match &shim {
        Some(shim) => records::is_shim_alive(shim).await,
        None => false,
    };
    let ran_unsynced = match rootfs {
        // The mark that the kernel leaves.
        RootfsMount::Overlay { work, volatile: true, .. } => work.join("work/incompat/volatile").exists(),
        _ => false,
    };
    Observed { exit, supervisor_alive, had_supervisor: shim.is_some(), ran_unsynced }
}

/// Whether its processes are frozen; `None` when nobody can say.
pub(super) async fn is_frozen(engine: &Arc<Inner>, container: &Container) -> Option<bool> {
    let path = engine.cgroup_path(container);
    let frozen = engine.pool.run(move || crate::cgroups::is_frozen(&path)).await.and_then(|inner| inner);
    frozen
        .inspect_err(|error| tracing::debug!(container = container.id.short(), %error, "freezer not read"))
        .ok()
}
