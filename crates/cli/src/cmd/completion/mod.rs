//! `completion`: scripts of shells that ask `__complete` for words, so that they never go stale, and `__complete` itself.
//!
//! The answer is that of cobra's programs (<https://github.com/spf13/cobra/blob/main/site/content/completions/_index.md>):
//! a word a line, a tab and what it means, then `:` and a directive. So the scripts of Docker's client work as well.
mod place;
mod script;
mod source;

use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd;
use crate::command::{Category, Command, GLOBAL_TABLE};
use crate::failure::{Failure, Outcome};
use crate::flag::Flag;
use crate::program;
use place::{Place, Typed};

/// What a shell does beside offering the words; bits of one number.
mod directive {
    pub const DEFAULT: u8 = 0;
    pub const NO_SPACE: u8 = 2;
    pub const NO_FILES: u8 = 4;
    pub const DIRECTORIES: u8 = 16;

    /// Cobra's names, for people who look for a fault in a script.
    pub fn name(directive: u8) -> String {
        let bits = [
            (NO_SPACE, "ShellCompDirectiveNoSpace"),
            (NO_FILES, "ShellCompDirectiveNoFileComp"),
            (DIRECTORIES, "ShellCompDirectiveFilterDirs"),
        ];
        let names: Vec<&str> =
            bits.iter().filter(|(bit, _)| directive & bit != 0).map(|(_, name)| *name).collect();
        if names.is_empty() { "ShellCompDirectiveDefault".to_owned() } else { names.join(", ") }
    }
}

/// Words with what they mean, and the directive.
pub struct Answer {
    words: Vec<(String, String)>,
    directive: u8,
}

impl Answer {
    fn new(words: impl IntoIterator<Item = impl Into<String>>, directive: u8) -> Self {
        Self { words: words.into_iter().map(|word| (word.into(), String::new())).collect(), directive }
    }
    fn nothing(directive: u8) -> Self {
        Self { words: Vec::new(), directive }
    }
    fn text(&self, typed: &str, described: bool) -> String {
        let mut out = String::new();
        for (word, about) in self.words.iter().filter(|(word, _)| word.starts_with(typed)) {
            out.push_str(word);
            if described && !about.is_empty() {
                out.push('\t');
                out.push_str(about.lines().next().unwrap_or_default());
            }
            out.push('\n');
        }
        format!("{out}:{}\n", self.directive)
    }
}

pub async fn completion(cli: Shared, m: Matches) -> Outcome {
    let script = match m.args[0].as_str() {
        "bash" => script::BASH,
        "zsh" => script::ZSH,
        "fish" => script::FISH,
        shell => {
            return Err(Failure::new(format!(
                "unknown shell {}: expected bash, zsh or fish",
                knarr_gotemplate::quote(shell)
            )));
        }
    };
    cli.print(&script.replace("@NAME@", program::name()))
}

/// `__complete WORD...`: the last word is the one being typed.
pub async fn complete(cli: Shared, m: Matches) -> Outcome {
    answer(&cli, &m, std::env::var_os("DOCKER_CLI_DISABLE_COMPLETION_DESCRIPTION").is_none()).await
}
pub async fn complete_bare(cli: Shared, m: Matches) -> Outcome {
    answer(&cli, &m, false).await
}

async fn answer(cli: &Shared, m: &Matches, described: bool) -> Outcome {
    let (typed, before) = match m.args.split_last() {
        Some((typed, before)) => (typed.as_str(), before),
        None => ("", &[][..]),
    };
    let place = Place::find(before, typed);
    // the engine is the one that the completed command line names
    let cli = cli.with_globals(&place.globals);
    let (answer, start) = match &place.typed {
        Typed::Flag => (flags(place.command, typed), typed),
        Typed::Value(flag, start) => {
            (source::of_flag(flag, place.command).answer(&cli, start, &[]).await, *start)
        }
        Typed::Word => match place.command {
            None => (commands(cmd::ROOT, &cli), typed),
            Some(command) if command.run.is_none() => (commands(command.children, &cli), typed),
            Some(_) => {
                let source = source::of_argument(&place.path, place.arguments.len());
                (source.answer(&cli, typed, &place.arguments).await, typed)
            }
        },
        Typed::Unknown => (Answer::nothing(directive::DEFAULT), typed),
    };
    cli.print(&answer.text(start, described))?;
    cli.warn(&format!("Completion ended with directive: {}", directive::name(answer.directive)));
    Ok(())
}

fn commands(children: &[&Command], cli: &Shared) -> Answer {
    let own = |command: &&&Command| match command.category {
        Category::Hidden => false,
        Category::Own => !program::is_docker(),
        _ => true,
    };
    let about = |command: &&Command| (command.name.to_owned(), program::renamed(command.about).into_owned());
    let mut words: Vec<(String, String)> = children.iter().filter(own).map(about).collect();
    if std::ptr::eq(children, cmd::ROOT) {
        words.push(("help".into(), "Help about the command".into()));
        words.extend(usable_plugins(cli));
    }
    words.sort();
    Answer { words, directive: directive::NO_FILES }
}

fn usable_plugins(cli: &Shared) -> impl Iterator<Item = (String, String)> {
    let all = crate::plugin::list(cli).into_iter();
    all.filter(|plugin| plugin.problem.is_none()).map(|plugin| (plugin.name, plugin.about))
}

/// Long names after `--`, all names after `-`.
fn flags(command: Option<&'static Command>, typed: &str) -> Answer {
    let tables = command.map_or(GLOBAL_TABLE, |c| c.flags);
    let mut all: Vec<&Flag> = tables.iter().flat_map(|t| t.iter()).filter(|flag| !flag.hidden).collect();
    all.sort_by_key(|flag| flag.long);
    let mut words = Vec::new();
    for flag in all {
        let about = program::renamed(flag.help).into_owned();
        words.push((format!("--{}", flag.long), about.clone()));
        if let (Some(short), false) = (flag.short, typed.starts_with("--")) {
            words.push((format!("-{short}"), about));
        }
    }
    Answer { words, directive: directive::NO_FILES }
}

pub async fn help(cli: Shared, m: Matches) -> Outcome {
    crate::command::show_help(&cli, &m.args).await
}
