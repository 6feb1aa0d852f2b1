//! Looking at containers: list and inspect. Snapshots only; no task is asked.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::machine::Phase;
use crate::record::Time;
use crate::registry::Snapshot;
use crate::view;
use knarr_docker_types::container::{InspectResponse, Summary};
use knarr_docker_types::filters::InvalidFilter;
use knarr_docker_types::options::ContainerList;
use std::sync::Arc;

impl Engine {
    pub async fn container_list(&self, options: ContainerList) -> Result<Vec<Summary>> {
        let inner = self.inner.clone();
        self.inner.pool.run(move || list(&inner, &options)).await?
    }

    pub async fn container_inspect(&self, container: &str, size: bool) -> Result<InspectResponse> {
        let snapshot = self.entry(container)?.snapshot;
        let inner = self.inner.clone();
        self.inner.pool.run(move || view::inspect(&inner, &snapshot, size)).await?
    }
}

impl From<InvalidFilter> for Error {
    fn from(filter: InvalidFilter) -> Self {
        Error::Invalid(filter.to_string())
    }
}

fn list(engine: &Inner, options: &ContainerList) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.validate(view::FILTERS)?;
    let mut all = engine.containers.all();
    all.sort_by_key(|s| std::cmp::Reverse((s.container.created, s.id().clone())));
    let bound = |name: &str| -> Result<Option<Time>> {
        match filters.get(name).next() {
            None => Ok(None),
            Some(reference) => Ok(Some(engine.containers.resolve(reference)?.snapshot.container.created)),
        }
    };
    let (before, since) = (bound("before")?, bound("since")?);
    let everything = options.all || options.limit > 0 || filters.contains("status");
    let mut found: Vec<Arc<Snapshot>> = Vec::new();
    for snapshot in all {
        let created = snapshot.container.created;
        let in_range = before.is_none_or(|b| created < b) && since.is_none_or(|s| created > s);
        let shown = everything || snapshot.is_live() || snapshot.status.phase == Phase::Restarting;
        if in_range && shown && view::matches(engine, &snapshot, filters)? {
            found.push(snapshot);
        }
        if options.limit > 0 && found.len() as i64 >= options.limit {
            break;
        }
    }
    let links = engine.containers.links();
    let row = |snapshot: &Arc<Snapshot>| {
        let mut row = view::summary(engine, snapshot, options.size)?;
        for name in links.iter().filter(|(id, _)| *id == row.id).map(|(_, name)| name) {
            row.names.push(format!("/{name}"));
        }
        Ok(row)
    };
    found.iter().map(row).collect()
}
