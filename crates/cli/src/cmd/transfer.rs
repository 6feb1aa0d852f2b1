//! Images in and out: `pull`, `load`, `save`, `import`, `tag`, `rmi`, `image prune`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::content_trust;
use crate::cmd::images::platform_json;
use crate::credentials;
use crate::failure::{Failure, Outcome, os_text};
use crate::flag::{FILTER, Flag, PLATFORM, Ty};
use crate::format::progress::{Display, Screen};
use crate::format::units;
use crate::spec::filter;
use bytes::Bytes;
use futures_util::stream;
use knarr_docker_client::{JsonLines, Response};
use knarr_docker_types::image::{DeleteResponse, PruneReport};
use knarr_oci::reference::{Reference, is_identifier};
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

const CHUNK_BYTES: usize = 256 * 1024;
const QUEUE_CHUNKS: usize = 4;

pub static PULL_FLAGS: &[Flag] = &[
    Flag::new("all-tags", Ty::Bool, "Download all tagged images in the repository").short('a'),
    content_trust::flag("Skip image verification"),
    PLATFORM,
    Flag::new("quiet", Ty::Bool, "Suppress verbose output").short('q'),
];
pub static LOAD_FLAGS: &[Flag] = &[
    Flag::new("input", Ty::Str, "Read from tar archive file, instead of STDIN").short('i'),
    Flag::new(
        "platform",
        Ty::Str,
        "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
    Flag::new("quiet", Ty::Bool, "Suppress the load output").short('q'),
];
pub static SAVE_FLAGS: &[Flag] = &[
    Flag::new("output", Ty::Str, "Write to a file, instead of STDOUT").short('o'),
    Flag::new(
        "platform",
        Ty::Str,
        "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
];
pub static IMPORT_FLAGS: &[Flag] = &[
    Flag::new("change", Ty::List, "Apply Dockerfile instruction to the created image").short('c'),
    Flag::new("message", Ty::Str, "Set commit message for imported image").short('m'),
    PLATFORM,
];
pub static RMI_FLAGS: &[Flag] = &[
    Flag::new("force", Ty::Bool, "Force removal of the image").short('f'),
    Flag::new("no-prune", Ty::Bool, "Do not delete untagged parents"),
    Flag::new(
        "platform",
        Ty::Strings,
        "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
];
pub static PRUNE_FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Remove all unused images, not just dangling ones").short('a'),
    Flag::new("filter", FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::new("force", Ty::Bool, "Do not prompt for confirmation").short('f'),
];
pub fn parse(image: &str) -> Outcome<Reference> {
    Reference::parse_name(image).map_err(|e| Failure::new(e.to_string()))
}

pub async fn show(stream: JsonLines, quiet: bool) -> Outcome {
    let mut stdout = std::io::stdout();
    let mut sink = std::io::sink();
    let out: &mut dyn Write = if quiet { &mut sink } else { &mut stdout };
    Display::new(out, Screen::stdout()).follow(stream, |_| {}).await
}

/// The image that `pull` and `push` are asked for; without a tag the default one, unless all are meant.
pub fn wanted(cli: &Shared, m: &Matches) -> Outcome<Reference> {
    let reference = parse(&m.args[0])?;
    match (m.flag("all-tags"), reference.is_name_only()) {
        (true, false) => Err(Failure::new("tag can't be used with --all-tags/-a")),
        (false, true) => {
            if !m.flag("quiet") {
                cli.println("Using default tag: latest")?;
            }
            reference.with_tag("latest").map_err(|e| Failure::new(e.to_string()))
        }
        _ => Ok(reference),
    }
}

pub async fn pull(cli: Shared, m: Matches) -> Outcome {
    let quiet = m.flag("quiet");
    let reference = wanted(&cli, &m)?;
    content_trust::check(&m, &m.args[0])?;
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let client = cli.client().await?;
    let auth = credentials::header_for_image(&cli, &m.args[0])?;
    let request = client
        .post("/images/create")
        .query("fromImage", reference.familiar_name())
        .query_some("tag", tag)
        .query_some("platform", m.text("platform"))
        .header("X-Registry-Auth", &auth);
    show(request.lines().await?, quiet).await?;
    cli.println(&full_name(&reference))
}

/// `docker.io/library/busybox:latest`.
pub fn full_name(reference: &Reference) -> String {
    let mut text = reference.name();
    if let Some(tag) = reference.tag() {
        text.push(':');
        text.push_str(tag);
    }
    if let Some(digest) = reference.digest() {
        text.push('@');
        text.push_str(&digest.to_string());
    }
    text
}

/// A file or standard input as a body; read by a thread, a bounded number of chunks ahead.
pub fn body_of(
    mut source: impl Read + Send + 'static,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(QUEUE_CHUNKS);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let item = match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })
}

fn open(path: &str) -> Outcome<std::fs::File> {
    std::fs::File::open(path).map_err(|e| Failure::new(format!("open {path}: {}", os_text(&e))))
}

pub async fn load(cli: Shared, m: Matches) -> Outcome {
    let input: Box<dyn Read + Send> = match m.text("input") {
        "" if std::io::stdin().is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        "" => Box::new(std::io::stdin()),
        path => Box::new(open(path)?),
    };
    let quiet = m.flag("quiet") || !crate::term::stdout_is_terminal();
    let client = cli.client().await?;
    let mut request = client.post("/images/load").query("quiet", if quiet { "1" } else { "0" });
    if m.changed("platform") {
        request = request.query("platform", platform_json(m.text("platform"), "invalid platform: ")?);
    }
    let response = request.stream("application/x-tar", body_of(input)).send().await?;
    show(response.lines(), false).await
}

/// Copies a reply to a writer.
pub async fn copy(mut response: Response, out: &mut dyn Write) -> Outcome {
    while let Some(chunk) = response.chunk().await? {
        out.write_all(&chunk)?;
    }
    Ok(out.flush()?)
}

/// A file can be made there.
fn check_output(target: &Path) -> Outcome {
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = std::fs::metadata(dir) {
        return Err(Failure::new(format!(
            "invalid output path: stat {}: {}",
            dir.display(),
            os_text(&error)
        )));
    }
    if target.is_dir() {
        return Err(Failure::new("invalid output path: must be a regular file"));
    }
    Ok(())
}

/// Copies a reply into a file that appears only when it is complete, or to standard output.
pub async fn copy_to(response: Response, path: &str, what: &str) -> Outcome {
    if path.is_empty() {
        return copy(response, &mut std::io::stdout().lock()).await;
    }
    let failed = |e: std::io::Error| Failure::new(format!("{what}: open {path}: {}", os_text(&e)));
    let target = Path::new(path);
    check_output(target).map_err(|e| Failure::new(format!("{what}: {e}")))?;
    if std::fs::metadata(target).is_ok_and(|meta| !meta.is_file()) {
        // a device or a pipe is written to as it is
        let mut file = std::fs::OpenOptions::new().write(true).open(target).map_err(failed)?;
        return copy(response, &mut file).await;
    }
    let temporary = format!("{path}.{}.tmp", std::process::id());
    let written = async {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        copy(response, &mut file).await?;
        std::fs::rename(&temporary, target).map_err(failed)
    }
    .await;
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

pub async fn save(cli: Shared, m: Matches) -> Outcome {
    if m.text("output").is_empty() && crate::term::stdout_is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let client = cli.client().await?;
    let mut request = client.get("/images/get");
    for name in &m.args {
        request = request.query("names", name);
    }
    if m.changed("platform") {
        request = request.query("platform", platform_json(m.text("platform"), "invalid platform: ")?);
    }
    copy_to(request.send().await?, m.text("output"), "failed to save image").await
}

pub async fn import(cli: Shared, m: Matches) -> Outcome {
    let source = m.args[0].as_str();
    let input: Option<Box<dyn Read + Send>> = match source {
        "-" => Some(Box::new(std::io::stdin())),
        url if url.starts_with("http://") || url.starts_with("https://") => None,
        path => Some(Box::new(open(path)?)),
    };
    let client = cli.client().await?;
    let (repository, tag) = match m.args.get(1) {
        None => (String::new(), String::new()),
        Some(text) => {
            let reference = parse(text)?;
            if reference.digest().is_some() {
                return Err(Failure::new("refusing to create a tag with a digest reference"));
            }
            (reference.familiar_name(), reference.tag().unwrap_or_default().to_owned())
        }
    };
    let mut request = client
        .post("/images/create")
        .query("fromSrc", if input.is_some() { "-" } else { source })
        .query_some("repo", repository)
        .query_some("tag", tag)
        .query_some("message", m.text("message"))
        .query_some("platform", m.text("platform").to_lowercase());
    for change in m.list("change") {
        request = request.query("changes", change);
    }
    if let Some(input) = input {
        request = request.stream("application/x-tar", body_of(input));
    }
    show(request.lines().await?, false).await
}

pub async fn tag(cli: Shared, m: Matches) -> Outcome {
    let parsed = |text: &str| {
        Reference::parse_name(text).map_err(|e| {
            let quoted = knarr_gotemplate::quote(text);
            Failure::new(format!("Error parsing reference: {quoted} is not a valid repository/tag: {e}"))
        })
    };
    if !is_identifier(&m.args[0]) {
        parsed(&m.args[0])?;
    }
    let target = parsed(&m.args[1])?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let client = cli.client().await?;
    let request = client
        .post(format!("/images/{}/tag", m.args[0]))
        .query("repo", target.familiar_name())
        .query("tag", target.tag().unwrap_or("latest"));
    Ok(request.done().await?)
}

pub async fn rmi(cli: Shared, m: Matches) -> Outcome {
    let force = m.flag("force");
    let platforms = m.list("platform").iter().map(|p| platform_json(p, "")).collect::<Outcome<Vec<_>>>()?;
    let client = cli.client().await?;
    let (mut failures, mut fatal) = (Vec::new(), false);
    for name in &m.args {
        let mut request =
            client.delete(format!("/images/{name}")).flag("force", force).flag("noprune", m.flag("no-prune"));
        for platform in &platforms {
            request = request.query("platforms", platform);
        }
        match request.fetch::<Vec<DeleteResponse>>().await {
            Ok(items) => {
                for item in items {
                    match item.deleted.as_str() {
                        "" => cli.println(&format!("Untagged: {}", item.untagged))?,
                        id => cli.println(&format!("Deleted: {id}"))?,
                    }
                }
            }
            Err(error) if error.is_connection() => return Err(error.into()),
            Err(error) => {
                fatal |= !error.is_not_found();
                failures.push(error.to_string());
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    if force && !fatal {
        cli.warn(&failures.join("\n"));
        return Ok(());
    }
    Err(Failure::new(failures.join("\n")))
}

/// Prunes images; what was reclaimed and the text to print.
pub async fn prune_images(cli: &Shared, all: bool, filters: &[String]) -> Outcome<(u64, String)> {
    let standing = cli.config().texts("pruneFilters");
    let filters = filter::for_prune(filters, &standing).with("dangling", if all { "false" } else { "true" });
    let client = cli.client().await?;
    let report: PruneReport = client.post("/images/prune").filters(&filters).fetch().await?;
    let mut text = String::new();
    if !report.images_deleted.is_empty() {
        text.push_str("Deleted Images:\n");
        for item in &report.images_deleted {
            let line = match item.untagged.as_str() {
                "" => format!("deleted: {}\n", item.deleted),
                name => format!("untagged: {name}\n"),
            };
            text.push_str(&line);
        }
    }
    Ok((report.space_reclaimed, text))
}

pub async fn prune(cli: Shared, m: Matches) -> Outcome {
    let all = m.flag("all");
    let what =
        if all { "images without at least one container associated to them" } else { "dangling images" };
    let question = format!("WARNING! This will remove all {what}.\nAre you sure you want to continue?");
    if !m.flag("force") && !cli.confirm(&question)? {
        return Ok(());
    }
    let (reclaimed, text) = prune_images(&cli, all, &m.list("filter")).await?;
    let text = if text.is_empty() { text } else { format!("{text}\n") };
    let reclaimed = units::size(i64::try_from(reclaimed).unwrap_or(i64::MAX));
    cli.print(&format!("{text}Total reclaimed space: {reclaimed}\n"))
}
