//! `--use-api-socket`: the engine's socket in a container, with the credentials of registries that its clients need.
use crate::cli::Cli;
use crate::credentials;
use crate::failure::{Failure, Outcome};
use base64::Engine as _;
use bytes::Bytes;
use knarr_docker_client::Client;
use knarr_docker_types::container::CreateRequest;
use knarr_docker_types::mount::Mount;
use serde_json::{Map, Value, json};

/// Where clients look for the socket.
const SOCKET: &str = "/var/run/docker.sock";
/// Where the credentials lie in the container.
const DIRECTORY: &str = "/run/secrets/docker";

/// Adds the socket to a request; what is given back is a config.json for [`put`].
pub async fn add(cli: &Cli, body: &mut CreateRequest) -> Outcome<Option<String>> {
    let host = cli.client().await?.endpoint().to_string();
    let Some(socket) = host.strip_prefix("unix://") else {
        return Err(Failure::new(format!(
            "flag --use-api-socket can only be used with unix sockets: docker endpoint {host} incompatible"
        )));
    };
    let mount = Mount {
        kind: "bind".to_owned(),
        source: socket.to_owned(),
        target: SOCKET.to_owned(),
        ..Mount::default()
    };
    body.host_config.get_or_insert_default().mounts.push(mount);
    if body.config.env.iter().any(|variable| variable.starts_with("DOCKER_CONFIG=")) {
        // who says where the configuration is has one
        return Ok(None);
    }
    let auths = auths(cli)?;
    if auths.is_empty() {
        return Ok(None);
    }
    body.config.env.push(format!("DOCKER_CONFIG={DIRECTORY}"));
    Ok(Some(json!({"auths": auths}).to_string()))
}

fn auths(cli: &Cli) -> Outcome<Map<String, Value>> {
    let config = cli.config();
    let mut auths = Map::new();
    for server in credentials::servers(config) {
        let found = credentials::find(config, &server)
            .map_err(|failure| Failure::new(format!("resolving credentials failed: {failure}")))?;
        let Some(auth) = found else { continue };
        let mut entry = Map::new();
        if !auth.username.is_empty() {
            let pair = format!("{}:{}", auth.username, auth.password);
            entry.insert("auth".into(), base64::engine::general_purpose::STANDARD.encode(pair).into());
        }
        if !auth.identity_token.is_empty() {
            entry.insert("identitytoken".into(), auth.identity_token.into());
        }
        auths.insert(server, entry.into());
    }
    Ok(auths)
}

/// Puts the configuration into a container that does not run yet.
pub async fn put(client: &Client, id: &str, config: &str) -> Outcome {
    let archive = archive(config)?;
    let body = futures_util::stream::iter([Ok(Bytes::from(archive))]);
    let request = client.put(format!("/containers/{id}/archive")).query("path", "/");
    let sent = request.stream("application/x-tar", body).done().await;
    sent.map_err(|error| Failure::new(format!("injecting docker config.json into container failed: {error}")))
}

fn archive(config: &str) -> Outcome<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut path = String::new();
    for part in DIRECTORY.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}{part}/");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, &path, std::io::empty())?;
    }
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o600);
    header.set_size(config.len() as u64);
    archive.append_data(&mut header, format!("{path}config.json"), config.as_bytes())?;
    Ok(archive.into_inner()?)
}
