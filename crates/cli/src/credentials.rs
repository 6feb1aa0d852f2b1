//! Credentials of registries: `auths` of config.json and credential helpers.
//!
//! Standard: <https://docs.docker.com/reference/cli/docker/login/#credential-helpers>: `docker-credential-<name>` with `get`,
//! `store`, `erase` and `list`. Invariants: a secret goes to a helper by its standard input, never among arguments; what a
//! helper says has a bound.
use crate::cli::Cli;
use crate::config_file::ConfigFile;
use crate::failure::{Failure, Outcome, os_text};
use knarr_docker_types::registry::AuthConfig;
use knarr_oci::reference::Reference;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};

/// The key of Docker Hub in config.json.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// What a helper calls the user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What a helper says when it has nothing: the protocol has no other sign of it.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// Longest answer of a helper.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The key under which a registry's credentials are kept.
pub fn key_of(domain: &str) -> &str {
    match domain {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The header value for requests about an image; empty credentials when there are none.
pub fn header_for_image(cli: &Cli, image: &str) -> Outcome<String> {
    let auth = match Reference::parse(image) {
        Ok(reference) => for_domain(cli, reference.domain())?,
        Err(_) => None,
    };
    Ok(knarr_docker_client::registry_auth(&auth.unwrap_or_default()))
}

/// The header value for a search, whose words need not be a name.
pub fn header_for_search(cli: &Cli, term: &str) -> Outcome<String> {
    let domain = match term.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    };
    Ok(knarr_docker_client::registry_auth(&for_domain(cli, domain)?.unwrap_or_default()))
}

/// What is known for a registry. A helper that does not work is no credentials, as in Docker's client, but that is told.
pub fn for_domain(cli: &Cli, domain: &str) -> Outcome<Option<AuthConfig>> {
    match find(cli.config(), key_of(domain)) {
        Ok(auth) => Ok(auth),
        Err(failure) => {
            cli.warn(&format!("WARNING: {failure}"));
            Ok(None)
        }
    }
}

pub fn find(config: &ConfigFile, server: &str) -> Outcome<Option<AuthConfig>> {
    match config.credential_helper(server) {
        Some(helper) => ask_helper(helper, server),
        None => Ok(config.auth(server)),
    }
}

/// All servers that credentials are known for.
pub fn servers(config: &ConfigFile) -> Vec<String> {
    let mut servers = config.servers();
    for helper in config.helpers() {
        servers.extend(list_of_helper(helper).unwrap_or_default());
    }
    servers.sort();
    servers.dedup();
    servers
}

/// Why a helper failed, as Docker's client says it.
fn failed(what: &str, answer: &Answer) -> Failure {
    let status = match answer.status.code() {
        Some(code) => format!("exit status {code}"),
        None => answer.status.to_string(),
    };
    Failure::new(format!("error {what} credentials - err: {status}, out: `{}`", answer.text()))
}

fn ask_helper(helper: &str, server: &str) -> Outcome<Option<AuthConfig>> {
    let answer = run_helper(helper, "get", "getting", server.as_bytes())?;
    if !answer.status.success() {
        return if answer.text() == NOT_FOUND { Ok(None) } else { Err(failed("getting", &answer)) };
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default, rename_all = "PascalCase")]
    struct Found {
        username: String,
        secret: String,
    }
    let found: Found = serde_json::from_slice(&answer.stdout)
        .map_err(|error| Failure::new(format!("error getting credentials - err: {error}")))?;
    let mut auth = AuthConfig { server_address: server.to_owned(), ..AuthConfig::default() };
    if found.username == TOKEN_USER {
        auth.identity_token = found.secret;
    } else {
        auth.username = found.username;
        auth.password = found.secret;
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
    let answer = run_helper(helper, "store", "storing", document.as_bytes())?;
    if answer.status.success() { Ok(()) } else { Err(failed("storing", &answer)) }
}

/// What is not there is no error.
pub fn erase_with_helper(helper: &str, server: &str) -> Outcome {
    let answer = run_helper(helper, "erase", "erasing", server.as_bytes())?;
    if answer.status.success() || answer.text() == NOT_FOUND {
        Ok(())
    } else {
        Err(failed("erasing", &answer))
    }
}

fn list_of_helper(helper: &str) -> Outcome<Vec<String>> {
    let answer = run_helper(helper, "list", "listing", b"unused")?;
    if !answer.status.success() {
        return Err(failed("listing", &answer));
    }
    let all: BTreeMap<String, String> = serde_json::from_slice(&answer.stdout)
        .map_err(|error| Failure::new(format!("error listing credentials - err: {error}")))?;
    Ok(all.into_keys().collect())
}

/// Whether there is a helper of this name.
pub fn has_helper(helper: &str) -> bool {
    has_program(&format!("docker-credential-{helper}"))
}

pub fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

fn run_helper(helper: &str, action: &str, what: &str, input: &[u8]) -> Outcome<Answer> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
            _ => os_text(&error),
        };
        Failure::new(format!("error {what} credentials - err: exec: \"{program}\": {why}, out: ``"))
    };
    // A slash would make it another program than one of the search path.
    if helper.contains('/') {
        return Err(failed(std::io::ErrorKind::NotFound.into()));
    }
    let mut command = Command::new(&program);
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper may know its answer without reading.
        let _ = stdin.write_all(input);
    }
    let mut stdout = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MAX_ANSWER_BYTES).read_to_end(&mut stdout).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    Ok(Answer { status, stdout })
}
