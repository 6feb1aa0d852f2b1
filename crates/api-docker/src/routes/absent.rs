//! Endpoints of what this engine does not have: the reply of a daemon outside of any swarm, without plugins, or
//! status 501.
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use knarr_base::ErrorKind;

pub async fn not_a_manager(_: Context) -> Answer {
    Err(ApiError::new(ErrorKind::Unavailable, knarr_engine::NOT_A_MANAGER))
}

/// The number of the object's version has to be one, whoever answers.
async fn update(cx: Context, what: &str) -> Answer {
    let text = cx.query.get("version");
    if text.parse::<u64>().is_err() {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        return Err(ApiError::invalid(format!("invalid {what} version '{text}': {why}")));
    }
    not_a_manager(cx).await
}

pub async fn update_swarm(cx: Context) -> Answer {
    update(cx, "swarm").await
}

pub async fn update_node(cx: Context) -> Answer {
    update(cx, "node").await
}

pub async fn update_service(cx: Context) -> Answer {
    update(cx, "service").await
}

pub async fn update_secret(cx: Context) -> Answer {
    match cx.query.get("version").parse::<u64>() {
        Ok(_) => not_a_manager(cx).await,
        Err(_) => Err(ApiError::invalid("invalid secret version")),
    }
}

pub async fn update_config(cx: Context) -> Answer {
    match cx.query.get("version").parse::<u64>() {
        Ok(_) => not_a_manager(cx).await,
        Err(_) => Err(ApiError::invalid("invalid config version")),
    }
}

pub async fn swarm_logs(cx: Context) -> Answer {
    if !cx.query.bool("stdout") && !cx.query.bool("stderr") {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    not_a_manager(cx).await
}

pub async fn cluster_volume(_: Context) -> Answer {
    let text = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(ApiError::new(ErrorKind::Unavailable, text))
}

pub async fn not_in_swarm(_: Context) -> Answer {
    Err(ApiError::new(ErrorKind::Unavailable, "This node is not part of a swarm"))
}

pub async fn swarm(_: Context) -> Answer {
    Err(ApiError::not_implemented("swarm mode is not supported by this engine"))
}

pub async fn plugin_list(cx: Context) -> Answer {
    cx.query.filters()?.validate(&["capability", "enabled"])?;
    reply::json::<[(); 0]>(&[])
}

pub async fn plugins(_: Context) -> Answer {
    Err(ApiError::not_implemented("plugins are not supported by this engine"))
}

pub async fn no_such_plugin(cx: Context) -> Answer {
    Err(ApiError::new(ErrorKind::NotFound, format!("plugin {:?} not found", cx.name)))
}

pub async fn build(_: Context) -> Answer {
    Err(ApiError::not_implemented("building images is not supported by this engine yet"))
}

pub async fn checkpoint(_: Context) -> Answer {
    Err(ApiError::not_implemented("checkpoints are not supported by this engine"))
}

pub async fn attestations(_: Context) -> Answer {
    Err(ApiError::not_implemented("attestations are not supported by this engine"))
}
