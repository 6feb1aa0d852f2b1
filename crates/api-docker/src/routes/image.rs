//! Images: everything that is one request and one reply.
use crate::compat;
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use http::StatusCode;
use knarr_docker_types::image::InspectResponse;
use knarr_docker_types::options::{ImageList, ImageRemove, ImageSearch};
use knarr_docker_types::platform::Platform;

pub async fn list(cx: Context) -> Answer {
    let mut filters = cx.query.filters()?;
    // Before 1.25 a glob of repository names had a parameter of its own.
    let legacy = cx.query.get("filter");
    if cx.version.before(25) && !legacy.is_empty() && !filters.contains("reference") {
        filters.add("reference", legacy);
    }
    let options = ImageList {
        all: cx.query.bool("all"),
        shared_size: cx.query.bool("shared-size") && !cx.version.before(42),
        manifests: cx.query.bool("manifests") && !cx.version.before(47),
        filters,
    };
    let mut images = cx.engine.image_list(options).await?;
    for image in &mut images {
        image.repo_tags = std::mem::take(&mut image.repo_tags).not_nil();
        image.repo_digests = std::mem::take(&mut image.repo_digests).not_nil();
    }
    compat::reply(cx.version, &images, compat::image::list)
}

pub async fn inspect(cx: Context) -> Answer {
    let manifests = cx.query.bool("manifests") && !cx.version.before(48);
    let platform = if cx.version.before(49) { None } else { cx.query.platform_json("platform")? };
    if manifests && platform.is_some() {
        return Err(ApiError::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let mut image = cx.engine.image_inspect(&cx.name, manifests).await?;
    if let Some(platform) = platform {
        check_platform(&cx.name, &image, &platform)?;
    }
    image.repo_tags = image.repo_tags.not_nil();
    image.repo_digests = image.repo_digests.not_nil();
    compat::reply(cx.version, &image, compat::image::inspect)
}

/// An image has one platform here: another one is not there.
fn check_platform(name: &str, image: &InspectResponse, wanted: &Platform) -> Result<(), ApiError> {
    if (&wanted.os, &wanted.architecture) == (&image.os, &image.architecture) {
        return Ok(());
    }
    Err(ApiError::new(
        knarr_base::ErrorKind::NotFound,
        format!(
            "image with reference {name} was found but its platform ({}/{}) does not match the specified platform ({}/{})",
            image.os, image.architecture, wanted.os, wanted.architecture
        ),
    ))
}

pub async fn history(cx: Context) -> Answer {
    let platform = if cx.version.before(48) { None } else { cx.query.platform_json("platform")? };
    if let Some(platform) = platform {
        check_platform(&cx.name, &cx.engine.image_inspect(&cx.name, false).await?, &platform)?;
    }
    reply::json(&cx.engine.image_history(&cx.name).await?)
}

pub async fn tag(cx: Context) -> Answer {
    cx.engine.image_tag(&cx.name, cx.query.get("repo"), cx.query.get("tag")).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

pub async fn remove(cx: Context) -> Answer {
    if cx.name.trim().is_empty() {
        return Err(ApiError::invalid("image name cannot be blank"));
    }
    let platforms = if cx.version.before(50) { Vec::new() } else { cx.query.platforms_json("platforms")? };
    match platforms.as_slice() {
        [] => {}
        [platform] => check_platform(&cx.name, &cx.engine.image_inspect(&cx.name, false).await?, platform)?,
        _ => return Err(ApiError::invalid("multiple platforms are not supported")),
    }
    let options = ImageRemove { force: cx.query.bool("force"), no_prune: cx.query.bool("noprune") };
    reply::json(&cx.engine.image_remove(&cx.name, options).await?)
}

pub async fn prune(cx: Context) -> Answer {
    reply::json(&cx.engine.image_prune(cx.query.filters()?).await?)
}

pub async fn search(cx: Context) -> Answer {
    let limit =
        cx.query.integer("limit").map_err(|error| error.context("invalid limit specified"))?.unwrap_or(0);
    if limit < 0 {
        return Err(ApiError::invalid("invalid limit specified"));
    }
    let options = ImageSearch {
        term: cx.query.get("term").to_owned(),
        limit,
        filters: cx.query.filters()?,
        auth: cx.auth(),
    };
    reply::json(&cx.engine.image_search(options).await?)
}

/// What a name means in its registry.
pub async fn distribution(cx: Context) -> Answer {
    reply::json(&cx.engine.distribution_inspect(&cx.name, cx.auth()).await?)
}
