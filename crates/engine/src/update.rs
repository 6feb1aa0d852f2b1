//! `docker update`: limits and restart policy of an existing container, and our own edits of it (`edit`).
use crate::create::validate;
use crate::edit::{self, Edit, RowChange};
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::machine::Phase;
use crate::record::Container;
use crate::registry::Entry;
use crate::spec;
use knarr_cgroup::Cgroup;
use knarr_docker_types::container::UpdateRequest;
use knarr_docker_types::resources::Resources;
use knarr_oci::runtime::Pids;
use std::sync::Arc;

pub(crate) async fn update(engine: &Engine, entry: &Entry, request: UpdateRequest) -> Result<()> {
    let snapshot = Arc::clone(&entry.snapshot);
    let id = snapshot.id().clone();
    let cannot = |why: &str| Error::Conflict(format!("Cannot update container {id}: {why}"));
    if matches!(snapshot.status.phase, Phase::Removing | Phase::Dead) {
        return Err(cannot("container is marked for removal and cannot be \"update\""));
    }
    let policy = request.restart_policy.clone();
    if !policy.name.is_empty() {
        validate::restart_policy(&policy)?;
        if snapshot.container.host_config.auto_remove && policy.name != "no" {
            return Err(cannot(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
    }
    let old = snapshot.container.host_config.resources.clone();
    let merged = merge(&old, &request.resources).map_err(cannot)?;
    validate::resources(&merged)?;
    let cpus = |r: &Resources| (r.nano_cpus, r.cpuset_cpus.clone(), r.cpuset_mems.clone());
    // What it has it may keep, though the host has less by now.
    if cpus(&merged) != cpus(&old) {
        crate::create::cpus_available(&merged)?;
    }
    let edit = Edit::of(&request, &snapshot.container)?;
    if merged != old && snapshot.is_live() {
        let mut changed = Container::clone(&snapshot.container);
        changed.host_config.resources = merged.clone();
        let set = engine.blocking(move |engine| set_limits(engine, &changed)).await;
        // One that ended meanwhile has no group any more: what is asked is for its next run.
        let lives =
            || engine.inner.containers.resolve(id.as_str()).is_ok_and(|entry| entry.snapshot.is_live());
        if set.is_err() && lives() {
            return set;
        }
    }
    let commit = async |row: Option<RowChange>| {
        let change = move |container: &mut Container| {
            container.host_config.resources = merged;
            if !policy.name.is_empty() {
                container.host_config.restart_policy = policy;
            }
            if let Some(row) = row {
                row.apply(container);
            }
        };
        entry.inbox.configure("update", Vec::new(), change).await
    };
    match edit.is_empty() {
        true => commit(None).await,
        false => edit::carry_out(engine, entry, &edit, async |row| commit(Some(row)).await).await,
    }
}

/// Puts the limits of a container's row in force, of one that runs.
pub(crate) fn set_limits(engine: &Inner, container: &Container) -> Result<()> {
    let facts = crate::start::gather_facts(engine, container)?;
    let mut limits = spec::resources(&container.host_config.resources, &facts);
    // At creation no limit is nothing to write; here it takes away the one from before.
    if container.host_config.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        limits.pids = Some(Pids { limit: -1 });
    }
    Cgroup::new(&engine.cgroup_path(container))?
        .apply(&limits)
        .map_err(|e| Error::Internal(format!("Cannot update container {}: {e}", container.id)))
}

/// What is zero stays as it was. The error is Docker's text.
fn merge(old: &Resources, new: &Resources) -> Result<Resources, &'static str> {
    let mut merged = old.clone();
    let numbers: [(&mut i64, i64); 9] = [
        (&mut merged.cpu_shares, new.cpu_shares),
        (&mut merged.cpu_period, new.cpu_period),
        (&mut merged.cpu_quota, new.cpu_quota),
        (&mut merged.cpu_realtime_period, new.cpu_realtime_period),
        (&mut merged.cpu_realtime_runtime, new.cpu_realtime_runtime),
        (&mut merged.memory, new.memory),
        (&mut merged.memory_swap, new.memory_swap),
        (&mut merged.memory_reservation, new.memory_reservation),
        (&mut merged.nano_cpus, new.nano_cpus),
    ];
    for (have, asked) in numbers {
        if asked != 0 {
            *have = asked;
        }
    }
    let both = [
        (
            new.nano_cpus > 0 && old.cpu_period > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            new.nano_cpus > 0 && old.cpu_quota > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            new.cpu_period > 0 && old.nano_cpus > 0,
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            new.cpu_quota > 0 && old.nano_cpus > 0,
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            // Also one that was never set, or has no end.
            new.memory > old.memory_swap && new.memory != 0 && new.memory_swap == 0,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
    ];
    if let Some((_, text)) = both.into_iter().find(|(conflict, _)| *conflict) {
        return Err(text);
    }
    if new.blkio_weight != 0 {
        merged.blkio_weight = new.blkio_weight;
    }
    for (have, asked) in
        [(&mut merged.cpuset_cpus, &new.cpuset_cpus), (&mut merged.cpuset_mems, &new.cpuset_mems)]
    {
        if !asked.is_empty() {
            have.clone_from(asked);
        }
    }
    if !new.blkio_weight_device.is_nil() {
        merged.blkio_weight_device = new.blkio_weight_device.clone();
    }
    for (have, asked) in [
        (&mut merged.blkio_device_read_bps, &new.blkio_device_read_bps),
        (&mut merged.blkio_device_write_bps, &new.blkio_device_write_bps),
        (&mut merged.blkio_device_read_iops, &new.blkio_device_read_iops),
        (&mut merged.blkio_device_write_iops, &new.blkio_device_write_iops),
    ] {
        if !asked.is_nil() {
            have.clone_from(asked);
        }
    }
    if new.pids_limit.is_some() {
        merged.pids_limit = new.pids_limit;
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let old =
            Resources { memory: 100 << 20, memory_swap: 200 << 20, cpu_shares: 5, ..Resources::default() };
        let new = Resources { cpu_shares: 7, pids_limit: Some(9), ..Resources::default() };
        let merged = merge(&old, &new).unwrap();
        assert_eq!((merged.memory, merged.cpu_shares, merged.pids_limit), (100 << 20, 7, Some(9)));
        let memory = |memory, memory_swap| Resources { memory, memory_swap, ..Resources::default() };
        for (had, asked) in [(&old, memory(300 << 20, 0)), (&memory(0, 0), memory(64 << 20, 0))] {
            let text = merge(had, &asked).unwrap_err();
            assert!(text.starts_with("Memory limit should be smaller than already set memoryswap"), "{text}");
        }
        assert_eq!(merge(&old, &memory(150 << 20, 0)).unwrap().memory, 150 << 20);
        assert_eq!(merge(&memory(0, 0), &memory(64 << 20, -1)).unwrap().memory_swap, -1);
        let both = Resources { nano_cpus: 1, ..Resources::default() };
        assert!(merge(&both, &Resources { cpu_quota: 5, ..Resources::default() }).is_err());
    }
}
