//! `cp`: files between a container and this machine, or a tar through standard streams.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::copy_archive::{self, Destination};
use crate::cmd::transfer::{body_of, copy};
use crate::failure::{Failure, Outcome, os_text};
use crate::flag::{Flag, Ty};
use crate::format::units;
use base64::Engine as _;
use knarr_docker_client::{Client, Response};
use knarr_docker_types::container::{PathStat, file_mode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub static FLAGS: &[Flag] = &[
    Flag::new("archive", Ty::Bool, "Archive mode (copy all uid/gid information)").short('a'),
    Flag::new("follow-link", Ty::Bool, "Always follow symbol link in SRC_PATH").short('L'),
    Flag::new("quiet", Ty::Bool, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached").short('q'),
];

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFREG: u32 = 0o100_000;

/// Container and path; a local path with a colon is written with `./` or from the root.
fn split(arg: &str) -> (Option<&str>, &str) {
    if arg.starts_with('/') {
        return (None, arg);
    }
    match arg.split_once(':') {
        Some((container, path)) if !container.starts_with('.') => (Some(container), path),
        _ => (None, arg),
    }
}

pub async fn cp(cli: Shared, m: Matches) -> Outcome {
    let (source, destination) = (m.args[0].as_str(), m.args[1].as_str());
    if source.is_empty() {
        return Err(Failure::new("source can not be empty"));
    }
    if destination.is_empty() {
        return Err(Failure::new("destination can not be empty"));
    }
    let quiet = if m.changed("quiet") { m.flag("quiet") } else { !crate::term::stdout_is_terminal() };
    match (split(source), split(destination)) {
        ((Some(container), path), (None, local)) => {
            check_output(local)?;
            let size = from_container(&cli, &m, container, path, local).await?;
            report(&cli, quiet || local == "-", size, &absolute(local));
        }
        ((None, local), (Some(container), path)) => {
            let (size, place) = to_container(&cli, &m, local, container, path).await?;
            report(&cli, quiet || local == "-", size, &format!("{container}:{place}"));
        }
        ((Some(_), _), (Some(_), _)) => {
            return Err(Failure::new("copying between containers is not supported"));
        }
        ((None, _), (None, _)) => return Err(Failure::new("must specify at least one container source")),
    }
    Ok(())
}

/// A copy needs a directory to be in.
fn check_output(local: &str) -> Outcome {
    let dir = std::path::Path::new(local.trim_end_matches('/')).parent();
    let Some(dir) = dir.filter(|dir| local != "-" && !dir.as_os_str().is_empty()) else { return Ok(()) };
    match std::fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::new(format!(
            "invalid output path: directory {} does not exist",
            knarr_gotemplate::quote(&dir.display().to_string())
        ))),
        _ => Ok(()),
    }
}

fn report(cli: &Cli, quiet: bool, size: i64, place: &str) {
    if !quiet {
        cli.warn(&format!("Successfully copied {} to {place}", units::size_short(size)));
    }
}

/// The absolute form of a local path; a final `/` or `/.` stays.
fn absolute(path: &str) -> String {
    let full = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", std::env::current_dir().unwrap_or_default().display()),
    };
    let mut clean = crate::spec::device::clean(&full);
    if path.ends_with("/.") || path == "." {
        clean.push_str("/.");
    } else if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

fn stat_of(response: &Response) -> Outcome<PathStat> {
    let header = response.headers().get("x-docker-container-path-stat").map(|v| v.as_bytes().to_vec());
    let decoded = header.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    decoded
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Failure::new("unable to decode container path stat header"))
}

