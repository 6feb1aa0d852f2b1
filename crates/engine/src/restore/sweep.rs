//! What nobody owns goes: run directories, container directories, control groups.
use crate::cgroups;
use crate::engine::Inner;
use crate::record::Container;
use knarr_base::ContainerId;
use knarr_cgroup::Cgroup;
use knarr_state::Record;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub(super) fn all(engine: &Inner) {
    let known: BTreeSet<String> = engine.containers.all().iter().map(|s| s.id().to_string()).collect();
    let live: BTreeSet<String> =
        engine.containers.all().iter().filter(|s| s.live.is_some()).map(|s| s.id().to_string()).collect();
    let parent = engine.cgroup_parent();
    for id in strangers(&groups(engine), &live) {
        // A container that just ended is cleaned by its task; one that nobody knows is killed.
        if !known.contains(&id) {
            tracing::warn!(container = %id, "processes of an unknown container killed");
            cgroups::remove(&match engine.systemd_cgroup() {
                true => format!("{parent}:{}:{id}", engine.scope_prefix()),
                false => format!("{parent}/{id}"),
            });
        }
    }
    for id in strangers(&names(&engine.paths.runs()), &known) {
        let _ = fs::remove_dir_all(engine.paths.runs().join(id));
    }
    let kept = match damaged(engine) {
        Ok(damaged) => known.union(&damaged).cloned().collect(),
        Err(error) => {
            tracing::error!(%error, "damaged records not listed: no container's directory is swept");
            return;
        }
    };
    for id in strangers(&names(&engine.paths.containers()), &kept) {
        tracing::info!(container = %id, "directory without a record moved to the trash");
        engine.trash.discard(&engine.paths.containers().join(id));
    }
}

/// Containers whose record was damaged: what they wrote is not lost with it.
fn damaged(engine: &Inner) -> knarr_state::Result<BTreeSet<String>> {
    let rows = engine.store.quarantined()?.into_iter();
    Ok(rows.filter(|row| row.table == Container::TABLE).map(|row| row.key).collect())
}

/// Ids among `found` that are not in `owned`. What is no id is not ours.
fn strangers(found: &BTreeSet<String>, owned: &BTreeSet<String>) -> Vec<String> {
    found.difference(owned).filter(|name| ContainerId::parse(name).is_ok()).cloned().collect()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Names below the parent group; of scopes the part that is an id, if they are this engine's.
fn groups(engine: &Inner) -> BTreeSet<String> {
    let parent = engine.cgroup_parent();
    if !engine.systemd_cgroup() {
        return cgroup_children(&parent);
    }
    let Ok(slice) = knarr_cgroup::systemd::slice_path(&parent) else { return BTreeSet::new() };
    scope_ids(&cgroup_children(&slice), &engine.scope_prefix())
}

fn scope_ids(names: &BTreeSet<String>, prefix: &str) -> BTreeSet<String> {
    let id = |name: &String| {
        Some(name.strip_suffix(".scope")?.strip_prefix(prefix)?.strip_prefix('-')?.to_owned())
    };
    names.iter().filter_map(id).collect()
}

fn cgroup_children(parent: &str) -> BTreeSet<String> {
    let Ok(group) = Cgroup::new(parent) else { return BTreeSet::new() };
    group.directories().iter().flat_map(|dir| names(dir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_without_an_owner_are_strangers() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(strangers(&set(&[&a, &b, "cgroup.procs"]), &set(&[&b])), vec![a.clone()]);
        let scopes = [format!("knarr-e-{a}.scope"), format!("knarr-f-{b}.scope"), "cron.service".to_owned()];
        assert_eq!(scope_ids(&scopes.into(), "knarr-e"), [a].into());
    }
}
