//! Credentials of registries: `auths` of config.json and credential helpers.
//!
//! Standard: <https://docs.docker.com/reference/cli/docker/login/#credential-helpers>.
use crate::config_file::ConfigFile;
use crate::failure::{Failure, Outcome, os_text};
use knarr_docker_types::registry::AuthConfig;
use knarr_oci::reference::Reference;
use std::io::Write;
use std::process::{Command, Stdio};

/// The key of Docker Hub in config.json.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// What a helper calls the user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What a helper says when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The key under which a registry's credentials are kept.
pub fn key_of(domain: &str) -> &str {
    match domain {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The header value for requests about an image; empty credentials when there are none.
pub fn header_for_image(config: &ConfigFile, image: &str) -> Outcome<String> {
    let auth = match Reference::parse(image) {
        Ok(reference) => find(config, key_of(reference.domain()))?,
        Err(_) => None,
    };
    Ok(knarr_docker_client::registry_auth(&auth.unwrap_or_default()))
}

pub fn find(config: &ConfigFile, server: &str) -> Outcome<Option<AuthConfig>> {
    match config.credential_helper(server) {
        Some(helper) => ask_helper(helper, server),
        None => Ok(config.auth(server)),
    }
}

fn ask_helper(helper: &str, server: &str) -> Outcome<Option<AuthConfig>> {
    let output = run_helper(helper, "get", server.as_bytes())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if text.contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(Failure::new(format!(
            "error getting credentials - err: {}, out: `{text}`",
            output.status
        )));
    }
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Failure::new(format!("error getting credentials - {e}")))?;
    let field = |name: &str| json.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let mut auth = AuthConfig { server_address: server.to_owned(), ..AuthConfig::default() };
    if field("Username") == TOKEN_USER {
        auth.identity_token = field("Secret");
    } else {
        auth.username = field("Username");
        auth.password = field("Secret");
    }
    Ok(Some(auth))
}

pub fn store_with_helper(helper: &str, auth: &AuthConfig) -> Outcome {
    let (user, secret) = if auth.identity_token.is_empty() {
        (auth.username.as_str(), &auth.password)
    } else {
        (TOKEN_USER, &auth.identity_token)
    };
    let document =
        serde_json::json!({"ServerURL": auth.server_address, "Username": user, "Secret": secret}).to_string();
    let output = run_helper(helper, "store", document.as_bytes())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure::new(String::from_utf8_lossy(&output.stdout).trim()))
    }
}

pub fn erase_with_helper(helper: &str, server: &str) -> Outcome {
    run_helper(helper, "erase", server.as_bytes()).map(drop)
}

fn run_helper(helper: &str, action: &str, input: &[u8]) -> Outcome<std::process::Output> {
    let program = format!("docker-credential-{helper}");
    let failed = |e: std::io::Error| {
        Failure::new(format!("error getting credentials - err: exec: \"{program}\": {}", os_text(&e)))
    };
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(failed)?;
    }
    child.wait_with_output().map_err(failed)
}
