//! Volumes.
use crate::context::Context;
use crate::reply::{self, Answer};
use http::StatusCode;
use knarr_docker_types::volume::CreateRequest;

pub async fn list(cx: Context) -> Answer {
    let filters = cx.query.filters().map_err(|error| error.context("error reading volume filters"))?;
    reply::json(&cx.engine.volume_list(filters).await?)
}

pub async fn inspect(cx: Context) -> Answer {
    reply::json(&cx.engine.volume_inspect(&cx.name).await?)
}

pub async fn create(mut cx: Context) -> Answer {
    let mut request: CreateRequest = cx.json_or_default().await?;
    if cx.version.before(42) {
        request.cluster_volume_spec = None;
    }
    reply::json_with(StatusCode::CREATED, &cx.engine.volume_create(request).await?)
}

pub async fn remove(cx: Context) -> Answer {
    cx.engine.volume_remove(&cx.name, cx.query.bool("force")).await?;
    reply::no_content()
}

pub async fn prune(cx: Context) -> Answer {
    let mut filters = cx.query.filters()?;
    // Before 1.42 named volumes were pruned too.
    if cx.version.before(42) && !filters.contains("all") {
        filters.add("all", "true");
    }
    reply::json(&cx.engine.volume_prune(filters).await?)
}
