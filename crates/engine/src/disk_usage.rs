//! `docker system df`.
//!
//! Invariant: the totals of all rows, the engine's own among them, are what `du` finds below the data root.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::view;
use crate::view_image;
use knarr_docker_types::options::DiskUsageOf;
use knarr_docker_types::system::{
    BuildCacheDiskUsage, ContainersDiskUsage, DiskUsage, EngineDiskUsage, ImagesDiskUsage, VolumesDiskUsage,
};
use knarr_snapshot::disk_usage;
use std::os::unix::fs::MetadataExt;

pub(crate) fn usage(engine: &Inner, of: DiskUsageOf) -> Result<DiskUsage> {
    let mut usage = DiskUsage::default();
    if of.images {
        usage.image_usage = Some(images(engine)?);
    }
    if of.containers {
        usage.container_usage = Some(containers(engine)?);
    }
    if of.volumes {
        usage.volume_usage = Some(volumes(engine)?);
    }
    if of.build_cache {
        usage.build_cache_usage = Some(BuildCacheDiskUsage::default());
    }
    if of == DiskUsageOf::default() {
        usage.engine_usage = Some(own(engine)?);
    }
    Ok(usage)
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn images(engine: &Inner) -> Result<ImagesDiskUsage> {
    let containers = view_image::containers(engine);
    let usage = engine.images.usage(&containers.keys().cloned().collect())?;
    let images = engine.images.list()?;
    let row = |image: &std::sync::Arc<knarr_image::Listed>| {
        let shared = usage.images.get(&image.id).map(|(_, shared)| *shared);
        view_image::summary(image, containers.get(&image.id).map_or(0, Vec::len), shared)
    };
    let items: Vec<_> = images.iter().map(row).collect();
    Ok(ImagesDiskUsage {
        active_count: count(items.iter().filter(|i| i.containers > 0).count()),
        reclaimable: number(usage.reclaimable),
        total_count: count(items.len()),
        total_size: number(usage.total),
        items: items.into(),
    })
}

/// What a directory of the data root takes.
fn on_disk(engine: &Inner, name: &str) -> Result<i64> {
    Ok(number(disk_usage(&engine.paths.data_root.join(name)).map_err(knarr_image::Error::from)?))
}

/// What belongs to none of the others: database, program for `--init`, what is being written or deleted.
fn own(engine: &Inner) -> Result<EngineDiskUsage> {
    let root = &engine.paths.data_root;
    let mut usage = EngineDiskUsage::default();
    let fail = || Error::path("read", root);
    let own = std::fs::symlink_metadata(root).map_err(fail())?;
    let mut other = number(own.blocks() * 512);
    for entry in std::fs::read_dir(root).map_err(fail())? {
        let name = entry.map_err(fail())?.file_name();
        let name = name.to_string_lossy();
        match &*name {
            "layers" | "content" | "containers" | "volumes" => {}
            "trash" => usage.trash_size = on_disk(engine, &name)?,
            "quarantine" => usage.quarantine_size = on_disk(engine, &name)?,
            name if name.starts_with("state.") => usage.database_size += on_disk(engine, name)?,
            name => other += on_disk(engine, name)?,
        }
    }
    usage.other_size = other;
    usage.total_size = other + usage.trash_size + usage.quarantine_size + usage.database_size;
    Ok(usage)
}

fn containers(engine: &Inner) -> Result<ContainersDiskUsage> {
    let snapshots = engine.containers.all();
    let mut items = Vec::new();
    let (mut reclaimable, mut active) = (0, 0);
    for snapshot in &snapshots {
        let summary = view::summary(engine, snapshot, true)?;
        if snapshot.is_live() {
            active += 1;
        } else {
            let dir = engine.paths.container(snapshot.id());
            reclaimable += number(disk_usage(&dir).map_err(knarr_image::Error::from)?);
        }
        items.push(summary);
    }
    Ok(ContainersDiskUsage {
        active_count: active,
        reclaimable,
        total_count: count(items.len()),
        // With logs and what lies beside the writable layers.
        total_size: on_disk(engine, "containers")?,
        items: items.into(),
    })
}

fn volumes(engine: &Inner) -> Result<VolumesDiskUsage> {
    // What has options of its own may lie anywhere: as in Docker it is not counted.
    let rows: Vec<_> = engine.volumes.list()?.into_iter().filter(|row| row.options.is_empty()).collect();
    let holders = engine.volume_holders();
    let item = |row: &knarr_volume::Volume| {
        crate::facade::volume_with_usage(engine, row, holders.get(&row.id).map_or(0, Vec::len))
    };
    let items: Vec<_> = rows.iter().map(item).collect();
    let size = |v: &knarr_docker_types::volume::Volume| v.usage_data.as_ref().map_or(0, |u| u.size.max(0));
    let users = |v: &knarr_docker_types::volume::Volume| v.usage_data.as_ref().map_or(0, |u| u.ref_count);
    Ok(VolumesDiskUsage {
        active_count: count(items.iter().filter(|v| users(v) > 0).count()),
        reclaimable: items.iter().filter(|v| users(v) == 0).map(size).sum(),
        total_count: count(items.len()),
        total_size: on_disk(engine, "volumes")?,
        items: items.into(),
    })
}
