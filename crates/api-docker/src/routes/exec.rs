//! Commands executed in running containers.
use crate::context::Context;
use crate::error::ApiError;
use crate::hijack;
use crate::reply::{self, Answer};
use http::StatusCode;
use knarr_docker_types::exec::{CreateRequest, StartRequest};

pub async fn create(mut cx: Context) -> Answer {
    let mut request: CreateRequest = cx.json_or_default().await?;
    if request.cmd.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    if cx.version.before(42) {
        request.console_size = None;
    }
    let created = cx.engine.exec_create(&cx.name, request).await?;
    reply::json_with(StatusCode::CREATED, &created)
}

pub async fn start(mut cx: Context) -> Answer {
    let mut request: StartRequest = cx.json_or_default().await?;
    if cx.version.before(42) || !request.tty {
        request.console_size = None;
    }
    match cx.engine.exec_start(&cx.name, request).await? {
        None => Ok(reply::empty(StatusCode::OK)),
        Some(session) => Ok(hijack::attach(cx, session)),
    }
}

pub async fn resize(cx: Context) -> Answer {
    let (rows, columns) = (cx.query.dimension("h", "height")?, cx.query.dimension("w", "width")?);
    cx.engine.exec_resize(&cx.name, rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub async fn inspect(cx: Context) -> Answer {
    reply::json(&cx.engine.exec_inspect(&cx.name).await?)
}
