//! Checks of everything on the disk, and clean-up by policy.
//!
//! Images are the crate `image`'s; here are directories of containers and volumes against their rows, and who uses what.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Time;
use crate::standing::standing;
use knarr_base::ImageId;
use knarr_docker_types::upkeep::{CheckFinding, CheckReport, CleanReport, CleanedImage};
use knarr_image::{CheckOptions, CleanPolicy, Finding, Outcome, Reason};
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Event;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Rows, blobs and layers.
pub(crate) fn check_images(engine: &Arc<Inner>, options: CheckOptions) -> Result<CheckReport> {
    let done = engine.images.check(options, &standing(engine))?;
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
    strangers(engine, "container", &engine.paths.containers(), &known, repair, report)
}

/// Directories that nobody owns; with `repair` they go. A damaged row keeps what is its.
fn strangers(
    engine: &Inner,
    owner: &str,
    dir: &Path,
    known: &HashSet<&str>,
    repair: bool,
    report: &mut CheckReport,
) -> Result<()> {
    let damaged = engine.store.quarantined()?;
    for name in names(dir)? {
        if known.contains(name.as_str()) || damaged.iter().any(|row| row.key == name) {
            continue;
        }
        let outcome = if repair {
            engine.trash.discard(&dir.join(&name));
            ("removed", "")
        } else {
            ("found", "")
        };
        let object = format!("{owner}s/{name}");
        add(report, "directory", &object, &format!("no {owner} owns it"), outcome, true);
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
    strangers(engine, "volume", &engine.paths.data_root.join("volumes"), &known, repair, report)
}

/// Takes what the policy says, or tells what it would take. Nobody makes a container while images go, but while it is
/// found out which.
pub(crate) fn clean(engine: &Inner, policy: &CleanPolicy, dry_run: bool) -> Result<CleanReport> {
    let in_use = || crate::view_image::containers(engine).into_keys().collect::<HashSet<ImageId>>();
    let disk = engine.images.disk()?;
    let steps = engine.images.plan_clean(policy, &in_use())?;
    let done = if dry_run || steps.is_empty() {
        steps
    } else {
        let _creating = engine.image_use.blocking_write();
        engine.images.clean(&steps, &in_use())?.into_iter().map(|(step, _)| step).collect()
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

/// Looks at the policy that is in force again and again, as long as the engine lives.
pub(crate) fn watch(engine: &Arc<Inner>) {
    let mut config = engine.watch_config();
    let engine: Weak<Inner> = Arc::downgrade(engine);
    tokio::spawn(async move {
        loop {
            let policy = config.borrow_and_update().clean_up.clone().filter(|policy| !policy.is_empty());
            let pause = async {
                match &policy {
                    Some(policy) => tokio::time::sleep(policy.interval).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = pause => {}
                changed = config.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            let (Some(engine), Some(policy)) = (engine.upgrade(), policy) else { return };
            let inner = Arc::clone(&engine);
            match engine.pool.run(move || clean(&inner, &policy, false)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) | Err(error) => tracing::warn!(%error, "clean-up failed"),
            }
        }
    });
}
