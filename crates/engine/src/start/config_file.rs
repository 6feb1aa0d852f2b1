//! `config.json`: facts gathered, user resolved, specification built and written.
use super::rootfs;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::spec::{self, DeviceNode, Facts, Files, Input, Joined};
use crate::user::{self, User};
use std::fs;
use std::path::Path;

pub(super) fn write(engine: &Inner, container: &Container, files: &Files) -> Result<()> {
    let facts = gather_facts(engine, container)?;
    let joined = joined(engine, container)?;
    let user = resolve_user(container)?;
    let wants_init = container.host_config.init.unwrap_or(engine.config.init);
    let host = &container.host_config;
    let limits = &engine.config.default_ulimits;
    let default_ulimits: Vec<_> =
        limits.iter().map(|(name, (soft, hard))| (name.clone(), *soft, *hard)).collect();
    let cgroup_path = engine.cgroup_path(container);
    let input = Input {
        container,
        user: &user,
        facts: &facts,
        joined: &joined,
        files,
        cgroup_path: &cgroup_path,
        init: wants_init.then(|| engine.config.exe.clone()),
        default_ulimits: &default_ulimits,
        default_shm_size: engine.config.default_shm_size,
        no_new_privileges: engine.config.no_new_privileges,
        private_cgroupns: match (host.cgroupns_mode.as_str(), engine.config.cgroupns_mode.as_str()) {
            ("private", _) | ("", "private") => true,
            ("host", _) | ("", "host") => false,
            _ => facts.cgroup_v2 && !host.privileged,
        },
    };
    let mut spec = spec::build(&input);
    spec.linux.get_or_insert_default().seccomp = crate::seccomp::filter(engine, container, &spec, &facts)?;
    let path = engine.paths.run(&container.id).join(knarr_shim_proto::file::CONFIG);
    let json = serde_json::to_vec(&spec).map_err(|e| Error::Internal(e.to_string()))?;
    fs::write(&path, json).map_err(Error::path("write", &path))
}

pub(crate) fn resolve_user(container: &Container) -> Result<User> {
    let root = rootfs::view(&container.rootfs, None)?;
    user::resolve(&root, &container.config.user, &container.host_config.group_add)
}

fn joined(engine: &Inner, container: &Container) -> Result<Joined> {
    let pid_of = |mode: &str, what: &str| -> Result<Option<i32>> {
        let Some(other) = mode.strip_prefix("container:") else { return Ok(None) };
        let snapshot = engine.containers.resolve(other)?.snapshot;
        if !snapshot.is_live() {
            return Err(Error::Conflict(format!(
                "cannot join {what} of a non running container: {}",
                snapshot.id()
            )));
        }
        // What the other one keeps for itself is not joined.
        let modes = &snapshot.container.host_config;
        if what == "IPC" && matches!(modes.ipc_mode.as_str(), "" | "none" | "private") {
            return Err(Error::Invalid(format!(
                "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                snapshot.id()
            )));
        }
        Ok(Some(snapshot.status.pid))
    };
    let host = &container.host_config;
    Ok(Joined { pid: pid_of(&host.pid_mode, "PID")?, ipc: pid_of(&host.ipc_mode, "IPC")? })
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
