//! Containers: everything that is one request and one reply.
use crate::compat;
use crate::context::Context;
use crate::error::ApiError;
use crate::json;
use crate::reply::{self, Answer};
use http::StatusCode;
use knarr_docker_types::List;
use knarr_docker_types::container::UpdateRequest;
use knarr_docker_types::container_config::Config;
use knarr_docker_types::options::{Commit, ContainerCreate, ContainerList, ContainerRemove, ContainerStop};

pub async fn list(cx: Context) -> Answer {
    let options = ContainerList {
        all: cx.query.bool("all"),
        limit: cx.query.integer("limit")?.unwrap_or(0),
        size: cx.query.bool("size"),
        filters: cx.query.filters()?,
    };
    let containers = cx.engine.container_list(options).await?;
    compat::reply(cx.version, &containers, compat::container::list)
}

pub async fn create(mut cx: Context) -> Answer {
    let body = cx.json_bytes().await?;
    let upgraded = compat::create::upgrade(cx.version, &body)?;
    let options = ContainerCreate {
        name: Some(cx.query.get("name").to_owned()).filter(|name| !name.is_empty()),
        platform: if cx.version.before(41) { None } else { cx.query.platform_text("platform")? },
        log_driver: compat::create::log_driver(&cx.headers),
    };
    let mut created = cx.engine.container_create(upgraded.request, options).await?;
    let mut warnings = created.warnings.not_nil();
    warnings.extend(upgraded.warnings);
    created.warnings = warnings;
    reply::json_with(StatusCode::CREATED, &created)
}

pub async fn inspect(cx: Context) -> Answer {
    let container = cx.engine.container_inspect(&cx.name, cx.query.bool("size")).await?;
    compat::reply(cx.version, &container, compat::container::inspect)
}

pub async fn top(cx: Context) -> Answer {
    reply::json(&cx.engine.container_top(&cx.name, cx.query.get("ps_args")).await?)
}

pub async fn changes(cx: Context) -> Answer {
    let changes = cx.engine.container_changes(&cx.name).await?;
    // As Docker: no change is null.
    reply::json(&if changes.is_empty() { List::nil() } else { List::from(changes) })
}

pub async fn resize(cx: Context) -> Answer {
    let (rows, columns) = (cx.query.dimension("h", "height")?, cx.query.dimension("w", "width")?);
    cx.engine.container_resize(&cx.name, rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub async fn start(cx: Context) -> Answer {
    /// No JSON object with a member is shorter.
    const LONGEST_EMPTY_BODY: u64 = 7;
    let length = hyper::body::Body::size_hint(&cx.body).exact();
    if length.is_none_or(|length| length > LONGEST_EMPTY_BODY) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !cx.query.get("checkpoint").is_empty() {
        return Err(ApiError::not_implemented("checkpoints are not supported by this engine"));
    }
    cx.engine.container_start(&cx.name).await?;
    reply::no_content()
}

fn stop_options(cx: &Context) -> Result<ContainerStop, ApiError> {
    let signal = Some(cx.query.get("signal").to_owned()).filter(|s| !s.is_empty() && !cx.version.before(42));
    Ok(ContainerStop { signal, timeout_s: cx.query.integer("t")? })
}

pub async fn stop(cx: Context) -> Answer {
    cx.engine.container_stop(&cx.name, stop_options(&cx)?).await?;
    reply::no_content()
}

pub async fn restart(cx: Context) -> Answer {
    cx.engine.container_restart(&cx.name, stop_options(&cx)?).await?;
    reply::no_content()
}

pub async fn kill(cx: Context) -> Answer {
    let killed = cx.engine.container_kill(&cx.name, cx.query.get("signal")).await;
    killed.map_err(|error| ApiError::from(error).context(&format!("cannot kill container: {}", cx.name)))?;
    reply::no_content()
}

pub async fn update(mut cx: Context) -> Answer {
    let request: UpdateRequest = cx.json_or_default().await?;
    let request = compat::create::upgrade_update(cx.version, request);
    reply::json(&cx.engine.container_update(&cx.name, request).await?)
}

pub async fn rename(cx: Context) -> Answer {
    cx.engine.container_rename(&cx.name, cx.query.get("name")).await?;
    reply::no_content()
}

pub async fn pause(cx: Context) -> Answer {
    cx.engine.container_pause(&cx.name).await?;
    reply::no_content()
}

pub async fn unpause(cx: Context) -> Answer {
    cx.engine.container_unpause(&cx.name).await?;
    reply::no_content()
}

pub async fn remove(cx: Context) -> Answer {
    let query = &cx.query;
    let options =
        ContainerRemove { volumes: query.bool("v"), link: query.bool("link"), force: query.bool("force") };
    cx.engine.container_remove(&cx.name, options).await?;
    reply::no_content()
}

pub async fn prune(cx: Context) -> Answer {
    reply::json(&cx.engine.container_prune(cx.query.filters()?).await?)
}

pub async fn commit(mut cx: Context) -> Answer {
    let config = commit_config(&mut cx).await?;
    let text = |name: &str| cx.query.get(name).to_owned();
    let options = Commit {
        container: text("container"),
        repo: text("repo"),
        tag: text("tag"),
        comment: text("comment"),
        author: text("author"),
        pause: cx.query.bool_or("pause", true),
        changes: cx.query.all("changes"),
    };
    let committed = cx.engine.container_commit(options, config).await?;
    reply::json_with(StatusCode::CREATED, &committed)
}

/// Clients send `null`, `{}` or nothing when they change nothing.
async fn commit_config(cx: &mut Context) -> Result<Option<Config>, ApiError> {
    let empty = json::is_empty(&cx.headers, &cx.body);
    json::check_content_type(&cx.headers, empty)?;
    if empty {
        return Ok(None);
    }
    let config: Option<Config> = json::decode(&json::read(&mut cx.body).await?)?;
    Ok(config.filter(|config| *config != Config::default()))
}
