//! Endpoints of what this engine does not have: the reply of a daemon outside of any swarm, without plugins, or
//! status 501.
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use knarr_base::ErrorKind;

pub async fn not_a_manager(_: Context) -> Answer {
    Err(ApiError::new(
        ErrorKind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    ))
}

pub async fn no_cluster_volumes(_: Context) -> Answer {
    Err(ApiError::new(
        ErrorKind::Unavailable,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}

pub async fn not_in_swarm(_: Context) -> Answer {
    Err(ApiError::new(ErrorKind::Unavailable, "This node is not part of a swarm"))
}

pub async fn swarm(_: Context) -> Answer {
    Err(ApiError::not_implemented("swarm mode is not supported by this engine"))
}

pub async fn plugin_list(_: Context) -> Answer {
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
