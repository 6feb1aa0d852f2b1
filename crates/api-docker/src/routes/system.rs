//! The engine as a whole.
use crate::compat;
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer, JSON};
use crate::stream;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use knarr_docker_types::options::{DiskUsageOf, Events};
use knarr_docker_types::registry::AuthConfig;
use knarr_docker_types::system::BuildPruneReport;

pub async fn ping(cx: Context) -> Answer {
    cx.engine.system_ping().await?;
    let mut reply = http::Response::new(reply::full_body("OK"));
    let headers = reply.headers_mut();
    for (name, value) in [
        ("Builder-Version", "1"),
        ("Swarm", "inactive"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Content-Type", "text/plain; charset=utf-8"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(reply)
}

pub async fn version(cx: Context) -> Answer {
    reply::json(&cx.engine.system_version().await?)
}

pub async fn info(cx: Context) -> Answer {
    let info = cx.engine.system_info().await?;
    compat::reply(cx.version, &info, compat::system::info)
}

pub async fn disk_usage(cx: Context) -> Answer {
    let wanted = disk_usage_of(&cx)?;
    let verbose = !cx.version.before(52) && cx.query.bool("verbose");
    let usage = cx.engine.system_df(wanted).await?;
    reply::json(&compat::system::disk_usage(cx.version, verbose, usage)?)
}

fn disk_usage_of(cx: &Context) -> Result<DiskUsageOf, ApiError> {
    let types = cx.query.all("type");
    if cx.version.before(42) || types.is_empty() {
        return Ok(DiskUsageOf::default());
    }
    let mut of = DiskUsageOf { containers: false, images: false, volumes: false, build_cache: false };
    for name in &types {
        match name.as_str() {
            "container" => of.containers = true,
            "image" => of.images = true,
            "volume" => of.volumes = true,
            "build-cache" => of.build_cache = true,
            _ => return Err(ApiError::invalid(format!("unknown object type: {name}"))),
        }
    }
    Ok(of)
}

pub async fn auth(mut cx: Context) -> Answer {
    let auth: AuthConfig = cx.json_or_default().await?;
    reply::json(&cx.engine.system_auth(auth).await?)
}

pub async fn events(cx: Context) -> Answer {
    let text = |name: &str| cx.query.get(name).to_owned();
    let options = Events { since: text("since"), until: text("until"), filters: cx.query.filters()? };
    let messages = cx.engine.events(options).await?;
    let (version, format) = (cx.version, event_format(&cx.headers, cx.version.before(52)));
    let lines = stream::from_channel(messages).map(move |message| {
        let mut value = serde_json::to_value(&message)?;
        compat::system::event(version, &mut value);
        let line = stream::json_line(&value, "\n")?;
        Ok(if format == JSON_SEQUENCE { [b"\x1e".as_slice(), &line].concat().into() } else { line })
    });
    Ok(reply::stream(format, lines))
}

const JSON_SEQUENCE: &str = "application/json-seq";

/// What of the stream's formats the client named; `application/json` as ever when none.
fn event_format(headers: &HeaderMap, legacy: bool) -> &'static str {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let named = |format: &&&str| {
        accept.split(',').any(|part| part.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(format))
    };
    let formats: [&'static str; 3] = ["application/jsonl", "application/x-ndjson", JSON_SEQUENCE];
    if legacy { JSON } else { formats.iter().find(named).copied().unwrap_or(JSON) }
}

/// There is no build cache: nothing is pruned.
pub async fn build_prune(_: Context) -> Answer {
    reply::json(&BuildPruneReport::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_formats_are_negotiated_from_1_52() {
        let format = |accept: &str, legacy| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            event_format(&headers, legacy)
        };
        assert_eq!(format("application/json-seq", false), JSON_SEQUENCE);
        assert_eq!(format("text/html, application/x-ndjson;q=0.9", false), "application/x-ndjson");
        assert_eq!(format("*/*", false), JSON);
        assert_eq!(format("application/json-seq", true), JSON);
    }
}
