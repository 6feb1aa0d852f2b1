//! `run`: create, attach, wait, start; then the container's exit code is ours.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::create::{self, usage_failure};
use crate::failure::{EXIT_USAGE, Failure, Outcome};
use crate::term::escape;
use crate::term::output::complain;
use crate::term::resize::{self, Resized};
use crate::term::signals;
use crate::term::stream::{Ended, Streaming};
use knarr_docker_client::{Client, Hijacked};
use knarr_docker_types::container::WaitResponse;
use tokio::task::JoinHandle;

pub async fn run(cli: Shared, m: Matches) -> Outcome {
    let request = create::request(&cli, &m, "run")?;
    let mut body = request.body;
    let detach = m.flag("detach");
    if detach {
        if request.attach_given {
            return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
        }
        let config = &mut body.config;
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
        config.stdin_once = false;
    } else {
        check_terminal(body.config.attach_stdin, body.config.tty)?;
    }
    let config = body.config.clone();
    // without an engine there is one thing to say
    let client = cli.client().await?;
    client.version().await.map_err(|e| usage_failure(EXIT_USAGE, &e.to_string(), "run"))?;
    let attached_to = config.attach_stdin || config.attach_stdout || config.attach_stderr;
    let detach_keys = detach_keys(&cli, &m)?;
    if attached_to {
        // what the engine would refuse when the container is there already
        check_keys(&detach_keys)?;
    }
    let id = create::create_container(&cli, &m, body).await.map_err(|e| engine_failure(&e.message))?;
    let streaming = Streaming {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        tty: config.tty,
        detach_keys,
        signals_proxied: m.flag("sig-proxy"),
    };
    if !attached_to {
        start(&client, &id).await.map_err(|e| engine_failure(&e.to_string()))?;
        return cli.println(&id);
    }
    let proxy = streaming.signals_proxied.then(|| signals::proxy(&client, &id));
    signals::or_forced(proxy.as_ref(), attached(&client, &id, &streaming, m.flag("rm"))).await
}

async fn start(client: &Client, id: &str) -> Result<(), knarr_docker_client::Error> {
    client.post(format!("/containers/{id}/start")).done().await
}

/// Attaches, starts and follows the container to its end.
async fn attached(client: &Client, id: &str, streaming: &Streaming, removed: bool) -> Outcome {
    let hijacked = attach(client, id, streaming).await?;
    // asked before the start, so that the exit of a very short container is not missed
    let mut waiting = wait(client, id, if removed { "removed" } else { "next-exit" }).await?;
    if let Err(error) = start(client, id).await {
        if removed {
            let _ = (&mut waiting).await;
        }
        return Err(engine_failure(&error.to_string()));
    }
    let _resizing = (streaming.tty && crate::term::stdout_is_terminal())
        .then(|| resize::follow(client, Resized::Container(id.to_owned())));
    let copying = streaming.run(hijacked);
    tokio::pin!(copying);
    let mut exited = None;
    loop {
        tokio::select! {
            ended = &mut copying => {
                if ended? == Ended::Detached {
                    return Ok(());
                }
                break;
            }
            result = &mut waiting, if exited.is_none() => {
                exited = Some(status_of(result.unwrap_or_else(|e| Err(Failure::new(e.to_string())))));
                // without output to wait for there is nothing more to copy
                if !(streaming.stdout || streaming.stderr) {
                    break;
                }
            }
        }
    }
    let status = match exited {
        Some(status) => status,
        None => status_of(waiting.await.unwrap_or_else(|e| Err(Failure::new(e.to_string())))),
    };
    if status == 0 { Ok(()) } else { Err(Failure::status(status)) }
}

/// Opens the container's streams.
pub async fn attach(client: &Client, id: &str, streaming: &Streaming) -> Outcome<Hijacked> {
    let request = client
        .post(format!("/containers/{id}/attach"))
        .query("stream", "1")
        .flag("stdin", streaming.stdin)
        .flag("stdout", streaming.stdout)
        .flag("stderr", streaming.stderr)
        .query_some("detachKeys", &streaming.detach_keys);
    Ok(request.hijack().await?)
}

/// A wait that the engine has accepted; it resolves to the container's exit.
pub async fn wait(client: &Client, id: &str, condition: &str) -> Outcome<JoinHandle<Outcome<WaitResponse>>> {
    let request = client.post(format!("/containers/{id}/wait")).query_some("condition", condition);
    let response = request.send().await?;
    Ok(tokio::task::spawn_local(async move { Ok(response.json::<WaitResponse>().await?) }))
}

/// The exit code that a finished wait means.
pub fn status_of(result: Outcome<WaitResponse>) -> i32 {
    match result {
        Ok(WaitResponse { error: Some(error), .. }) if !error.message.is_empty() => {
            complain(&format!("Error waiting for container: {}", error.message));
            EXIT_USAGE
        }
        Ok(response) => i32::try_from(response.status_code).unwrap_or(EXIT_USAGE),
        Err(failure) => {
            complain(&format!("error waiting for container: {failure}"));
            EXIT_USAGE
        }
    }
}

/// A terminal for the container needs one here.
pub fn check_terminal(stdin: bool, tty: bool) -> Outcome {
    if stdin && tty && !crate::term::stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

pub fn detach_keys(cli: &Cli, m: &Matches) -> Outcome<String> {
    let flag = m.text("detach-keys");
    Ok(if flag.is_empty() { cli.config().text("detachKeys") } else { flag }.to_owned())
}

/// Keys that detach; the text is the engine's.
pub fn check_keys(keys: &str) -> Outcome {
    if keys.is_empty() || escape::keys(keys).is_some() {
        return Ok(());
    }
    Err(Failure::new(format!("Error response from daemon: Invalid detach keys ({keys}) provided")))
}

/// 127: no such program; 126: a program that cannot be executed; 125: everything else.
fn engine_failure(message: &str) -> Failure {
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    let code = if has(&["executable file not found", "no such file or directory"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        EXIT_USAGE
    };
    usage_failure(code, message, "run")
}
