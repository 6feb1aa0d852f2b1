//! A container's control group: its path, and whose it is.
//!
//! Invariant: a container begins in a group without processes that no other container of this root has. Only a group that was made for
//! the container is killed and removed with it; one that was there before stays, whoever is in it.
use super::container::Container;
use super::{Global, cgroup_error};
use crate::{Error, Result};
use knarr_cgroup::Cgroup;
use knarr_cgroup::systemd::Unit;
use knarr_linux::Errno;
use knarr_oci::runtime::Spec;

/// The path of the configuration, or one of the id. Empty: the container stays in the caller's group.
pub(crate) fn path(global: &Global, spec: &Spec, id: &str) -> Result<String> {
    if global.without_cgroup {
        return Ok(String::new());
    }
    let given = spec.linux.as_ref().and_then(|l| l.cgroups_path.as_deref()).filter(|p| !p.is_empty());
    match given {
        Some(path) if global.systemd_cgroup && !Unit::is_name(path) => Err(Error::Invalid {
            what: format!("cgroupsPath {path:?}: with --systemd-cgroup it is \"slice:prefix:name\""),
        }),
        Some(path) => Ok(path.to_owned()),
        None if global.systemd_cgroup => Ok(format!(":knarr:{id}")),
        None => Ok(format!("/{id}")),
    }
}

/// Whether the group of a new container is there already. It may be, as long as it is nobody's.
pub(crate) fn is_there(global: &Global, path: &str) -> Result<bool> {
    if path.is_empty() {
        return Ok(false);
    }
    let group = Cgroup::new(path).map_err(cgroup_error)?;
    if !group.exists() {
        return Ok(false);
    }
    let processes = match group.all_pids() {
        // It goes away meanwhile.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => 0,
        found => found.map_err(cgroup_error)?.len(),
    };
    if processes > 0 {
        let path = group.path();
        return Err(Error::Cgroup(format!(
            "container's cgroup is not empty: {processes} process(es) found in {path}"
        )));
    }
    match owner(global, &group) {
        Some(id) => Err(Error::Cgroup(format!("{} is the cgroup of container {id}", group.path()))),
        None => Ok(true),
    }
}

/// Another container that was given this group, and whose processes are only not there now.
fn owner(global: &Global, group: &Cgroup) -> Option<String> {
    let entries = std::fs::read_dir(&global.root).into_iter().flatten().flatten();
    let containers = entries.filter_map(|entry| Container::load(global, entry.file_name().to_str()?).ok());
    containers.map(|container| container.record).find_map(|record| {
        let own = Some(record.knarr.cgroup.as_str()).filter(|path| !path.is_empty())?;
        (Cgroup::new(own).ok()?.path() == group.path()).then_some(record.id)
    })
}
