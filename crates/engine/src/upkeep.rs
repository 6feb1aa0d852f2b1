//! Checks of everything on the disk, and clean-up by policy.
//!
//! Images are the crate `image`'s; here are directories of containers and volumes against their rows, and who uses what.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Time;
use knarr_base::{ContainerId, ImageId};
use knarr_docker_types::upkeep::{CheckFinding, CheckReport, CleanReport, CleanedImage};
use knarr_image::{CheckOptions, CleanPolicy, Finding, Outcome, Reason};
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Event;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Rows, blobs and layers.
pub(crate) fn check_images(engine: &Inner, options: CheckOptions) -> Result<CheckReport> {
    let done = engine.images.check(options, &|| busy_layers(engine))?;
    let mut report = CheckReport {
        records: done.records,
        images: done.images,
        blobs: done.blobs,
        blob_bytes: done.blob_bytes,
        layers: done.layers,
        layers_compared: done.layers_compared,
        ..CheckReport::default()
    };
    report.findings = done.findings.into_iter().map(shown).collect::<Vec<_>>().into();
    Ok(report)
}

/// Directories of containers and volumes; while nobody makes one.
pub(crate) fn check_directories(
    engine: &Inner,
    repair: bool,
    mut report: CheckReport,
) -> Result<CheckReport> {
    containers(engine, repair, &mut report)?;
    volumes(engine, repair, &mut report)?;
    if repair {
        engine.trash.empty();
    }
    let is_damage = |f: &&CheckFinding| !f.orphan && matches!(f.outcome.as_str(), "found" | "left");
    report.damaged = report.findings.iter().filter(is_damage).count() as u64;
    Ok(report)
}

/// Layers that processes run on.
fn busy_layers(engine: &Inner) -> HashSet<Digest> {
    let live = engine.containers.all().into_iter().filter(|s| s.is_live());
    let layers = engine.paths.data_root.join("layers");
    let of = |path: &std::path::PathBuf| {
        let hex = path.strip_prefix(&layers).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
        Digest::parse(&format!("sha256:{hex}")).ok()
    };
    live.flat_map(|s| match &s.container.rootfs {
        RootfsMount::Overlay { lower, .. } => lower.iter().filter_map(of).collect(),
        // A copy needs its layers no more.
        RootfsMount::Directory { .. } | RootfsMount::Copy { .. } => Vec::new(),
    })
    .collect()
}

fn shown(finding: Finding) -> CheckFinding {
    let (outcome, detail) = match finding.outcome {
        Outcome::Found => ("found", String::new()),
        Outcome::Repaired(detail) => ("repaired", detail),
        Outcome::Removed(detail) => ("removed", detail),
        Outcome::Quarantined(detail) => ("quarantined", detail),
        Outcome::Left(detail) => ("left", detail),
    };
    CheckFinding {
        subject: finding.subject.as_str().to_owned(),
        object: finding.object,
        problem: finding.problem,
        orphan: finding.orphan,
        used_by: finding.used_by.into(),
        outcome: outcome.to_owned(),
        detail,
    }
}

