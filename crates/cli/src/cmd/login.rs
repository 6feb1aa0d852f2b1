//! `login`, `logout`.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::config_file::ConfigFile;
use crate::credentials::{self, DOCKER_HUB};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::format::note;
use crate::term::output;
use base64::Engine as _;
use knarr_docker_types::registry::{AuthConfig, AuthResponse};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{BufRead, Read, stdin};

pub static LOGIN_FLAGS: &[Flag] = &[
    Flag::new("password", Ty::Str, "Password or Personal Access Token (PAT)").short('p'),
    Flag::new("password-stdin", Ty::Bool, "Take the Password or Personal Access Token (PAT) from stdin"),
    Flag::new("username", Ty::Str, "Username").short('u'),
];

/// Longest password that is read.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The key of a server: Docker Hub by any of its names, or the host.
fn server_of(m: &Matches) -> String {
    match m.args.first().map(String::as_str) {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io" | DOCKER_HUB) => {
            DOCKER_HUB.to_owned()
        }
        Some(other) => hostname(other),
    }
}

/// `https://host:port/path` is `host:port`.
fn hostname(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

fn secret_from_stdin() -> Outcome<String> {
    let mut text = String::new();
    stdin().take(MAX_SECRET_BYTES).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn ask(question: &str, hidden: bool) -> Outcome<String> {
    output::print(question)?;
    let saved = if hidden { tcgetattr(stdin()).ok() } else { None };
    if let Some(mut quiet) = saved.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    }
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    if let Some(saved) = &saved {
        let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        output::print("\n")?;
    }
    read?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// User and password of flags and standard input; empty where they are not given.
fn given(cli: &Cli, m: &Matches) -> Outcome<(String, String)> {
    let (user, mut password) = (m.text("username").trim().to_owned(), m.text("password").to_owned());
    let from_stdin = m.flag("password-stdin") || password == "-";
    if m.changed("password-stdin") && m.changed("password") && password != "-" {
        return Err(Failure::new("conflicting options: cannot specify both --password and --password-stdin"));
    }
    if from_stdin && !m.changed("username") {
        return Err(Failure::new("the --password-stdin option requires --username to be set"));
    }
    if m.changed("username") && m.text("username").is_empty() {
        return Err(Failure::new("username is empty"));
    }
    if m.changed("password") && password.is_empty() {
        return Err(Failure::new("password is empty"));
    }
    if from_stdin {
        password = secret_from_stdin()?;
        if password.trim().is_empty() {
            return Err(Failure::new("password is empty"));
        }
    } else if !password.is_empty() {
        cli.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    Ok((user, password))
}

/// What is missing is asked for.
fn asked(user: String, password: String, known_user: &str, server: &str) -> Outcome<AuthConfig> {
    if (user.is_empty() || password.is_empty()) && !crate::term::stdin_is_terminal() {
        return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let mut user = user;
    if user.is_empty() {
        let question = if known_user.is_empty() {
            "Username: ".to_owned()
        } else {
            format!("Username ({known_user}): ")
        };
        user = ask(&question, false)?.trim().to_owned();
    }
    if user.is_empty() {
        known_user.clone_into(&mut user);
    }
    if user.is_empty() {
        return Err(Failure::new("Error: Non-null Username Required"));
    }
    let mut password = password;
    if password.is_empty() {
        if server == DOCKER_HUB {
            note::print(
                "A Personal Access Token (PAT) can be used instead.\n\
                 To create a PAT, visit https://app.docker.com/settings\n\n",
                true,
            )?;
        }
        password = ask("Password: ", true)?;
    }
    if password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    Ok(AuthConfig { username: user, password, server_address: server.to_owned(), ..AuthConfig::default() })
}

pub async fn login(cli: Shared, m: Matches) -> Outcome {
    let (user, password) = given(&cli, &m)?;
    let server = server_of(&m);
    let mut known_user = String::new();
    if user.is_empty() && password.is_empty() {
        let known = credentials::find(cli.config(), &server)?.unwrap_or_default();
        known_user.clone_from(&known.username);
        if !known.username.is_empty() && !known.password.is_empty() {
            let known = AuthConfig { server_address: server.clone(), ..known };
            match with_known(&cli, known).await? {
                Some(status) => return cli.println(&status),
                None => known_user.clear(),
            }
        }
    }
    let auth = asked(user, password, &known_user, &server)?;
    let status = check_and_keep(&cli, auth).await?;
    cli.println(&status)
}

/// With what is stored; none when that does not work any more.
async fn with_known(cli: &Shared, auth: AuthConfig) -> Outcome<Option<String>> {
    cli.warn(&format!("Authenticating with existing credentials... [Username: {}]", auth.username));
    note::print("To login with a different account, run 'docker logout' followed by 'docker login'", true)?;
    cli.warn("\n");
    let answer: Result<AuthResponse, _> = cli.client().await?.post("/auth").json(&auth).fetch().await;
    match answer {
        Ok(answer) => kept(cli, auth, answer).map(Some),
        Err(error) if error.status() == Some(401) => {
            cli.warn("Stored credentials invalid or expired");
            Ok(None)
        }
        Err(error) => {
            cli.warn(&format!("Login did not succeed, error: {error}"));
            Ok(None)
        }
    }
}

async fn check_and_keep(cli: &Shared, auth: AuthConfig) -> Outcome<String> {
    let answer: AuthResponse = cli.client().await?.post("/auth").json(&auth).fetch().await?;
    kept(cli, auth, answer)
}

/// Keeps what the registry took, or the token that it gave for it. What to say.
fn kept(cli: &Cli, mut auth: AuthConfig, answer: AuthResponse) -> Outcome<String> {
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identity_token = answer.identity_token;
    }
    keep(cli, &auth).map_err(|failure| Failure::new(format!("Error saving credentials: {failure}")))?;
    Ok(if answer.status.is_empty() { "Login Succeeded".to_owned() } else { answer.status })
}

fn keep(cli: &Cli, auth: &AuthConfig) -> Outcome {
    let (config, server) = (cli.config(), auth.server_address.as_str());
    if let Some(helper) = config.credential_helper(server) {
        credentials::store_with_helper(helper, auth)?;
        let default = config.default_store().map(str::to_owned);
        return ConfigFile::store(&cli.config_dir(), |config| {
            auths(config, server, Some(json!({})));
            // A store that was found rather than configured is the one to look into from now on.
            if let Some(default) = default {
                config.insert("credsStore".to_owned(), default.into());
            }
        });
    }
    let same = config.auth(server).is_some_and(|known| {
        known.server_address == server
            && (&known.username, &known.password, &known.identity_token)
                == (&auth.username, &auth.password, &auth.identity_token)
    });
    if same {
        return Ok(());
    }
    let pair = format!("{}:{}", auth.username, auth.password);
    let mut entry = json!({"auth": base64::engine::general_purpose::STANDARD.encode(pair)});
    if !auth.identity_token.is_empty() {
        entry["identitytoken"] = auth.identity_token.as_str().into();
    }
    ConfigFile::store(&cli.config_dir(), |config| auths(config, server, Some(entry)))?;
    if !auth.password.is_empty() {
        cli.warn(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            cli.config_dir().join("config.json").display()
        ));
    }
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

/// Under every key that Docker's client has ever kept a server's credentials.
pub async fn logout(cli: Shared, m: Matches) -> Outcome {
    let server = server_of(&m);
    let mut keys = vec![server.clone()];
    if server != DOCKER_HUB {
        keys.extend(m.args.first().cloned());
        keys.extend([format!("http://{server}"), format!("https://{server}")]);
    }
    keys.sort();
    keys.dedup();
    cli.println(&format!("Removing login credentials for {server}"))?;
    let mut failures = Vec::new();
    for key in &keys {
        if let Err(failure) = forget(&cli, key) {
            failures.push(format!("{key}: {failure}"));
        }
    }
    if failures.len() == keys.len() {
        cli.warn("WARNING: could not erase credentials:");
        cli.warn(&failures.join("\n"));
    }
    Ok(())
}

fn forget(cli: &Cli, key: &str) -> Outcome {
    let config = cli.config();
    if let Some(helper) = config.credential_helper(key) {
        credentials::erase_with_helper(helper, key)?;
    }
    if config.servers().iter().any(|known| known == key) {
        return ConfigFile::store(&cli.config_dir(), |config| auths(config, key, None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts() {
        for (server, want) in [
            ("r.test", "r.test"),
            ("http://r.test:5000/v2/", "r.test:5000"),
            ("https://user@r.test/x", "r.test"),
            ("r.test:5000/team", "r.test:5000"),
        ] {
            assert_eq!(hostname(server), want);
        }
    }
}
