//! `start` and `attach`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::run::{attach as open, check_terminal, detach_keys, status_of, wait};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::term::resize::{self, Resized};
use crate::term::signals;
use crate::term::stream::{Ended, Streaming};
use knarr_docker_client::Client;
use knarr_docker_types::container::InspectResponse;

pub static START_FLAGS: &[Flag] = &[
    Flag::new("attach", Ty::Bool, "Attach STDOUT/STDERR and forward signals").short('a'),
    Flag::new("checkpoint", Ty::Str, "Restore from this checkpoint").hidden(),
    Flag::new("checkpoint-dir", Ty::Str, "Use a custom checkpoint storage directory").hidden(),
    Flag::new("detach-keys", Ty::Str, "Override the key sequence for detaching a container"),
    Flag::new("interactive", Ty::Bool, "Attach container's STDIN").short('i'),
];
pub static ATTACH_FLAGS: &[Flag] = &[
    Flag::new("detach-keys", Ty::Str, "Override the key sequence for detaching a container"),
    Flag::new("no-stdin", Ty::Bool, "Do not attach STDIN"),
    Flag::new("sig-proxy", Ty::Bool, "Proxy all received signals to the process").default("true"),
];

async fn inspect(client: &Client, name: &str) -> Outcome<InspectResponse> {
    Ok(client.get(format!("/containers/{name}/json")).fetch().await?)
}

pub async fn start(cli: Shared, m: Matches) -> Outcome {
    if let Some(flag) = ["checkpoint", "checkpoint-dir"].into_iter().find(|flag| m.changed(flag)) {
        return Err(Failure::new(format!(
            "\"--{flag}\" is only supported on a Docker daemon with experimental features enabled"
        )));
    }
    let client = cli.client().await?;
    if m.flag("attach") || m.flag("interactive") {
        let [name] = &m.args[..] else {
            return Err(Failure::new("you cannot start and attach multiple containers at once"));
        };
        let streaming_keys = detach_keys(&cli, &m)?;
        return start_attached(&client, name, m.flag("interactive"), streaming_keys).await;
    }
    let mut failed = Vec::new();
    for name in &m.args {
        match client.post(format!("/containers/{name}/start")).done().await {
            Ok(()) => cli.println(name)?,
            Err(error) => {
                cli.warn(&error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("Error: failed to start containers: {}", failed.join(", "))))
}

async fn start_attached(client: &Client, name: &str, stdin: bool, keys: String) -> Outcome {
    let container = inspect(client, name).await?;
    let id = container.id;
    let config = container.config.unwrap_or_default();
    let removed = container.host_config.is_some_and(|h| h.auto_remove);
    let streaming = Streaming {
        stdin: stdin && config.open_stdin,
        stdout: true,
        stderr: true,
        tty: config.tty,
        detach_keys: keys,
        signals_proxied: !config.tty,
    };
    let proxy = streaming.signals_proxied.then(|| signals::proxy(client, &id));
    signals::or_forced(proxy.as_ref(), started(client, &id, &streaming, removed)).await
}

/// Attaches, starts and follows the container to its end.
async fn started(client: &Client, id: &str, streaming: &Streaming, removed: bool) -> Outcome {
    let hijacked = open(client, id, streaming).await?;
    let waiting = wait(client, id, if removed { "removed" } else { "next-exit" }).await?;
    if let Err(error) = client.post(format!("/containers/{id}/start")).done().await {
        if removed {
            let _ = waiting.await;
        }
        return Err(error.into());
    }
    let _resizing = (streaming.tty && crate::term::stdout_is_terminal())
        .then(|| resize::follow(client, Resized::Container(id.to_owned())));
    if streaming.run(hijacked).await? == Ended::Detached {
        return Ok(());
    }
    match status_of(waiting.await.unwrap_or_else(|e| Err(Failure::new(e.to_string())))) {
        0 => Ok(()),
        status => Err(Failure::status(status)),
    }
}

/// Attaching needs a running container.
fn check_state(container: &InspectResponse) -> Outcome {
    let state = container.state.clone().unwrap_or_default();
    let reason = if !state.running {
        "You cannot attach to a stopped container, start it first"
    } else if state.paused {
        "You cannot attach to a paused container, unpause it first"
    } else if state.restarting {
        "You cannot attach to a restarting container, wait until it is running"
    } else {
        return Ok(());
    };
    Err(Failure::new(reason))
}

pub async fn attach(cli: Shared, m: Matches) -> Outcome {
    let client = cli.client().await?;
    let container = inspect(&client, &m.args[0]).await?;
    check_state(&container)?;
    let id = container.id.clone();
    let config = container.config.unwrap_or_default();
    let no_stdin = m.flag("no-stdin");
    check_terminal(!no_stdin, config.tty)?;
    let proxied = m.flag("sig-proxy") && !config.tty;
    let streaming = Streaming {
        stdin: !no_stdin && config.open_stdin,
        stdout: true,
        stderr: true,
        tty: config.tty,
        detach_keys: detach_keys(&cli, &m)?,
        signals_proxied: proxied,
    };
    let proxy = proxied.then(|| signals::proxy(&client, &id));
    signals::or_forced(proxy.as_ref(), attached(&client, &id, &streaming)).await
}

/// Attaches to a running container and follows it to its end.
async fn attached(client: &Client, id: &str, streaming: &Streaming) -> Outcome {
    let waiting = wait(client, id, "").await?;
    let hijacked = open(client, id, streaming).await?;
    check_state(&inspect(client, id).await?)?;
    let _resizing = (streaming.tty && crate::term::stdout_is_terminal())
        .then(|| resize::follow_with_redraw(client, Resized::Container(id.to_owned())));
    if streaming.run(hijacked).await? == Ended::Detached {
        return Err(Failure::with_code(1, "read escape sequence"));
    }
    match status_of(waiting.await.unwrap_or_else(|e| Err(Failure::new(e.to_string())))) {
        0 => Ok(()),
        status => Err(Failure::status(status)),
    }
}
