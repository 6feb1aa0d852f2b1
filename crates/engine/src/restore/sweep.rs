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

/// Largest configuration that is read.
const MAX_CONFIG: u64 = 16 << 20;

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
        let run = engine.paths.runs().join(&id);
        if let Some(path) = own_group(&run, &id) {
            cgroups::remove(&path);
        }
        let _ = fs::remove_dir_all(run);
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

/// The group of a run below a parent of its own (`--cgroup-parent`), as its configuration has it.
fn own_group(run: &Path, id: &str) -> Option<String> {
    let file = fs::File::open(run.join(knarr_shim_proto::file::CONFIG)).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_CONFIG), &mut bytes).ok()?;
    let spec: knarr_oci::runtime::Spec = serde_json::from_slice(&bytes).ok()?;
    let path = spec.linux?.cgroups_path?;
    // Nothing else is ours to kill.
    let name = path.rsplit(['/', ':']).next()?;
    (name == id).then_some(path)
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
    fn only_its_own_group_is_a_strangers() {
        let (run, id) = (tempfile::tempdir().unwrap(), "ab".repeat(32));
        let write = |path: &str| {
            let spec = serde_json::json!({ "ociVersion": "1.2.0", "linux": { "cgroupsPath": path } });
            fs::write(run.path().join("config.json"), spec.to_string()).unwrap();
        };
        assert_eq!(own_group(run.path(), &id), None);
        write(&format!("/own/parent/{id}"));
        assert_eq!(own_group(run.path(), &id), Some(format!("/own/parent/{id}")));
        // A scope of systemd's.
        write(&format!("own.slice:knarr-x:{id}"));
        assert_eq!(own_group(run.path(), &id), Some(format!("own.slice:knarr-x:{id}")));
        write("/user.slice");
        assert_eq!(own_group(run.path(), &id), None);
    }

    #[test]
    fn only_ids_without_an_owner_are_strangers() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(strangers(&set(&[&a, &b, "cgroup.procs"]), &set(&[&b])), vec![a.clone()]);
        let scopes = [format!("knarr-e-{a}.scope"), format!("knarr-f-{b}.scope"), "cron.service".to_owned()];
        assert_eq!(scope_ids(&scopes.into(), "knarr-e"), [a].into());
    }
}
