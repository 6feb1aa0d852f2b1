//! Programs that add commands: `docker-compose`, `docker-buildx` and others in the directories of Docker's client.
//!
//! Standard: <https://github.com/docker/cli/blob/master/cli-plugins/metadata/metadata.go>. A plugin gets the whole command
//! line, and finds the engine as any client does.
use crate::cli::Cli;
use crate::cmd;
use crate::command::find as find_command;
use crate::connection;
use crate::failure::{Failure, Outcome, os_text};
use serde_json::{Map, Value};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where packages put plugins.
const SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
const PREFIX: &str = "docker-";
/// The command that calls a plugin, for it to call back.
const CALLER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";
/// What a plugin answers with what it is.
const ASK: &str = "docker-cli-plugin-metadata";
/// The builder's plugin, which has the commands `build` and `builder`.
const BUILDER: &str = "buildx";

/// The version of what a plugin answers.
const SCHEMA: &str = "0.1.0";

/// What a plugin says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plugin {
    pub name: String,
    pub path: PathBuf,
    pub vendor: String,
    pub version: String,
    pub about: String,
    url: String,
    schema: String,
    /// Why it is none, in words of Docker's client.
    pub problem: Option<String>,
}

impl Plugin {
    /// As `info` shows it.
    pub fn document(&self) -> Value {
        let mut document = Map::new();
        let texts = [
            ("SchemaVersion", &self.schema),
            ("Vendor", &self.vendor),
            ("Version", &self.version),
            ("ShortDescription", &self.about),
            ("URL", &self.url),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            document.insert(name.to_owned(), text.as_str().into());
        }
        document.insert("Name".to_owned(), self.name.as_str().into());
        document.insert("Path".to_owned(), self.path.display().to_string().into());
        if let Some(problem) = &self.problem {
            document.insert("Err".to_owned(), problem.as_str().into());
        }
        document.into()
    }
}

fn directories(cli: &Cli) -> Vec<PathBuf> {
    let mut all = cli.config().paths("cliPluginsExtraDirs");
    all.push(cli.config_dir().join("cli-plugins"));
    all.extend(SYSTEM.map(PathBuf::from));
    all
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The program of a plugin.
fn find(cli: &Cli, name: &str) -> Option<PathBuf> {
    let file = format!("{PREFIX}{name}");
    let fits = is_name(name).then(|| directories(cli).into_iter().map(|dir| dir.join(&file)));
    fits?.find(|path| is_program(path))
}

/// Asks a program whether it is a plugin.
fn describe(name: &str, path: PathBuf) -> Plugin {
    let unusable = |problem: String| Plugin {
        name: name.to_owned(),
        path: path.clone(),
        problem: Some(problem),
        ..Plugin::default()
    };
    if find_command(cmd::ROOT, name).is_some_and(|command| command.refused.is_empty()) {
        return unusable(format!("plugin {name:?} duplicates builtin command"));
    }
    let answer = match Command::new(&path).arg(ASK).stdin(Stdio::null()).output() {
        Ok(answer) if answer.status.success() => answer.stdout,
        Ok(answer) => {
            let status =
                answer.status.code().map_or(answer.status.to_string(), |c| format!("exit status {c}"));
            return unusable(format!("failed to fetch metadata: {status}"));
        }
        Err(error) => return unusable(format!("failed to fetch metadata: {}", os_text(&error))),
    };
    let document: Value = match serde_json::from_slice(&answer) {
        Ok(document) => document,
        Err(error) => return unusable(format!("invalid metadata: {error}")),
    };
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let problem = match (text("SchemaVersion"), text("Vendor")) {
        (schema, _) if schema != SCHEMA => {
            Some(format!("plugin SchemaVersion {schema:?} is not valid, must be {SCHEMA}"))
        }
        (_, vendor) if vendor.is_empty() => Some("plugin metadata does not define a vendor".to_owned()),
        _ => None,
    };
    Plugin {
        name: name.to_owned(),
        path,
        vendor: text("Vendor"),
        version: text("Version"),
        about: text("ShortDescription"),
        url: text("URL"),
        schema: text("SchemaVersion"),
        problem,
    }
}

/// All plugins, by name, also those that cannot be used.
pub fn list(cli: &Cli) -> Vec<Plugin> {
    let mut names = std::collections::BTreeSet::new();
    for dir in directories(cli) {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let found = entries.filter_map(|e| e.file_name().to_str()?.strip_prefix(PREFIX).map(str::to_owned));
        names.extend(found);
    }
    names.iter().filter_map(|name| Some(describe(name, find(cli, name)?))).collect()
}

/// The plugin and the command line for `words` (the command and what follows), if a plugin has that command.
fn chosen(cli: &Cli, words: &[String]) -> Option<(String, PathBuf, Vec<String>)> {
    let first = words.first()?;
    let text: Vec<&str> = words.iter().take(2).map(String::as_str).collect();
    let (name, line) = match text[..] {
        ["build", ..] => (BUILDER, [&[BUILDER.to_owned()], words].concat()),
        ["image", "build"] => (BUILDER, [&[BUILDER.to_owned()], &words[1..]].concat()),
        ["builder", ..] => (BUILDER, [&[BUILDER.to_owned()], &words[1..]].concat()),
        _ => (first.as_str(), words.to_vec()),
    };
    Some((name.to_owned(), find(cli, name)?, line))
}

/// Becomes the plugin that has the command, with the flags that came before it; comes back if there is none.
pub async fn run(cli: &Cli, words: &[String]) -> Outcome {
    let Some((name, path, line)) = chosen(cli, words) else { return Ok(()) };
    // any program of that name may lie there
    if describe(&name, path.clone()).problem.is_some() {
        return Ok(());
    }
    let mut command = Command::new(&path);
    command.args(&cli.global_words).args(line);
    command.env(CALLER, std::env::args_os().next().unwrap_or_default());
    let named = ["host", "context"].iter().any(|flag| cli.globals.changed(flag));
    if !named && let Some(host) = connection::host_for_others(cli).await? {
        command.env("DOCKER_HOST", host);
    }
    let error = command.exec();
    Err(Failure::new(format!("cannot run the plugin {}: {}", path.display(), os_text(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plugins() {
        assert!(is_name("compose") && is_name("buildx2"));
        assert!(
            !is_name("buildX") && !is_name("") && !is_name("../x") && !is_name("Compose") && !is_name("a-b")
        );
    }
}
