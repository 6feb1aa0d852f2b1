//! The process of `exec`: the container's own with another program, user, environment, directory.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::registry::Snapshot;
use crate::spec;
use crate::user;
use knarr_docker_types::exec::CreateRequest;
use knarr_oci::runtime::Process;

/// Largest configuration that is read back.
const MAX_CONFIG: u64 = 16 << 20;

pub(crate) fn build(engine: &Inner, snapshot: &Snapshot, request: &CreateRequest) -> Result<Process> {
    let mut process = read_process(engine, snapshot)?;
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
    // Docker's own variable goes with the command's terminal, not with the container's.
    if !has(&config.env, "TERM") {
        env.retain(|entry| !entry.starts_with("TERM="));
        if request.tty {
            env.push("TERM=xterm".to_owned());
        }
    }
    spec::override_with(env, &request.env);
    if !has(env, "HOME") {
        env.push(format!("HOME={home}"));
    }
}

/// The container's own process, of its configuration.
fn read_process(engine: &Inner, snapshot: &Snapshot) -> Result<Process> {
    use std::io::Read;
    /// What else is there is passed over, not made into values.
    #[derive(serde::Deserialize)]
    struct OfSpec {
        #[serde(default)]
        process: Option<Process>,
    }
    let path = engine.paths.run(snapshot.id()).join(knarr_shim_proto::file::CONFIG);
    let file = match std::fs::File::open(&path) {
        // It ended a moment ago, and what there was of its run is gone.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Conflict(format!("container {} is not running", snapshot.id())));
        }
        file => file.map_err(Error::path("open", &path))?,
    };
    let length = file.metadata().map_err(Error::path("read", &path))?.len().min(MAX_CONFIG);
    // One more, so that the end is seen without another buffer.
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(MAX_CONFIG).read_to_end(&mut bytes).map_err(Error::path("read", &path))?;
    let spec: OfSpec =
        serde_json::from_slice(&bytes).map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
    Ok(spec.process.unwrap_or_default())
}
