//! Which engine a command talks to.
//!
//! In this order: `-H`; `--context`; `KNARR_HOST`; `DOCKER_HOST`; `DOCKER_CONTEXT`; the current context of
//! config.json; Knarr's own socket, behind which an engine is started when none runs.
use crate::cli::{Cli, EngineStarter};
use crate::config_file::ConfigFile;
use crate::context_store::{self, Store};
use crate::failure::{Failure, Outcome, os_text};
use crate::spec::csv;
use knarr_docker_client::{Client, Endpoint, TlsFiles};
use knarr_docker_types::ApiVersion;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where Knarr's engine listens when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/knarr/knarr.sock";

/// A chosen engine.
pub struct Target {
    pub host: String,
    pub tls: Option<TlsFiles>,
    /// Nothing was configured: an engine may be started.
    pub is_default: bool,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The name of the context in use.
pub fn context_name(cli: &Cli) -> Outcome<String> {
    let flag = cli.globals.text("context");
    let hosts = cli.globals.list("host");
    if !flag.is_empty() && !hosts.is_empty() {
        return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
    }
    if !flag.is_empty() {
        return Ok(flag.to_owned());
    }
    if !hosts.is_empty() || environment_host().is_some() {
        return Ok(context_store::DEFAULT.to_owned());
    }
    if let Some(name) = variable("DOCKER_CONTEXT") {
        return Ok(name);
    }
    let current = cli.config().text("currentContext");
    Ok(if current.is_empty() { context_store::DEFAULT } else { current }.to_owned())
}

/// The host that the environment names.
pub fn environment_host() -> Option<String> {
    variable("KNARR_HOST").or_else(|| variable("DOCKER_HOST"))
}

/// Schemes of hosts; what is none of them is no host.
fn is_known(host: &str) -> bool {
    ["unix://", "http+unix://", "tcp://", "http://", "https://", "ssh://"]
        .iter()
        .any(|scheme| host.starts_with(scheme))
}

/// A scheme alone; of TCP it means this machine.
fn is_incomplete(host: &str) -> bool {
    host.ends_with("://") && host != "tcp://"
}

pub fn choose(cli: &Cli) -> Outcome<Target> {
    let context = context_name(cli)?;
    let failed = |failure: Failure| {
        Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {failure}"))
    };
    chosen(cli, &context).map_err(failed)
}

fn chosen(cli: &Cli, context: &str) -> Outcome<Target> {
    if context != context_store::DEFAULT {
        let store = Store::new(&cli.config_dir());
        let found = store.get(context)?;
        let tls = store.tls(&found);
        let host = if found.host.is_empty() { default_host() } else { found.host };
        return Ok(Target { host, tls, is_default: false });
    }
    of_flags(cli)
}

/// The engine that flags and environment name, without a context.
pub fn of_flags(cli: &Cli) -> Outcome<Target> {
    let hosts = cli.globals.list("host");
    let host = match hosts.as_slice() {
        [] => environment_host(),
        [host] => Some(host.clone()).filter(|host| !host.trim().is_empty()),
        _ => return Err(Failure::new("Specify only one -H")),
    };
    if let Some(host) =
        host.as_deref().filter(|host| is_incomplete(host) || host.contains("://") && !is_known(host))
    {
        return Err(Failure::new(format!("invalid bind address format: {host}")));
    }
    let tls = tls_of_flags(cli)?;
    Ok(Target { is_default: host.is_none(), host: host.unwrap_or_else(default_host), tls })
}

/// The host to name for another client, where it would not find it by itself; starts an engine when that is left to us.
pub async fn host_for_others(cli: &Cli) -> Outcome<Option<String>> {
    if let Some(host) = variable("KNARR_HOST") {
        return Ok(Some(host));
    }
    if !choose(cli)?.is_default {
        return Ok(None);
    }
    Ok(Some(cli.client().await?.endpoint().to_string()))
}

pub fn default_host() -> String {
    format!("unix://{DEFAULT_SOCKET}")
}

/// TLS by `--tls*` and `DOCKER_TLS_VERIFY`, `DOCKER_TLS`, `DOCKER_CERT_PATH`.
fn tls_of_flags(cli: &Cli) -> Outcome<Option<TlsFiles>> {
    let flags = &cli.globals;
    let verify = if flags.changed("tlsverify") {
        flags.flag("tlsverify")
    } else {
        variable("DOCKER_TLS_VERIFY").is_some()
    };
    // to say that nothing is verified is to ask for TLS, too
    let wanted =
        verify || flags.changed("tlsverify") || flags.flag("tls") || variable("DOCKER_TLS").is_some();
    if !wanted {
        return Ok(None);
    }
    let dir = variable("DOCKER_CERT_PATH").map_or_else(|| cli.config_dir(), PathBuf::from);
    let mut files = TlsFiles::in_directory(&dir, verify);
    for (flag, file) in
        [("tlscacert", &mut files.ca), ("tlscert", &mut files.cert), ("tlskey", &mut files.key)]
    {
        if flags.changed(flag) {
            *file = Some(flags.text(flag).into());
        }
    }
    let authority = files.ca.clone().unwrap_or_else(|| dir.join("ca.pem"));
    if let Err(error) = std::fs::metadata(&authority) {
        return Err(Failure::new(format!("open {}: {}", authority.display(), os_text(&error))));
    }
    Ok(Some(files))
}

/// A client of the target, for which an engine is started when that is left to us; nothing is sent yet.
pub async fn open(
    target: &Target,
    starter: Option<&dyn EngineStarter>,
    config: &ConfigFile,
) -> Outcome<Client> {
    if target.is_default
        && let Some(starter) = starter
        && !listens(Path::new(DEFAULT_SOCKET))
    {
        let path = starter.ensure().await.map_err(|error| Failure::new(error.0))?;
        return dressed(Client::new(Endpoint::Unix(path), None), config);
    }
    client_of(target, config)
}

/// A client of the target as it is.
pub fn client_of(target: &Target, config: &ConfigFile) -> Outcome<Client> {
    let endpoint = Endpoint::parse(&target.host, target.tls.is_some())?;
    dressed(Client::new(endpoint, target.tls.clone()), config)
}

/// With what configuration and environment add to every request.
fn dressed(client: Client, config: &ConfigFile) -> Outcome<Client> {
    let client = client.with_headers(match variable(CUSTOM_HEADERS) {
        None => config.headers(),
        Some(text) => custom_headers(&text)?,
    });
    match variable("DOCKER_API_VERSION") {
        None => Ok(client),
        Some(text) => {
            let version = ApiVersion::parse(&text)
                .ok_or_else(|| Failure::new(format!("invalid API version in DOCKER_API_VERSION: {text}")))?;
            Ok(client.with_version(version))
        }
    }
}

/// Headers for every request, instead of those of the configuration: `name=value,..`.
const CUSTOM_HEADERS: &str = "DOCKER_CUSTOM_HEADERS";

fn custom_headers(text: &str) -> Outcome<Vec<(String, String)>> {
    let fields = csv::record(text).map_err(|_| {
        Failure::new(format!(
            "failed to parse custom headers from {CUSTOM_HEADERS} environment variable: value must be formatted as comma-separated key=value pairs"
        ))
    })?;
    let header = |field: String| {
        let failed = |why: &str| {
            Failure::new(format!(
                "failed to set custom headers from {CUSTOM_HEADERS} environment variable: {why}: '{field}'"
            ))
        };
        let (name, value) = field.split_once('=').map_or((field.as_str(), None), |(n, v)| (n, Some(v)));
        match (name.trim(), value) {
            ("", _) => Err(failed("value contains a key=value pair with an empty key")),
            (_, None) => Err(failed("missing \"=\" in key=value pair")),
            (name, Some(value)) => Ok((name.to_owned(), value.to_owned())),
        }
    };
    fields.into_iter().map(header).collect()
}

/// Whether somebody accepts connections; a socket that may not be used counts, since its engine runs.
fn listens(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}
