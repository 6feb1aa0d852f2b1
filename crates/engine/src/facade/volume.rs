//! Volumes.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::prune::Prune;
use crate::record::Time;
use knarr_docker_types::volume::{CreateRequest, ListResponse, PruneReport, UsageData, Volume};
use knarr_docker_types::{Filters, List, Map};
use knarr_volume::{CreateVolume, Volume as Row};
use std::os::unix::fs::MetadataExt;

impl Engine {
    pub async fn volume_create(&self, request: CreateRequest) -> Result<Volume> {
        if request.cluster_volume_spec.is_some() {
            return Err(Error::Unavailable(crate::error::NOT_A_MANAGER.to_owned()));
        }
        let asked = CreateVolume {
            name: request.name,
            driver: request.driver,
            labels: request.labels.into_inner(),
            options: request.driver_opts.into_inner(),
        };
        let _creating = self.inner.image_use.read().await;
        self.blocking(move |engine| Ok(shown(engine, &engine.volumes.create(&asked)?))).await
    }

    pub async fn volume_list(&self, filters: Filters) -> Result<ListResponse> {
        filters.validate(&["dangling", "driver", "label", "name"])?;
        let dangling = filters.boolean("dangling")?;
        self.blocking(move |engine| {
            let any = |name: &str, test: &dyn Fn(&str) -> bool| {
                !filters.contains(name) || filters.get(name).any(test)
            };
            let holders = engine.volume_holders();
            let passes = |row: &Row| {
                any("name", &|name| row.name.contains(name))
                    && any("driver", &|driver| driver == "local")
                    && filters.labels_match("label", &row.labels)
                    && dangling.is_none_or(|wanted| holders.contains_key(&row.id) != wanted)
            };
            let rows = engine.volumes.list()?;
            let volumes: List<Volume> =
                rows.iter().filter(|row| passes(row)).map(|row| shown(engine, row)).collect();
            Ok(ListResponse { volumes, warnings: List::nil() })
        })
        .await
    }

    pub async fn volume_inspect(&self, volume: &str) -> Result<Volume> {
        let name = volume.to_owned();
        self.blocking(move |engine| Ok(shown(engine, &engine.volumes.get(&name)?))).await
    }

    pub async fn volume_remove(&self, volume: &str, force: bool) -> Result<()> {
        let name = volume.to_owned();
        // A container that is being created has no row yet that names its volumes.
        let _removing = self.inner.image_use.write().await;
        self.blocking(move |engine| {
            let removed = engine.volumes.remove(&name, &|volume| engine.volume_users(volume, None));
            engine.trash.empty();
            match removed {
                // Docker: forcing a removal of what is not there is no error.
                Err(knarr_volume::Error::NotFound(_)) if force => Ok(()),
                done => Ok(done?),
            }
        })
        .await
    }

    pub async fn volume_prune(&self, filters: Filters) -> Result<PruneReport> {
        let all = all_volumes(&filters)?;
        let prune = Prune::new(filters, &["all", "label", "label!"])?;
        let _removing = self.inner.image_use.write().await;
        self.blocking(move |engine| {
            let wanted = |row: &Row| {
                (all || row.labels.contains_key(knarr_volume::ANONYMOUS_LABEL))
                    // What lies elsewhere gives no room back.
                    && row.options.is_empty()
                    && prune.wants(row.created_nanos, &row.labels)
            };
            let holders = engine.volume_holders();
            let mut report = PruneReport { volumes_deleted: List::empty(), space_reclaimed: 0 };
            for row in engine.volumes.list()?.iter().filter(|row| wanted(row)) {
                if holders.contains_key(&row.id) {
                    continue;
                }
                let size = size(engine, row).unwrap_or(0);
                if engine.volumes.remove(&row.name, &|volume| engine.volume_users(volume, None)).is_ok() {
                    report.volumes_deleted.push(row.name.clone());
                    report.space_reclaimed += size;
                }
            }
            engine.trash.empty();
            let reclaimed = report.space_reclaimed.to_string();
            engine.emit_now(knarr_state::Event::now("volume", "prune", "").with("reclaimed", reclaimed))?;
            Ok(report)
        })
        .await
    }
}

/// Docker's reading of `all`.
fn all_volumes(filters: &Filters) -> Result<bool> {
    let values: Vec<&str> = filters.get("all").collect();
    match values.as_slice() {
        [] => Ok(false),
        [one] => match *one {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(Error::Invalid(format!(
                "invalid filter 'all': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        },
        many => Err(Error::Invalid(format!(
            "invalid filter 'all=[{}]': only one value is expected",
            many.join(" ")
        ))),
    }
}

/// Bytes on the disk of what is in it; `None`: it cannot be looked at.
fn size(engine: &Inner, row: &Row) -> Option<u64> {
    let place = engine.volumes.mountpoint(&row.name);
    // As Docker: an empty one takes nothing.
    let own = std::fs::symlink_metadata(&place).ok()?.blocks() * 512;
    Some(knarr_snapshot::disk_usage(&place).ok()?.saturating_sub(own))
}

pub(crate) fn shown(engine: &Inner, row: &Row) -> Volume {
    let map = |entries: &std::collections::BTreeMap<String, String>| -> Map<String> {
        if entries.is_empty() { Map::nil() } else { entries.clone().into() }
    };
    Volume {
        // Docker shows whole seconds.
        created_at: Time(row.created_nanos - row.created_nanos.rem_euclid(1_000_000_000)).rfc3339(),
        driver: "local".to_owned(),
        labels: map(&row.labels),
        mountpoint: engine.volumes.mountpoint(&row.name).to_string_lossy().into_owned(),
        name: row.name.clone(),
        options: map(&row.options),
        scope: "local".to_owned(),
        ..Volume::default()
    }
}

/// With its size and users, for `df`.
pub(crate) fn with_usage(engine: &Inner, row: &Row, holders: usize) -> Volume {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let usage = UsageData {
        ref_count: i64::try_from(holders).unwrap_or(-1),
        size: size(engine, row).map_or(-1, number),
    };
    Volume { usage_data: Some(usage), ..shown(engine, row) }
}
