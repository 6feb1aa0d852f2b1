//! One row of `ps`.
use super::status_text;
use crate::engine::Inner;
use crate::error::Result;
use crate::record::Time;
use crate::registry::Snapshot;
use knarr_docker_types::container::{HealthSummary, Summary};
use knarr_docker_types::container_summary::{SummaryHostConfig, SummaryNetworkSettings};

pub(crate) fn summary(engine: &Inner, snapshot: &Snapshot, size: bool) -> Result<Summary> {
    let container = &snapshot.container;
    let (size_rw, size_root_fs) = if size { super::inspect::sizes(engine, snapshot) } else { (0, 0) };
    Ok(Summary {
        id: container.id.to_string(),
        names: vec![format!("/{}", container.name)].into(),
        image: shown_image(engine, snapshot),
        image_id: container.image.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        command: command_text(&container.command()),
        created: container.created.seconds(),
        ports: super::ports(engine, snapshot).into(),
        size_rw,
        size_root_fs,
        labels: container.config.labels.clone().not_nil(),
        state: snapshot.status.phase.as_str().to_owned(),
        status: status_text::text(&snapshot.status, snapshot.health.as_ref().map(|h| h.status), Time::now()),
        health: Some(health(snapshot)),
        host_config: SummaryHostConfig {
            network_mode: container.host_config.network_mode.clone(),
            annotations: container.host_config.annotations.clone(),
        },
        network_settings: Some(SummaryNetworkSettings { networks: super::networks(engine, snapshot) }),
        mounts: engine.mount_points(container).into(),
        ..Summary::default()
    })
}

/// `none` without a check.
fn health(snapshot: &Snapshot) -> HealthSummary {
    match &snapshot.health {
        None => HealthSummary { status: "none".to_owned(), ..HealthSummary::default() },
        Some(health) => HealthSummary {
            status: health.status.as_str().to_owned(),
            failing_streak: i64::from(health.streak),
        },
    }
}

/// The name that was asked for, while it still means that image; else the id.
fn shown_image(engine: &Inner, snapshot: &Snapshot) -> String {
    let asked = &snapshot.container.config.image;
    let same = engine.images.find(asked).is_ok_and(|id| Some(&id) == snapshot.container.image.as_ref());
    match &snapshot.container.image {
        Some(id) if !same => format!("sha256:{id}"),
        _ => asked.clone(),
    }
}

/// As Go joins `Path` and `Args` in the list: arguments with spaces are quoted.
fn command_text(command: &[&str]) -> String {
    let quoted = command.iter().map(|argument| {
        if argument.contains(' ') { format!("'{argument}'") } else { (*argument).to_owned() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