fn add(
    report: &mut CheckReport,
    subject: &str,
    object: &str,
    problem: &str,
    outcome: (&str, &str),
    orphan: bool,
) {
    report.findings.push(CheckFinding {
        subject: subject.to_owned(),
        object: object.to_owned(),
        problem: problem.to_owned(),
        orphan,
        outcome: outcome.0.to_owned(),
        detail: outcome.1.to_owned(),
        ..CheckFinding::default()
    });
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(Error::path("read", dir))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn containers(engine: &Inner, repair: bool, report: &mut CheckReport) -> Result<()> {
    let all = engine.containers.all();
    report.containers = all.len() as u64;
    for snapshot in &all {
        let id = snapshot.id();
        let lost = match &snapshot.container.rootfs {
            RootfsMount::Overlay { upper, .. } => !upper.is_dir(),
            RootfsMount::Copy { path, .. } => !path.is_dir(),
            RootfsMount::Directory { .. } => false,
        };
        // Its own removal may be under way.
        if lost && engine.containers.resolve(id.as_str()).is_ok() {
            let outcome = if repair {
                ("left", "what it had written is lost: remove it and run it again")
            } else {
                ("found", "")
            };
            add(
                report,
                "container",
                &snapshot.container.name,
                "its writable layer is missing",
                outcome,
                false,
            );
        }
    }
    let known: HashSet<&str> = all.iter().map(|snapshot| snapshot.id().as_str()).collect();
    let dir = engine.paths.containers();
    let damaged = engine.store.quarantined()?;
    for name in names(&dir)? {
        let claimed = damaged.iter().any(|row| row.key == name);
        if ContainerId::parse(&name).is_ok_and(|id| known.contains(id.as_str())) || claimed {
            continue;
        }
        let outcome = if repair {
            engine.trash.discard(&dir.join(&name));
            ("removed", "")
        } else {
            ("found", "")
        };
        add(report, "directory", &format!("containers/{name}"), "no container owns it", outcome, true);
    }
    Ok(())
}

fn volumes(engine: &Inner, repair: bool, report: &mut CheckReport) -> Result<()> {
    let rows = engine.volumes.list()?;
    report.volumes = rows.len() as u64;
    for row in &rows {
        let data = engine.volumes.mountpoint(&row.name);
        if data.is_dir() {
            continue;
        }
        let outcome = if repair {
            match std::fs::create_dir_all(&data) {
                Ok(()) => ("repaired", "made again, empty: what was in it is lost"),
                Err(_) => ("left", "it cannot be made again"),
            }
        } else {
            ("found", "")
        };
        add(report, "volume", &row.name, "its directory is missing", outcome, false);
    }
    let known: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let dir = engine.paths.data_root.join("volumes");
    let damaged = engine.store.quarantined()?;
    for name in names(&dir)? {
        if known.contains(name.as_str()) || damaged.iter().any(|row| row.key == name) {
            continue;
        }
        let outcome = if repair {
            engine.trash.discard(&dir.join(&name));
            ("removed", "")
        } else {
            ("found", "")
        };
        add(report, "directory", &format!("volumes/{name}"), "no volume owns it", outcome, true);
    }
    Ok(())
}

/// Takes what the policy says, or tells what it would take.
pub(crate) fn clean(engine: &Inner, policy: &CleanPolicy, dry_run: bool) -> Result<CleanReport> {
    let in_use: HashSet<ImageId> = crate::view_image::containers(engine).into_keys().collect();
    let disk = engine.images.disk()?;
    let steps = engine.images.plan_clean(policy, &in_use)?;
    let done = if dry_run || steps.is_empty() {
        steps
    } else {
        engine.images.clean(&steps, &in_use)?.into_iter().map(|(step, _)| step).collect()
    };
    let space_reclaimed = done.iter().map(|step| step.frees).sum::<u64>();
    if !dry_run && !done.is_empty() {
        tracing::info!(images = done.len(), bytes = space_reclaimed, "clean-up by policy");
        let event = Event::now("image", "prune", "").with("reclaimed", space_reclaimed.to_string());
        engine.emit_now(event.with("by", "clean-up"))?;
    }
    let images = done.into_iter().map(|step| CleanedImage {
        id: format!("sha256:{}", step.id),
        name: step.shown,
        last_used: Time(step.last_used_nanos).rfc3339(),
        reason: match step.reason {
            Reason::Unused => "unused".to_owned(),
            Reason::Space => "space".to_owned(),
        },
        size: step.frees,
    });
    Ok(CleanReport { dry_run, disk_used_percent: disk.percent(), images: images.collect(), space_reclaimed })
}

/// Looks at the policy again and again, as long as the engine lives.
pub(crate) fn watch(engine: &Arc<Inner>) {
    let Some(policy) = engine.config().clean_up.clone().filter(|policy| !policy.is_empty()) else { return };
    let engine: Weak<Inner> = Arc::downgrade(engine);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(policy.interval).await;
            let Some(engine) = engine.upgrade() else { return };
            let _creating = engine.image_use.write().await;
            let (inner, policy) = (Arc::clone(&engine), policy.clone());
            match engine.pool.run(move || clean(&inner, &policy, false)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) | Err(error) => tracing::warn!(%error, "clean-up failed"),
            }
        }
    });
}
