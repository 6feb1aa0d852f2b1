//! Networks.
use crate::compat;
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use http::StatusCode;
use knarr_docker_types::network::{ConnectRequest, CreateRequest, DisconnectRequest};

pub async fn list(cx: Context) -> Answer {
    let networks = cx.engine.network_list(cx.query.filters()?).await?;
    compat::reply(cx.version, &networks, compat::network::list)
}

pub async fn inspect(cx: Context) -> Answer {
    let verbose = cx.query.get("verbose");
    if !matches!(
        verbose,
        "" | "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    ) {
        let why = format!("strconv.ParseBool: parsing {verbose:?}: invalid syntax");
        return Err(ApiError::invalid(format!("invalid value for verbose: {verbose}: {why}")));
    }
    let network = cx.engine.network_inspect(&cx.name).await?;
    if !matches!(cx.query.get("scope"), "" | "local") {
        let text = format!("network {} not found", cx.name);
        return Err(ApiError::new(knarr_base::ErrorKind::NotFound, text));
    }
    compat::reply(cx.version, &network, compat::network::inspect)
}

pub async fn create(mut cx: Context) -> Answer {
    let mut request: CreateRequest = cx.json_or_default().await?;
    if cx.version.before(48) {
        request.enable_ipv4 = None;
    }
    let created = cx.engine.network_create(request).await?;
    reply::json_with(StatusCode::CREATED, &created)
}

pub async fn connect(mut cx: Context) -> Answer {
    let mut request: ConnectRequest = cx.json_or_default().await?;
    if let Some(endpoint) = &mut request.endpoint_config {
        if cx.version.before(44) {
            endpoint.mac_address.clear();
        }
        if cx.version.before(48) {
            endpoint.gw_priority = 0;
        }
    }
    cx.engine.network_connect(&cx.name, request).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub async fn disconnect(mut cx: Context) -> Answer {
    let request: DisconnectRequest = cx.json_or_default().await?;
    cx.engine.network_disconnect(&cx.name, request).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub async fn remove(cx: Context) -> Answer {
    cx.engine.network_remove(&cx.name).await?;
    reply::no_content()
}

pub async fn prune(cx: Context) -> Answer {
    reply::json(&cx.engine.network_prune(cx.query.filters()?).await?)
}
