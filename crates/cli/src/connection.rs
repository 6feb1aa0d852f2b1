//! Which engine a command talks to.
//!
//! In this order: `-H`; `--context`; `KNARR_HOST`; `DOCKER_HOST`; `DOCKER_CONTEXT`; the current context of
//! config.json; Knarr's own socket, behind which an engine is started when none runs.
use crate::cli::{Cli, EngineStarter};
use crate::config_file::ConfigFile;
use crate::context_store::{self, Store};
use crate::failure::{Failure, Outcome};
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
    let current = cli.config()?.text("currentContext");
    Ok(if current.is_empty() { context_store::DEFAULT } else { current }.to_owned())
}

/// The host that the environment names.
pub fn environment_host() -> Option<String> {
    variable("KNARR_HOST").or_else(|| variable("DOCKER_HOST"))
}

pub fn choose(cli: &Cli) -> Outcome<Target> {
    let context = context_name(cli)?;
    if context != context_store::DEFAULT {
        let store = Store::new(&cli.config_dir());
        let found = store.get(&context)?;
        let tls = store.tls(&found);
        let host = if found.host.is_empty() { default_host() } else { found.host };
        return Ok(Target { host, tls, is_default: false });
    }
    let hosts = cli.globals.list("host");
    let host = match hosts.as_slice() {
        [] => environment_host(),
        [host] => Some(host.clone()),
        _ => return Err(Failure::new("specify only one -H")),
    };
    let tls = tls_of_flags(cli);
    Ok(Target { is_default: host.is_none(), host: host.unwrap_or_else(default_host), tls })
}

pub fn default_host() -> String {
    format!("unix://{DEFAULT_SOCKET}")
}

/// TLS by `--tls*` and `DOCKER_TLS_VERIFY`, `DOCKER_TLS`, `DOCKER_CERT_PATH`.
fn tls_of_flags(cli: &Cli) -> Option<TlsFiles> {
    let flags = &cli.globals;
    let verify = if flags.changed("tlsverify") {
        flags.flag("tlsverify")
    } else {
        variable("DOCKER_TLS_VERIFY").is_some()
    };
    let wanted = verify || flags.flag("tls") || variable("DOCKER_TLS").is_some();
    if !wanted {
        return None;
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
    Some(files)
}

/// A client of the target; nothing is sent yet.
pub async fn open(
    target: &Target,
    starter: Option<&dyn EngineStarter>,
    config: &ConfigFile,
) -> Outcome<Client> {
    let mut endpoint = Endpoint::parse(&target.host, target.tls.is_some())?;
    if target.is_default
        && let Some(starter) = starter
        && !listens(Path::new(DEFAULT_SOCKET))
    {
        let path = starter.ensure().await.map_err(|error| Failure::new(error.0))?;
        endpoint = Endpoint::Unix(path);
    }
    let mut client = Client::new(endpoint, target.tls.clone()).with_headers(config.headers());
    if let Some(text) = variable("DOCKER_API_VERSION") {
        let version = ApiVersion::parse(&text)
            .ok_or_else(|| Failure::new(format!("invalid API version in DOCKER_API_VERSION: {text}")))?;
        client = client.with_version(version);
    }
    Ok(client)
}

/// Whether somebody accepts connections; a socket that may not be used counts, since its engine runs.
fn listens(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}