async fn stat(client: &Client, container: &str, path: &str) -> Outcome<Option<PathStat>> {
    let request = client.head(format!("/containers/{container}/archive")).query("path", path);
    match request.send().await {
        Ok(response) => {
            let stat = stat_of(&response)?;
            response.drain().await;
            Ok(Some(stat))
        }
        Err(error) if error.is_connection() => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn kind(stat: &PathStat) -> u32 {
    file_mode::to_unix(stat.mode) & S_IFMT
}

/// The target of a link that was found at `path`.
fn resolve(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    crate::spec::device::clean(&format!("{parent}/{target}"))
}

async fn from_container(cli: &Cli, m: &Matches, container: &str, path: &str, local: &str) -> Outcome<i64> {
    let client = cli.client().await?;
    let mut source = path.to_owned();
    let mut name = None;
    if m.flag("follow-link")
        && let Some(found) = stat(&client, container, path).await?
        && kind(&found) == S_IFLNK
    {
        source = resolve(path, &found.link_target);
        // the copy keeps the link's own name
        name = Some(copy_archive::base_name(path));
    }
    let mut response =
        client.get(format!("/containers/{container}/archive")).query("path", &source).send().await?;
    if local == "-" {
        copy(response, &mut std::io::stdout().lock()).await?;
        return Ok(0);
    }
    let is_dir = kind(&stat_of(&response)?) == S_IFDIR;
    let target = absolute(local);
    let destination = Destination::of_local(&target);
    let plan = copy_archive::plan(&source, is_dir, name.as_deref(), &destination)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let extraction = tokio::task::spawn_blocking(move || copy_archive::extract(receiver, &plan));
    let mut size = 0;
    while let Some(chunk) = response.chunk().await? {
        size += i64::try_from(chunk.len()).unwrap_or(0);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    extraction.await.map_err(|e| Failure::new(e.to_string()))??;
    Ok(size)
}

async fn to_container(
    cli: &Cli,
    m: &Matches,
    local: &str,
    container: &str,
    path: &str,
) -> Outcome<(i64, String)> {
    let client = cli.client().await?;
    let mut place = path.to_owned();
    let mut found = stat(&client, container, path).await?;
    if let Some(link) = found.as_ref().filter(|s| kind(s) == S_IFLNK) {
        place = resolve(path, &link.link_target);
        found = stat(&client, container, &place).await?;
    }
    if found.as_ref().is_some_and(|s| !matches!(kind(s), S_IFDIR | S_IFREG)) {
        return Err(Failure::new(format!(
            "destination \"{container}:{path}\" must be a directory or a regular file: got a device or a socket"
        )));
    }
    let destination = Destination {
        path: place.clone(),
        exists: found.is_some(),
        is_dir: found.is_some_and(|s| kind(&s) == S_IFDIR),
    };
    let size = Arc::new(AtomicI64::new(0));
    let put = |dir: &str| {
        let request = client
            .put(format!("/containers/{container}/archive"))
            .query("path", dir)
            .query("noOverwriteDirNonDir", "true");
        if m.flag("archive") { request.query("copyUIDGID", "true") } else { request }
    };
    if local == "-" {
        if !destination.is_dir {
            return Err(Failure::new(format!("destination \"{container}:{path}\" must be a directory")));
        }
        put(&place).stream("application/x-tar", body_of(std::io::stdin())).done().await?;
        return Ok((0, place));
    }
    let source = absolute(local);
    let read = |path: &str| {
        if m.flag("follow-link") { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) }
    };
    let failed =
        |e: std::io::Error| Failure::new(format!("lstat {}: {}", source.trim_end_matches("/."), os_text(&e)));
    let meta = read(&source).map_err(failed)?;
    let plan = copy_archive::plan(&source, meta.is_dir(), None, &destination)?;
    let from = match m.flag("follow-link") {
        true => std::fs::canonicalize(&source).map_err(failed)?,
        false => Path::new(source.trim_end_matches("/.")).to_owned(),
    };
    let body = copy_archive::pack(from, plan.top.clone(), Arc::clone(&size));
    put(&plan.directory).stream("application/x-tar", body).done().await?;
    Ok((size.load(Ordering::Relaxed), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_cp() {
        assert_eq!(split("c:/a"), (Some("c"), "/a"));
        assert_eq!(split("./c:a"), (None, "./c:a"));
        assert_eq!(split("/c:a"), (None, "/c:a"));
        assert_eq!(split("file"), (None, "file"));
        assert_eq!(resolve("/a/b/link", "../c"), "/a/c");
        assert_eq!(absolute("/a/../b/"), "/b/");
        assert_eq!(absolute("/a/."), "/a/.");
    }
}
