//! Files of containers as tar archives.
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer, Reply, TAR};
use crate::stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use knarr_base::ErrorKind;
use knarr_docker_types::container::PathStat;
use knarr_docker_types::options::ArchivePut;

pub async fn export(cx: Context) -> Answer {
    stream::bytes("application/octet-stream", cx.engine.container_export(&cx.name).await?).await
}

fn path(cx: &Context) -> Result<&str, ApiError> {
    match cx.query.get("path") {
        "" => Err(ApiError::invalid("bad parameter: path cannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(mut reply: Reply, stat: &PathStat) -> Answer {
    let internal = |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::Internal, error.to_string());
    let json = serde_json::to_vec(stat).map_err(|error| internal(&error))?;
    let value = HeaderValue::from_str(&STANDARD.encode(json)).map_err(|error| internal(&error))?;
    reply.headers_mut().insert("X-Docker-Container-Path-Stat", value);
    Ok(reply)
}

pub async fn head(cx: Context) -> Answer {
    let stat = cx.engine.container_archive_head(&cx.name, path(&cx)?).await?;
    with_stat(reply::empty(StatusCode::OK), &stat)
}

pub async fn get(cx: Context) -> Answer {
    let (stat, archive) = cx.engine.container_archive_get(&cx.name, path(&cx)?).await?;
    with_stat(stream::bytes(TAR, archive).await?, &stat)
}

pub async fn put(cx: Context) -> Answer {
    let options = ArchivePut {
        path: path(&cx)?.to_owned(),
        no_overwrite_dir_non_dir: cx.query.bool("noOverwriteDirNonDir"),
        copy_uid_gid: cx.query.bool("copyUIDGID"),
    };
    let (engine, name) = (cx.engine.clone(), cx.name.clone());
    engine.container_archive_put(&name, options, cx.into_reader()).await?;
    Ok(reply::empty(StatusCode::OK))
}
