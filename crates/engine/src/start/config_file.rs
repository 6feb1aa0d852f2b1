//! `config.json`: facts gathered, user resolved, specification built and written.
use super::rootfs;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::record::{Container, IdMaps};
use crate::spec::{self, DeviceNode, Facts, Files, Input, Joined};
use crate::user::{self, User};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Gives the processes whose namespaces it names.
pub(super) fn write(
    engine: &Inner,
    container: &Container,
    files: &Files,
    sources: &BTreeMap<String, PathBuf>,
    id_maps: Option<&IdMaps>,
) -> Result<Vec<Process>> {
    let facts = gather_facts(engine, container)?;
    let joined_pid = joined(engine, &container.host_config.pid_mode, "PID")?;
    let joined_ipc = joined(engine, &container.host_config.ipc_mode, "IPC")?;
    let joined =
        Joined { pid: joined_pid.as_ref().map(Process::pid), ipc: joined_ipc.as_ref().map(Process::pid) };
    let user = resolve_user(container)?;
    let wants_init = container.host_config.init.unwrap_or(engine.config().init);
    let host = &container.host_config;
    let config = engine.config();
    let limits = &config.default_ulimits;
    let mut default_ulimits: Vec<_> =
        limits.iter().map(|(name, (soft, hard))| (name.clone(), *soft, *hard)).collect();
    if !limits.contains_key("nofile")
        && let Some((soft, hard)) = engine.descriptor_limit
    {
        default_ulimits.push(("nofile".to_owned(), soft, hard));
    }
    let cgroup_path = engine.cgroup_path(container);
    let mut labels = container.labels.clone();
    labels.apparmor = engine.lsm.apparmor.in_force(&labels.apparmor)?.unwrap_or_default();
    let input = Input {
        container,
        labels: &labels,
        user: &user,
        facts: &facts,
        joined: &joined,
        id_maps,
        files,
        sources,
        cgroup_path: &cgroup_path,
        init: wants_init.then(|| engine.init_program.path()).transpose()?,
        default_ulimits: &default_ulimits,
        default_shm_size: engine.config().default_shm_size,
        no_new_privileges: engine.config().no_new_privileges,
        private_cgroupns: match (host.cgroupns_mode.as_str(), engine.config().cgroupns_mode.as_str()) {
            ("private", _) | ("", "private") => true,
            ("host", _) | ("", "host") => false,
            _ => facts.cgroup_v2,
        },
    };
    let mut spec = spec::build(&input);
    spec.linux.get_or_insert_default().seccomp = crate::seccomp::filter(engine, container, &spec, &facts)?;
    let path = engine.paths.run(&container.id).join(knarr_shim_proto::file::CONFIG);
    let json = serde_json::to_vec(&spec).map_err(|e| Error::Internal(e.to_string()))?;
    fs::write(&path, json).map_err(Error::path("write", &path))?;
    Ok(joined_pid.into_iter().chain(joined_ipc).collect())
}

pub(crate) fn resolve_user(container: &Container) -> Result<User> {
    let root = rootfs::view(&container.rootfs, None)?;
    user::resolve(&root, &container.config.user, &container.host_config.group_add)
}

/// The process whose namespace is joined, if the mode is `container:...`.
fn joined(engine: &Inner, mode: &str, what: &str) -> Result<Option<Process>> {
    let Some(other) = mode.strip_prefix("container:") else { return Ok(None) };
    let snapshot = engine.containers.resolve(other)?.snapshot;
    // Docker's text, and its status: the container that is started is not the one in the wrong state.
    let not_running = || {
        Error::Internal(format!(
            "failed to join {what} namespace: container {} is not running",
            snapshot.id()
        ))
    };
    if !snapshot.is_live() {
        return Err(not_running());
    }
    // What the other one keeps for itself is not joined.
    let modes = &snapshot.container.host_config;
    if what == "IPC" && matches!(modes.ipc_mode.as_str(), "" | "none" | "private") {
        return Err(Error::Invalid(format!(
            "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            snapshot.id()
        )));
    }
    Process::init(&snapshot.status).map(Some).map_err(|_| not_running())
}

/// The host's standing facts, and what this container's devices and limits name.
pub(crate) fn gather_facts(engine: &Inner, container: &Container) -> Result<Facts> {
    let mut facts = engine.host.clone();
    let host = &container.host_config;
    for mapping in &host.resources.devices {
        let path = Path::new(&mapping.path_on_host);
        let missing = |e: std::io::Error| {
            Error::Invalid(format!(
                "error gathering device information while adding custom device \"{}\": {e}",
                path.display()
            ))
        };
        let nodes = match DeviceNode::at(path).map_err(missing)? {
            Some(node) => vec![node],
            None => DeviceNode::below(path),
        };
        if nodes.is_empty() {
            return Err(Error::Invalid(format!(
                "error gathering device information while adding custom device \"{}\": not a device node",
                path.display()
            )));
        }
        facts.devices.insert(mapping.path_on_host.clone(), nodes);
    }
    let r = &host.resources;
    let throttled = [
        &r.blkio_device_read_bps,
        &r.blkio_device_write_bps,
        &r.blkio_device_read_iops,
        &r.blkio_device_write_iops,
    ];
    let weighed = r.blkio_weight_device.iter().map(|d| &d.path);
    for path in throttled.into_iter().flatten().map(|d| &d.path).chain(weighed) {
        let node = DeviceNode::at(Path::new(path)).map_err(Error::path("look at", path))?;
        let node = node.ok_or_else(|| Error::Invalid(format!("{path} is not a device")))?;
        facts.block_devices.insert(path.clone(), (node.major, node.minor));
    }
    if host.privileged {
        facts.all_devices = DeviceNode::below(Path::new("/dev"));
    }
    Ok(facts)
}
