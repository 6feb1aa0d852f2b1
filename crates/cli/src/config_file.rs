//! `~/.docker/config.json`: read leniently, written back with everything that was in it.
//!
//! Standard: <https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties>.
use crate::credentials;
use crate::failure::{Failure, Outcome, os_text};
use crate::term::output::complain;
use base64::Engine as _;
use knarr_docker_types::registry::AuthConfig;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the configuration lies: `--config`, `DOCKER_CONFIG`, `~/.docker`.
pub fn directory(flag: &str) -> PathBuf {
    if !flag.is_empty() {
        return flag.into();
    }
    match std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
        Some(dir) => dir.into(),
        None => std::env::home_dir().unwrap_or_else(|| "/".into()).join(".docker"),
    }
}

pub struct ConfigFile {
    path: PathBuf,
    document: Map<String, Value>,
    /// A credential store of this machine that nobody configured: used as long as the file knows nothing of credentials.
    default_store: Option<&'static str>,
    /// Why the file was taken for an empty one.
    unusable: Option<String>,
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl ConfigFile {
    pub fn load(dir: &Path) -> Self {
        let path = dir.join("config.json");
        let document = match std::fs::read(&path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(document) => Ok(document),
                Err(why) => Err(format!("Error parsing config file ({}): {why}", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => {
                Err(format!("Error loading config file: open {}: {}", path.display(), os_text(&error)))
            }
        };
        // a file that cannot be used is an empty one, as for Docker
        let (document, unusable) = match document {
            Ok(document) => (document, None),
            Err(why) => {
                complain(&format!("WARNING: {why}"));
                (Map::new(), Some(why))
            }
        };
        let known = ["auths", "credHelpers"].iter().any(|name| {
            document.get(*name).and_then(Value::as_object).is_some_and(|object| !object.is_empty())
        });
        let configured =
            document.get("credsStore").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let default_store = if known || configured { None } else { default_store() };
        Self { path, document, default_store, unusable }
    }

    pub fn text(&self, name: &str) -> &str {
        self.document.get(name).and_then(Value::as_str).unwrap_or_default()
    }
    /// A list of directories.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        self.texts(name).into_iter().map(PathBuf::from).collect()
    }
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let items = self.document.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    }
    fn entries(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.document.get(name).and_then(Value::as_object).into_iter().flatten()
    }

    /// `HttpHeaders`, for every request.
    pub fn headers(&self) -> Vec<(String, String)> {
        let texts = self.entries("HttpHeaders");
        texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// The credential helper of a server.
    pub fn credential_helper(&self, server: &str) -> Option<&str> {
        let own = self.document.get("credHelpers").and_then(|h| h.get(server)).and_then(Value::as_str);
        own.or_else(|| Some(self.text("credsStore")).filter(|store| !store.is_empty())).or(self.default_store)
    }

    /// The store of [`Self::credential_helper`] that is not in the file.
    pub fn default_store(&self) -> Option<&'static str> {
        self.default_store
    }

    /// All credential helpers.
    pub fn helpers(&self) -> Vec<&str> {
        let mut helpers: Vec<&str> =
            self.entries("credHelpers").filter_map(|(_, name)| name.as_str()).collect();
        helpers.extend(self.credential_helper(""));
        helpers.sort_unstable();
        helpers.dedup();
        helpers
    }

    /// Credentials kept in the file itself.
    pub fn auth(&self, server: &str) -> Option<AuthConfig> {
        let same = |key: &str| key == server || hostname(key) == hostname(server);
        let exact = self.entries("auths").find(|(key, _)| *key == server);
        let (key, entry) = exact.or_else(|| self.entries("auths").find(|(key, _)| same(key)))?;
        let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut auth = AuthConfig {
            username: field("username"),
            password: field("password"),
            identity_token: field("identitytoken"),
            registry_token: field("registrytoken"),
            server_address: key.clone(),
            ..AuthConfig::default()
        };
        if let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(field("auth"))
            && let Some((user, password)) = String::from_utf8_lossy(&decoded).split_once(':')
        {
            auth.username = user.to_owned();
            auth.password = password.trim_end_matches('\0').to_owned();
        }
        Some(auth)
    }

    /// All servers with credentials in the file.
    pub fn servers(&self) -> Vec<String> {
        self.entries("auths").map(|(key, _)| key.clone()).collect()
    }

    /// Environment variables that `proxies` asks for in new containers.
    pub fn proxy_variables(&self, host: &str) -> Vec<(String, String)> {
        let Some(proxies) = self.document.get("proxies") else { return Vec::new() };
        let Some(chosen) = proxies.get(host).or_else(|| proxies.get("default")) else { return Vec::new() };
        let names = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let mut variables = Vec::new();
        for (key, name) in names {
            if let Some(value) = chosen.get(key).and_then(Value::as_str).filter(|v| !v.is_empty()) {
                variables.push((name.to_owned(), value.to_owned()));
                variables.push((name.to_lowercase(), value.to_owned()));
            }
        }
        variables
    }

    /// Keeps, changes or removes a member and writes the file.
    pub fn store(dir: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Outcome {
        let mut config = Self::load(dir);
        // what is in it would be lost
        if let Some(why) = config.unusable.take() {
            return Err(Failure::new(why));
        }
        change(&mut config.document);
        config.write()
    }

    fn write(&self) -> Outcome {
        let failed = |error: std::io::Error| {
            Failure::new(format!("could not write {}: {}", self.path.display(), os_text(&error)))
        };
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        make_private_dir(dir).map_err(failed)?;
        let text = {
            use serde::Serialize;
            let mut out = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            self.document.serialize(&mut serializer).map_err(|e| Failure::new(e.to_string()))?;
            out
        };
        // written beside and renamed, so that nobody sees half a file; a symbolic link stays one
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let temporary = target.with_extension(format!("json{}", std::process::id()));
        let mut file = private_file(&temporary).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&temporary, &target).map_err(failed)
    }
}

/// As in Docker's client: `pass` where there is that program, else the desktop's keyring; if there is a helper for it.
fn default_store() -> Option<&'static str> {
    let name = if credentials::has_program("pass") { "pass" } else { "secretservice" };
    credentials::has_helper(name).then_some(name)
}

/// A directory that only the owner reads.
pub fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The host of `https://host/path`.
fn hostname(server: &str) -> &str {
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    rest.split('/').next().unwrap_or_default()
}
