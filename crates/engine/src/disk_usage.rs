//! `docker system df`.
use crate::engine::Inner;
use crate::error::Result;
use crate::view;
use crate::view_image;
use knarr_docker_types::options::DiskUsageOf;
use knarr_docker_types::system::{
    BuildCacheDiskUsage, ContainersDiskUsage, DiskUsage, ImagesDiskUsage, VolumesDiskUsage,
};

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
    Ok(usage)
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn images(engine: &Inner) -> Result<ImagesDiskUsage> {
    let usage = engine.images.usage()?;
    let images = engine.images.list()?;
    let shared = |id| usage.images.iter().find(|(other, ..)| other == id).map(|(_, _, shared)| *shared);
    let items: Vec<_> = images.iter().map(|i| view_image::summary(engine, i, shared(&i.id))).collect();
    let used = items.iter().filter(|i| i.containers > 0);
    let held: i64 = used.clone().map(|i| i.size).sum();
    let total = number(usage.layers);
    Ok(ImagesDiskUsage {
        active_count: count(used.count()),
        reclaimable: (total - held).max(0),
        total_count: count(items.len()),
        total_size: total,
        items: items.into(),
    })
}

fn containers(engine: &Inner) -> Result<ContainersDiskUsage> {
    let snapshots = engine.containers.all();
    let mut items = Vec::new();
    let (mut total, mut reclaimable, mut active) = (0, 0, 0);
    for snapshot in &snapshots {
        let summary = view::summary(engine, snapshot, true)?;
        total += summary.size_rw;
        if snapshot.is_live() {
            active += 1;
        } else {
            reclaimable += summary.size_rw;
        }
        items.push(summary);
    }
    Ok(ContainersDiskUsage {
        active_count: active,
        reclaimable,
        total_count: count(items.len()),
        total_size: total,
        items: items.into(),
    })
}

fn volumes(engine: &Inner) -> Result<VolumesDiskUsage> {
    let rows = engine.volumes.list()?;
    let items: Vec<_> = rows.iter().map(|row| crate::facade::volume_with_usage(engine, row)).collect();
    let size = |v: &knarr_docker_types::volume::Volume| v.usage_data.as_ref().map_or(0, |u| u.size.max(0));
    let users = |v: &knarr_docker_types::volume::Volume| v.usage_data.as_ref().map_or(0, |u| u.ref_count);
    Ok(VolumesDiskUsage {
        active_count: count(items.iter().filter(|v| users(v) > 0).count()),
        reclaimable: items.iter().filter(|v| users(v) == 0).map(size).sum(),
        total_count: count(items.len()),
        total_size: items.iter().map(size).sum(),
        items: items.into(),
    })
}
