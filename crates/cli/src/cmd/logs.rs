//! `logs`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::spec::timestamp;
use crate::term::output::{Output, Target};
use crate::term::stream::Demux;
use bytes::BytesMut;
use jiff::Timestamp;
use knarr_docker_types::container::InspectResponse;

pub static FLAGS: &[Flag] = &[
    Flag::new("details", Ty::Bool, "Show extra details provided to logs"),
    Flag::new("follow", Ty::Bool, "Follow log output").short('f'),
    Flag::new(
        "since",
        Ty::Str,
        "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
    ),
    Flag::new("tail", Ty::Str, "Number of lines to show from the end of the logs").short('n').default("all"),
    Flag::new("timestamps", Ty::Bool, "Show timestamps").short('t'),
    Flag::new(
        "until",
        Ty::Str,
        "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
    ),
];

pub async fn logs(cli: Shared, m: Matches) -> Outcome {
    let now = Timestamp::now();
    let point = |flag: &str| {
        timestamp::parse(m.text(flag), now)
            .map_err(|e| Failure::new(format!("invalid value for {}: {e}", knarr_gotemplate::quote(flag))))
    };
    let (since, until) = (point("since")?, point("until")?);
    let client = cli.client().await?;
    let container: InspectResponse = client.get(format!("/containers/{}/json", m.args[0])).fetch().await?;
    let request = client
        .get(format!("/containers/{}/logs", container.id))
        .query("stdout", "1")
        .query("stderr", "1")
        .query_some("since", since)
        .query_some("until", until)
        .flag("timestamps", m.flag("timestamps"))
        .flag("details", m.flag("details"))
        .flag("follow", m.flag("follow"))
        .query("tail", m.text("tail"));
    let mut response = request.send().await?;
    let output = Output::default();
    let tty = container.config.is_some_and(|c| c.tty);
    let (mut demux, mut buffer) = (Demux::default(), BytesMut::new());
    'reading: while let Some(chunk) = response.chunk().await? {
        if tty {
            if !output.write(Target::Stdout, chunk).await {
                break;
            }
            continue;
        }
        buffer.extend_from_slice(&chunk);
        while let Some((target, bytes)) = demux.next(&mut buffer)? {
            if !output.write(target, bytes).await {
                break 'reading;
            }
        }
    }
    Ok(output.finish().await?)
}
