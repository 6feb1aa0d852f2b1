//! The process of `exec`: the container's own with another program, user, environment, directory.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::registry::Snapshot;
use crate::spec;
use crate::user;
use knarr_docker_types::exec::CreateRequest;
use knarr_oci::runtime::{Process, Spec};

/// Largest configuration that is read back.
const MAX_CONFIG: u64 = 16 << 20;

pub(crate) fn build(engine: &Inner, snapshot: &Snapshot, request: &CreateRequest) -> Result<Process> {
    let spec = read_spec(engine, snapshot)?;
    let mut process = spec.process.unwrap_or_default();
    let root = crate::start::view(&snapshot.container.rootfs, Some(&snapshot.status))?;
    let config = &snapshot.container.config;
    let name = if request.user.is_empty() { &config.user } else { &request.user };
    let found = user::resolve(&root, name, &snapshot.container.host_config.group_add)?;
    process.user = found.oci();
    process.args = request.cmd.to_vec();
    process.terminal = request.tty;
    process.console_size = None;
    environment(&mut process.env, config, request, &found.home);
    if !request.working_dir.is_empty() {
        if !request.working_dir.starts_with('/') {
            return Err(Error::Invalid(format!("Cwd must be an absolute path: {}", request.working_dir)));
        }
        process.cwd.clone_from(&request.working_dir);
    }
    let bounding = match (&process.capabilities, request.privileged) {
        (_, true) => engine.host.bounding.clone(),
        (Some(capabilities), false) => capabilities.bounding.clone(),
        (None, false) => Vec::new(),
    };
    process.capabilities = Some(spec::for_user(bounding, found.uid));
    Ok(process)
}

fn environment(
    env: &mut Vec<String>,
    config: &knarr_docker_types::container_config::Config,
    request: &CreateRequest,
    home: &str,
) {
    let has = |list: &[String], name: &str| list.iter().any(|e| e.split('=').next() == Some(name));
    if !has(&config.env, "HOME") {
        env.retain(|entry| !entry.starts_with("HOME="));
    }
    if request.tty && !has(env, "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    spec::override_with(env, &request.env);
    if !has(env, "HOME") {
        env.push(format!("HOME={home}"));
    }
}

fn read_spec(engine: &Inner, snapshot: &Snapshot) -> Result<Spec> {
    use std::io::Read;
    let path = engine.paths.run(snapshot.id()).join(knarr_shim_proto::file::CONFIG);
    let file = match std::fs::File::open(&path) {
        // It ended a moment ago, and what there was of its run is gone.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Conflict(format!("container {} is not running", snapshot.id())));
        }
        file => file.map_err(Error::path("open", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG).read_to_end(&mut bytes).map_err(Error::path("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Internal(format!("{}: {e}", path.display())))
}
