//! Containers: replies that are streams.
use crate::context::Context;
use crate::error::ApiError;
use crate::hijack;
use crate::reply::{self, Answer, BodyError, JSON};
use crate::stream;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::once;
use knarr_docker_types::options::{ContainerAttach, ContainerLogs, ContainerStats, WaitCondition};
use knarr_docker_types::stdcopy::{self, Stream};

pub async fn logs(cx: Context) -> Answer {
    let query = &cx.query;
    let options = ContainerLogs {
        stdout: query.bool("stdout"),
        stderr: query.bool("stderr"),
        follow: query.bool("follow"),
        timestamps: query.bool("timestamps"),
        details: query.bool("details"),
        since: query.get("since").to_owned(),
        until: Some(query.get("until")).filter(|until| *until != "0").unwrap_or("").to_owned(),
        tail: query.get("tail").to_owned(),
    };
    if !options.stdout && !options.stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let logs = cx.engine.container_logs(&cx.name, options).await?;
    let multiplexed = logs.multiplexed;
    let items = stream::from_channel(logs.bytes).map(move |item| match item {
        Ok(bytes) => Ok(bytes),
        // The status has left: the error is said in the stream.
        Err(error) => Ok(in_band(&format!("Error grabbing logs: {error}\n"), multiplexed)),
    });
    Ok(reply::stream(hijack::content_type(cx.version, multiplexed), items))
}

fn in_band(text: &str, multiplexed: bool) -> Bytes {
    let mut bytes = Vec::with_capacity(stdcopy::HEADER_LEN + text.len());
    if multiplexed {
        bytes.extend(stdcopy::header(Stream::Stderr, u32::try_from(text.len()).unwrap_or(0)));
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}

pub async fn stats(cx: Context) -> Answer {
    let stream = cx.query.bool_or("stream", true);
    let one_shot = cx.query.bool("one-shot") && !cx.version.before(41);
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let mut samples = cx.engine.container_stats(&cx.name, ContainerStats { stream, one_shot }).await?;
    if !stream {
        return match samples.recv().await {
            Some(sample) => reply::json(&sample?),
            None => Ok(reply::empty(http::StatusCode::OK)),
        };
    }
    let lines = stream::from_channel(samples).map(|sample| stream::json_line(&sample?, "\n"));
    Ok(reply::stream(JSON, lines))
}

/// The head of the reply leaves when the wait is registered, so that a client may start the container then.
pub async fn wait(cx: Context) -> Answer {
    let text = if cx.version.before(30) { "" } else { cx.query.get("condition") };
    let condition = WaitCondition::parse(text)
        .ok_or_else(|| ApiError::invalid(format!("invalid condition: {text:?}")))?;
    let wait = cx.engine.container_wait(&cx.name, condition).await?;
    let outcome = async move {
        let outcome = wait.outcome().await.map_err(BodyError::from)?;
        stream::json_line(&outcome, "\n")
    };
    Ok(reply::stream(JSON, once(outcome)))
}

fn attach_options(cx: &Context) -> ContainerAttach {
    let query = &cx.query;
    ContainerAttach {
        stream: query.bool("stream"),
        stdin: query.bool("stdin"),
        stdout: query.bool("stdout"),
        stderr: query.bool("stderr"),
        logs: query.bool("logs"),
        detach_keys: query.get("detachKeys").to_owned(),
    }
}

pub async fn attach(cx: Context) -> Answer {
    let session = cx.engine.container_attach(&cx.name, attach_options(&cx)).await?;
    Ok(hijack::attach(cx, session))
}

pub async fn attach_websocket(cx: Context) -> Answer {
    let mut options = attach_options(&cx);
    if cx.version.before(42) {
        (options.stdin, options.stdout, options.stderr) = (true, true, true);
    }
    let session = cx.engine.container_attach(&cx.name, options).await?;
    hijack::attach_websocket(cx, session)
}
