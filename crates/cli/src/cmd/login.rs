//! `login`, `logout`.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::config_file::ConfigFile;
use crate::credentials::{self, DOCKER_HUB};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use base64::Engine as _;
use knarr_docker_types::registry::{AuthConfig, AuthResponse};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{BufRead, Read, Write, stdin};

pub static LOGIN_FLAGS: &[Flag] = &[
    Flag::new("password", Ty::Str, "Password or Personal Access Token (PAT)").short('p'),
    Flag::new("password-stdin", Ty::Bool, "Take the Password or Personal Access Token (PAT) from stdin"),
    Flag::new("username", Ty::Str, "Username").short('u'),
];

/// Longest password that is read.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

fn server_of(m: &Matches) -> String {
    match m.args.first().map(String::as_str) {
        None | Some("docker.io" | "index.docker.io" | "registry-1.docker.io" | DOCKER_HUB) => {
            DOCKER_HUB.to_owned()
        }
        Some(other) => {
            let plain =
                other.strip_prefix("https://").or_else(|| other.strip_prefix("http://")).unwrap_or(other);
            plain.trim_end_matches('/').to_owned()
        }
    }
}

fn secret_from_stdin() -> Outcome<String> {
    let mut text = String::new();
    stdin().take(MAX_SECRET_BYTES).read_to_string(&mut text)?;
    Ok(text.trim_end_matches('\n').trim_end_matches('\r').to_owned())
}

fn ask(question: &str, hidden: bool) -> Outcome<String> {
    print!("{question}");
    std::io::stdout().flush()?;
    let saved = if hidden { tcgetattr(stdin()).ok() } else { None };
    if let Some(mut quiet) = saved.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    }
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    if let Some(saved) = &saved {
        let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        println!();
    }
    read?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// User and password from flags, standard input, the configuration or questions.
fn credentials_of(cli: &Cli, m: &Matches, server: &str) -> Outcome<AuthConfig> {
    let mut user = m.text("username").to_owned();
    let mut password = m.text("password").to_owned();
    if m.flag("password-stdin") {
        if m.changed("password") {
            return Err(Failure::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if user.is_empty() {
            return Err(Failure::new("the --password-stdin option requires --username to be set"));
        }
        password = secret_from_stdin()?;
    } else if m.changed("password") {
        cli.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if user.is_empty() && password.is_empty() {
        let known = credentials::find(cli.config()?, server)?;
        if let Some(known) = known.filter(|a| !a.password.is_empty() || !a.identity_token.is_empty()) {
            cli.println("Authenticating with existing credentials...")?;
            return Ok(AuthConfig { server_address: server.to_owned(), ..known });
        }
    }
    if (user.is_empty() || password.is_empty()) && !crate::term::stdin_is_terminal() {
        return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    if user.is_empty() {
        user = ask("Username: ", false)?;
    }
    if user.trim().is_empty() {
        return Err(Failure::new("error: username is required"));
    }
    if password.is_empty() {
        password = ask("Password: ", true)?;
    }
    if password.is_empty() {
        return Err(Failure::new("error: password is required"));
    }
    Ok(AuthConfig {
        username: user.trim().to_owned(),
        password,
        server_address: server.to_owned(),
        ..AuthConfig::default()
    })
}

pub async fn login(cli: Shared, m: Matches) -> Outcome {
    let server = server_of(&m);
    let mut auth = credentials_of(&cli, &m, &server)?;
    let client = cli.client().await?;
    let response: AuthResponse = client.post("/auth").json(&auth).fetch().await?;
    if !response.identity_token.is_empty() {
        auth.password.clear();
        auth.identity_token = response.identity_token;
    }
    keep(&cli, &server, &auth)?;
    cli.println(if response.status.is_empty() { "Login Succeeded" } else { &response.status })
}

fn keep(cli: &Cli, server: &str, auth: &AuthConfig) -> Outcome {
    if let Some(helper) = cli.config()?.credential_helper(server) {
        credentials::store_with_helper(helper, auth)?;
        return ConfigFile::store(&cli.config_dir(), |config| auths(config, server, Some(json!({}))));
    }
    let pair = format!("{}:{}", auth.username, auth.password);
    let mut entry = json!({"auth": base64::engine::general_purpose::STANDARD.encode(pair)});
    if !auth.identity_token.is_empty() {
        entry["identitytoken"] = auth.identity_token.as_str().into();
    }
    ConfigFile::store(&cli.config_dir(), |config| auths(config, server, Some(entry)))?;
    cli.warn(&format!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
        cli.config_dir().join("config.json").display()
    ));
    Ok(())
}

fn auths(
    config: &mut serde_json::Map<String, serde_json::Value>,
    server: &str,
    entry: Option<serde_json::Value>,
) {
    let all = config.entry("auths").or_insert_with(|| json!({}));
    if let Some(all) = all.as_object_mut() {
        match entry {
            Some(entry) => drop(all.insert(server.to_owned(), entry)),
            None => drop(all.remove(server)),
        }
    }
}

pub async fn logout(cli: Shared, m: Matches) -> Outcome {
    let server = server_of(&m);
    let config = cli.config()?;
    let helper = config.credential_helper(&server).map(str::to_owned);
    if helper.is_none() && !config.servers().contains(&server) {
        return cli.println(&format!("Not logged in to {server}"));
    }
    cli.println(&format!("Removing login credentials for {server}"))?;
    if let Some(helper) = helper {
        credentials::erase_with_helper(&helper, &server)?;
    }
    ConfigFile::store(&cli.config_dir(), |config| auths(config, &server, None))
}
