//! `create`, and the part of `run` before the container starts.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::create_request::{self, Request};
use crate::cmd::{api_socket, content_trust};
use crate::connection;
use crate::credentials;
use crate::failure::{EXIT_USAGE, Failure, Outcome, os_text};
use crate::format::progress::{Display, Screen};
use crate::program;
use knarr_docker_client::Client;
use knarr_docker_types::ApiVersion;
use knarr_docker_types::container::{CreateRequest, CreateResponse};
use knarr_oci::platform::Platform;
use knarr_oci::reference::{Reference, is_identifier};
use std::path::{Path, PathBuf};

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let request = request(&cli, &m, "create")?;
    let id = create_container(&cli, &m, request.body).await?;
    cli.println(&id)
}

/// A failure of `run` or `create` before there is a container.
pub fn usage_failure(code: i32, message: &str, command: &str) -> Failure {
    let name = program::name();
    Failure::with_code(
        code,
        format!("{name}: {message}\n\nRun '{name} {command} --help' for more information"),
    )
}

/// The request that the flags describe.
pub fn request(cli: &Cli, m: &Matches, command: &str) -> Outcome<Request> {
    let failed = |message: String| usage_failure(EXIT_USAGE, &message, command);
    let pull = m.text("pull");
    if !matches!(pull, "always" | "missing" | "never" | "") {
        return Err(failed(format!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    let host = connection::choose(cli).map(|target| target.host).unwrap_or_default();
    let proxies = cli.config().proxy_variables(&host);
    create_request::build(m, &proxies).map_err(failed)
}

/// Creates the container, pulls its image when that is missing, and gives its id.
pub async fn create_container(cli: &Cli, m: &Matches, mut body: CreateRequest) -> Outcome<String> {
    let platform = m.text("platform");
    if !platform.is_empty() {
        Platform::parse(platform)
            .map_err(|e| Failure::new(format!("error parsing specified platform: {e}: invalid argument")))?;
    }
    let id_file = IdFile::create(m.text("cidfile"))?;
    let secrets = if m.flag("use-api-socket") { api_socket::add(cli, &mut body).await? } else { None };
    let image = body.config.image.clone();
    content_trust::check(m, &image)?;
    let id = image.strip_prefix("sha256:").unwrap_or(&image);
    let reference = match is_identifier(id) {
        true => None,
        false => Some(Reference::parse(&image).map_err(|e| Failure::new(e.to_string()))?),
    };
    let client = cli.client().await?;
    if m.text("pull") == "always" {
        pull(cli, m, &image).await?;
    }
    let mut created = post(&client, m, &body).await;
    if let (Err(error), Some(reference), "missing") = (&created, &reference, m.text("pull"))
        && error.is_not_found()
        && names_image(error)
    {
        if !m.flag("quiet") {
            cli.warn(&format!("Unable to find image '{}' locally", tagged(reference)));
        }
        pull(cli, m, &image).await?;
        created = post(&client, m, &body).await;
    }
    let created = created?;
    let host = body.host_config.as_ref();
    for warning in created.warnings.iter().cloned().chain(host.and_then(|h| local_dns_warning(&h.dns))) {
        cli.warn(&format!("WARNING: {warning}"));
    }
    if let Some(config) = secrets {
        api_socket::put(&client, &created.id, &config).await?;
    }
    if let Some(file) = id_file {
        file.write(&created.id)?;
    }
    Ok(created.id)
}

/// A missing image and not, for example, a missing network.
fn names_image(error: &knarr_docker_client::Error) -> bool {
    let message = error.api_message().unwrap_or_default().to_lowercase();
    !(message.contains("no such container")
        || message.contains("network")
        || message.contains("no such volume"))
}

fn tagged(reference: &Reference) -> String {
    if reference.is_name_only() {
        return format!("{}:latest", reference.familiar());
    }
    reference.familiar()
}

async fn post(
    client: &Client,
    m: &Matches,
    body: &CreateRequest,
) -> Result<CreateResponse, knarr_docker_client::Error> {
    let mut request = client.post("/containers/create").query_some("name", m.text("name"));
    if client.version().await? >= ApiVersion::new(1, 41) {
        request = request.query_some("platform", m.text("platform"));
    }
    request.json(body).fetch().await
}

/// Pulls with progress on standard error: standard output is the container's.
async fn pull(cli: &Cli, m: &Matches, image: &str) -> Outcome {
    let (name, tag) = split_for_pull(image)?;
    let client = cli.client().await?;
    let auth = credentials::header_for_image(cli, image)?;
    let request = client
        .post("/images/create")
        .query("fromImage", name)
        .query_some("tag", tag)
        .query_some("platform", m.text("platform"))
        .header("X-Registry-Auth", &auth);
    let stream = request.lines().await?;
    let mut sink = std::io::sink();
    let mut stderr = std::io::stderr();
    let quiet = m.flag("quiet");
    let out: &mut dyn std::io::Write = if quiet { &mut sink } else { &mut stderr };
    Display::new(out, Screen::stderr()).follow(stream, |_| {}).await
}

/// Repository and tag or digest, as the engine takes them.
pub fn split_for_pull(image: &str) -> Outcome<(String, String)> {
    let reference = Reference::parse(image).map_err(|e| Failure::new(e.to_string()))?;
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    Ok((reference.familiar_name(), tag))
}

fn local_dns_warning(servers: &[String]) -> Option<String> {
    let local = |text: &&String| text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    servers.iter().find(local).map(|ip| format!("Localhost DNS ({ip}) may fail in containers."))
}

/// `--cidfile`: made before the container, removed when there will be none.
struct IdFile {
    path: PathBuf,
    written: bool,
}

impl IdFile {
    fn create(path: &str) -> Outcome<Option<Self>> {
        if path.is_empty() {
            return Ok(None);
        }
        if Path::new(path).exists() {
            return Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )));
        }
        std::fs::File::create_new(path).map_err(|e| {
            Failure::new(format!("failed to create the container ID file: open {path}: {}", os_text(&e)))
        })?;
        Ok(Some(Self { path: path.into(), written: false }))
    }

    fn write(mut self, id: &str) -> Outcome {
        std::fs::write(&self.path, id).map_err(|e| {
            Failure::new(format!("failed to write the container ID to the file: {}", os_text(&e)))
        })?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
