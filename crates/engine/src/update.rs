//! `docker update`: limits and restart policy of an existing container.
use crate::create::validate;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::machine::Phase;
use crate::registry::Entry;
use crate::spec;
use knarr_cgroup::Cgroup;
use knarr_docker_types::container::UpdateRequest;
use knarr_docker_types::resources::Resources;
use std::sync::Arc;

pub(crate) async fn update(engine: &Arc<Inner>, entry: &Entry, request: UpdateRequest) -> Result<()> {
    let snapshot = Arc::clone(&entry.snapshot);
    if matches!(snapshot.status.phase, Phase::Removing | Phase::Dead) {
        return Err(Error::Conflict("container is marked for removal and cannot be \"update\"".to_owned()));
    }
    let policy = request.restart_policy.clone();
    if !policy.name.is_empty() {
        validate::restart_policy(&policy)?;
        if snapshot.container.host_config.auto_remove && policy.name != "no" {
            return Err(Error::Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
            ));
        }
    }
    let old = snapshot.container.host_config.resources.clone();
    let merged = merge(&old, &request.resources)?;
    validate::resources(&merged)?;
    if merged.cpuset_cpus != old.cpuset_cpus || merged.cpuset_mems != old.cpuset_mems {
        crate::create::cpusets_available(&merged)?;
    }
    if merged != old && snapshot.is_live() {
        let (work, container, resources) =
            (Arc::clone(engine), Arc::clone(&snapshot.container), merged.clone());
        engine
            .pool
            .run(move || {
                let mut changed = container.as_ref().clone();
                changed.host_config.resources = resources;
                let facts = crate::start::gather_facts(&work, &changed)?;
                let limits = spec::resources(&changed.host_config.resources, &facts);
                Cgroup::new(&work.cgroup_path(&container))?
                    .apply(&limits)
                    .map_err(|e| Error::Internal(format!("Cannot update container {}: {e}", container.id)))
            })
            .await??;
    }
    entry
        .inbox
        .configure("update", Vec::new(), move |container| {
            container.host_config.resources = merged;
            if !policy.name.is_empty() {
                container.host_config.restart_policy = policy;
            }
        })
        .await
}

/// What is zero stays as it was.
fn merge(old: &Resources, new: &Resources) -> Result<Resources> {
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
    if new.nano_cpus > 0 && (old.cpu_period > 0 || old.cpu_quota > 0) {
        return Err(Error::Invalid(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set".to_owned(),
        ));
    }
    if (new.cpu_period > 0 || new.cpu_quota > 0) && old.nano_cpus > 0 {
        return Err(Error::Invalid(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set".to_owned(),
        ));
    }
    if new.memory > 0 && new.memory_swap == 0 && old.memory_swap > 0 && new.memory > old.memory_swap {
        return Err(Error::Invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                .to_owned(),
        ));
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
        assert!(merge(&old, &Resources { memory: 300 << 20, ..Resources::default() }).is_err());
        let both = Resources { nano_cpus: 1, ..Resources::default() };
        assert!(merge(&both, &Resources { cpu_quota: 5, ..Resources::default() }).is_err());
    }
}
