//! `exec`: another command in a running container.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::run::{check_terminal, detach_keys};
use crate::failure::{Failure, Outcome};
use crate::flag::{ENV, Flag, Ty};
use crate::spec::{env, key_value_file};
use crate::term::resize::{self, Resized};
use crate::term::stream::{Ended, Streaming};
use knarr_docker_types::container::InspectResponse as Container;
use knarr_docker_types::exec::{CreateRequest, InspectResponse, StartRequest};
use knarr_docker_types::id_response::IdResponse;

pub static FLAGS: &[Flag] = &[
    Flag::new("detach", Ty::Bool, "Detached mode: run command in the background").short('d'),
    Flag::new("detach-keys", Ty::Str, "Override the key sequence for detaching a container"),
    Flag::new("env", ENV, "Set environment variables").short('e'),
    Flag::new("env-file", Ty::List, "Read in a file of environment variables"),
    Flag::new("interactive", Ty::Bool, "Keep STDIN open even if not attached").short('i'),
    Flag::new("privileged", Ty::Bool, "Give extended privileges to the command"),
    Flag::new("tty", Ty::Bool, "Allocate a pseudo-TTY").short('t'),
    Flag::new("user", Ty::Str, "Username or UID (format: \"<name|uid>[:<group|gid>]\")").short('u'),
    Flag::new("workdir", Ty::Str, "Working directory inside the container").short('w'),
];

fn variables(m: &Matches) -> Outcome<Vec<String>> {
    let own = |name: &str| std::env::var(name).ok();
    let mut all = Vec::new();
    for file in m.list("env-file") {
        all.extend(key_value_file::read(&file, Some(&own))?);
    }
    all.extend(m.list("env").iter().map(|text| env::resolve(text, own)));
    Ok(all)
}

pub async fn exec(cli: Shared, m: Matches) -> Outcome {
    let (container, command) = (&m.args[0], m.args[1..].to_vec());
    let (detach, tty) = (m.flag("detach"), m.flag("tty"));
    let streaming = Streaming {
        stdin: m.flag("interactive") && !detach,
        stdout: !detach,
        stderr: !detach,
        tty,
        detach_keys: detach_keys(&cli, &m)?,
        signals_proxied: false,
    };
    let env = variables(&m)?;
    let client = cli.client().await?;
    let terminal = check_terminal(streaming.stdin, tty);
    if terminal.is_err() {
        // a container that is not there is the more useful news
        client.get(format!("/containers/{container}/json")).fetch::<Container>().await?;
        return terminal;
    }
    let console_size =
        crate::term::size_of_stdout().filter(|_| tty).map(|(r, c)| [u32::from(r), u32::from(c)]);
    let create = CreateRequest {
        user: m.text("user").to_owned(),
        privileged: m.flag("privileged"),
        tty,
        console_size,
        attach_stdin: streaming.stdin,
        attach_stdout: streaming.stdout,
        attach_stderr: streaming.stderr,
        detach_keys: streaming.detach_keys.clone(),
        env: if env.is_empty() { Default::default() } else { env.into() },
        working_dir: m.text("workdir").to_owned(),
        cmd: command.into(),
    };
    let request = client.post(format!("/containers/{container}/exec")).json(&create);
    let id = request.fetch::<IdResponse>().await?.id;
    let start = client.post(format!("/exec/{id}/start")).json(&StartRequest { detach, tty, console_size });
    if detach {
        return Ok(start.done().await?);
    }
    let hijacked = start.hijack().await?;
    let _resizing =
        (tty && crate::term::stdin_is_terminal()).then(|| resize::follow(&client, Resized::Exec(id.clone())));
    if streaming.run(hijacked).await? == Ended::Detached {
        // as in Docker's client: how the command ends nobody will know
        return Err(Failure::new("read escape sequence"));
    }
    let ended: InspectResponse = client.get(format!("/exec/{id}/json")).fetch().await?;
    match ended.exit_code {
        None | Some(0) => Ok(()),
        Some(code) => Err(Failure::status(i32::try_from(code).unwrap_or(1))),
    }
}
