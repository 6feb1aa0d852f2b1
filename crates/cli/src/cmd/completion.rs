//! `completion`: small shell functions that ask `knarr __complete` for words, so that they never go stale.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::{self, context};
use crate::command::{Category, Command, GLOBAL_TABLE};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use knarr_docker_types::{container, image, network, volume};

const BASH: &str = r#"# bash completion for knarr
_knarr() {
    local IFS=$'\n' current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$(knarr __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$current"))
}
complete -o default -F _knarr knarr
"#;
const ZSH: &str = r#"#compdef knarr
_knarr() {
    local -a words_found
    words_found=("${(@f)$(knarr __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${words_found[1]}" ]]; then compadd -a words_found; else _files; fi
}
compdef _knarr knarr
"#;
const FISH: &str = r#"# fish completion for knarr
function __knarr_complete
    set -l words (commandline -opc) (commandline -ct)
    knarr __complete $words[2..-1] 2>/dev/null
end
complete -c knarr -a '(__knarr_complete)'
"#;

pub async fn completion(cli: Shared, m: Matches) -> Outcome {
    match m.args[0].as_str() {
        "bash" => cli.print(BASH),
        "zsh" => cli.print(ZSH),
        "fish" => cli.print(FISH),
        shell => Err(Failure::new(format!(
            "unknown shell {}: expected bash, zsh or fish",
            knarr_gotemplate::quote(shell)
        ))),
    }
}

/// `__complete WORD...`: the last word is the one being typed.
pub async fn complete(cli: Shared, m: Matches) -> Outcome {
    let (typed, before) = match m.args.split_last() {
        Some((typed, before)) => (typed.as_str(), before),
        None => ("", &[][..]),
    };
    let place = Place::find(before);
    let mut words = place.words(typed);
    if let Some(command) = place.command.filter(|_| !typed.starts_with('-') && place.flag.is_none()) {
        words.extend(objects(&cli, command).await.unwrap_or_default());
    }
    words.retain(|word| word.starts_with(typed));
    words.sort();
    words.dedup();
    cli.print(&words.iter().map(|word| format!("{word}\n")).collect::<String>())
}

/// Where in the command line the typed word stands.
struct Place {
    command: Option<&'static Command>,
    /// The word is this flag's value.
    flag: Option<&'static Flag>,
}

impl Place {
    fn find(before: &[String]) -> Self {
        let mut command: Option<&'static Command> = None;
        let mut flag = None;
        for word in before {
            if flag.take().is_some() {
                continue;
            }
            let tables = command.map_or(GLOBAL_TABLE, |c| c.flags);
            if let Some(name) = word.strip_prefix('-') {
                let found = tables.iter().flat_map(|t| t.iter()).find(|f| match name.strip_prefix('-') {
                    Some(long) => f.long == long,
                    None => name.chars().last() == f.short,
                });
                flag = found.filter(|f| !matches!(f.ty, Ty::Bool));
                continue;
            }
            let children = command.map_or(cmd::ROOT, |c| c.children);
            if let Some(child) =
                children.iter().find(|c| c.name == word || c.aliases.contains(&word.as_str()))
            {
                command = Some(child);
            }
        }
        Self { command, flag }
    }

    fn words(&self, typed: &str) -> Vec<String> {
        if self.flag.is_some() {
            return Vec::new();
        }
        let tables = self.command.map_or(GLOBAL_TABLE, |c| c.flags);
        if typed.starts_with('-') {
            let flags = tables.iter().flat_map(|t| t.iter()).filter(|f| !f.hidden);
            return flags.map(|f| format!("--{}", f.long)).chain(["--help".to_owned()]).collect();
        }
        let children = self.command.map_or(cmd::ROOT, |c| c.children);
        children.iter().filter(|c| c.category != Category::Hidden).map(|c| c.name.to_owned()).collect()
    }
}

/// Names of the objects that a command's usage mentions.
async fn objects(cli: &Shared, command: &Command) -> Outcome<Vec<String>> {
    let usage = command.usage;
    let mut words = Vec::new();
    if usage.contains("CONTEXT") {
        return Ok(context::names(cli));
    }
    if usage.contains("SHELL") {
        return Ok(["bash", "zsh", "fish"].map(str::to_owned).to_vec());
    }
    if usage.contains("[SERVER]") {
        return Ok(crate::credentials::servers(cli.config()?));
    }
    if usage.contains("MANIFEST") {
        return Ok(Vec::new());
    }
    let client = cli.client().await?;
    if usage.contains("CONTAINER") || usage.contains("NAME|ID") {
        let list: Vec<container::Summary> = client.get("/containers/json").flag("all", true).fetch().await?;
        words.extend(list.iter().flat_map(|c| c.names.iter()).map(|n| n.trim_start_matches('/').to_owned()));
    }
    if usage.contains("IMAGE") || usage.contains("REPOSITORY") || usage.contains("NAME|ID") {
        let list: Vec<image::Summary> = client.get("/images/json").fetch().await?;
        words.extend(list.iter().flat_map(|i| i.repo_tags.iter().cloned()));
    }
    if usage.contains("NETWORK") {
        let list: Vec<network::Network> = client.get("/networks").fetch().await?;
        words.extend(list.into_iter().map(|n| n.name));
    }
    if usage.contains("VOLUME") {
        let list: volume::ListResponse = client.get("/volumes").fetch().await?;
        words.extend(list.volumes.into_iter().map(|v| v.name));
    }
    Ok(words)
}

pub async fn help(_: Shared, m: Matches) -> Outcome {
    crate::command::show_help(&m.args)
}
