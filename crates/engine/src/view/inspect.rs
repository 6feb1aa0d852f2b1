//! `inspect` of a container.
use crate::engine::Inner;
use crate::error::Result;
use crate::machine::Phase;
use crate::registry::Snapshot;
use knarr_docker_types::Map;
use knarr_docker_types::container::{InspectResponse, NetworkSettings, State};
use knarr_docker_types::container_inspect::DriverData;
use knarr_docker_types::host_config::HostConfig;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::driver;

pub(crate) fn inspect(engine: &Inner, snapshot: &Snapshot, size: bool) -> Result<InspectResponse> {
    let container = &snapshot.container;
    let dir = engine.paths.container(&container.id);
    let file = |name: &str| {
        let path = dir.join(name);
        if path.exists() { path.to_string_lossy().into_owned() } else { String::new() }
    };
    let command = container.command();
    let (path, args) = command.split_first().map_or(("", &[][..]), |(path, args)| (*path, args));
    let sizes = size.then(|| sizes(engine, snapshot));
    let execs = engine.execs.of(&container.id);
    Ok(InspectResponse {
        id: container.id.to_string(),
        created: container.created.rfc3339(),
        path: path.to_owned(),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        state: Some(state(snapshot)),
        image: container.image.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: match snapshot.status.started_at.is_never() {
            true => String::new(),
            false => crate::log_driver::shown_path(engine, container),
        },
        name: format!("/{}", container.name),
        restart_count: i64::from(snapshot.status.restarts),
        driver: driver::Kind::of(&container.rootfs).name().to_owned(),
        platform: container.platform.clone(),
        mount_label: container.labels.mount.clone(),
        process_label: container.labels.process.clone(),
        app_armor_profile: container.labels.apparmor.clone(),
        exec_ids: if execs.is_empty() { Default::default() } else { execs.into() },
        host_config: Some(HostConfig {
            links: super::links(engine, snapshot),
            ..container.host_config.clone()
        }),
        graph_driver: Some(graph_driver(&container.rootfs)),
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, all)| all),
        mounts: engine.mount_points(container).into(),
        config: Some(container.config.clone()),
        network_settings: Some(NetworkSettings {
            sandbox_id: String::new(),
            sandbox_key: if snapshot.is_live() {
                format!("/proc/{}/ns/net", snapshot.status.pid)
            } else {
                String::new()
            },
            ports: super::port_map(engine, snapshot),
            networks: super::networks(engine, snapshot),
        }),
        ..InspectResponse::default()
    })
}

pub(crate) fn state(snapshot: &Snapshot) -> State {
    let status = &snapshot.status;
    // As with Docker, a container that is paused or about to restart counts as running.
    let running = matches!(status.phase, Phase::Running | Phase::Paused | Phase::Restarting);
    State {
        status: status.phase.as_str().to_owned(),
        running,
        paused: status.phase == Phase::Paused,
        restarting: status.phase == Phase::Restarting,
        oom_killed: status.oom_killed,
        dead: status.phase == Phase::Dead,
        pid: i64::from(status.pid),
        exit_code: i64::from(status.exit_code),
        error: status.error.clone(),
        started_at: status.started_at.rfc3339(),
        finished_at: status.finished_at.rfc3339(),
        health: snapshot.health.as_ref().map(|health| health.shown()),
        log_lost: i64::try_from(status.log_lost).unwrap_or(i64::MAX),
    }
}

fn graph_driver(rootfs: &RootfsMount) -> DriverData {
    let mut data: Map<String> = Map::empty();
    match rootfs {
        RootfsMount::Overlay { lower, upper, work, .. } => {
            let lower: Vec<_> = lower.iter().map(|path| path.to_string_lossy()).collect();
            data.insert("LowerDir".to_owned(), lower.join(":"));
            data.insert("UpperDir".to_owned(), upper.to_string_lossy().into_owned());
            data.insert("WorkDir".to_owned(), work.to_string_lossy().into_owned());
        }
        RootfsMount::Directory { path } | RootfsMount::Copy { path, .. } => {
            data.insert("Dir".to_owned(), path.to_string_lossy().into_owned());
        }
    }
    DriverData { name: driver::Kind::of(rootfs).name().to_owned(), data }
}

/// Bytes of the container's own layer, and of that with its image.
pub(crate) fn sizes(engine: &Inner, snapshot: &Snapshot) -> (i64, i64) {
    // What cannot be read counts nothing: the container may be on its way out.
    let own = knarr_snapshot::own::size(&snapshot.container.rootfs).unwrap_or(0);
    let image =
        snapshot.container.image.as_ref().and_then(|id| engine.images.get(id).ok()).map_or(0, |i| i.size);
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    (number(own), number(own + image))
}
