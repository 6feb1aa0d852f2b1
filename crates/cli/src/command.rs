//! The tree of commands and the way from arguments to one of them.
use crate::arguments::Matches;
use crate::cli::{Cli, EngineStarter, Shared};
use crate::cmd;
use crate::failure::{EXIT_USAGE, Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::help;
use std::future::Future;
use std::pin::Pin;

/// What a command does.
pub type Run = fn(Shared, Matches) -> Pin<Box<dyn Future<Output = Outcome>>>;

/// How many arguments a command takes.
#[derive(Clone, Copy, PartialEq)]
pub enum Args {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
    Any,
}

/// Where help lists a command.
#[derive(Clone, Copy, PartialEq)]
pub enum Category {
    Common,
    Management,
    Plain,
    Hidden,
}

/// One command, or a group of them.
pub struct Command {
    pub name: &'static str,
    /// Other names inside the same group.
    pub aliases: &'static [&'static str],
    /// What usage shows after the name.
    pub usage: &'static str,
    pub about: &'static str,
    pub flags: &'static [&'static [Flag]],
    pub args: Args,
    /// Flags may come after arguments.
    pub interspersed: bool,
    pub category: Category,
    /// None: a group, which shows its help.
    pub run: Option<Run>,
    pub children: &'static [&'static Command],
    /// All paths of the command, as help lists them.
    pub paths: &'static [&'static str],
}

impl Command {
    pub const fn new(
        name: &'static str,
        usage: &'static str,
        about: &'static str,
        args: Args,
        run: Run,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            usage,
            about,
            flags: &[],
            args,
            interspersed: true,
            category: Category::Plain,
            run: Some(run),
            children: &[],
            paths: &[],
        }
    }
    pub const fn group(
        name: &'static str,
        about: &'static str,
        children: &'static [&'static Command],
    ) -> Self {
        Self {
            name,
            aliases: &[],
            usage: "COMMAND",
            about,
            flags: &[],
            args: Args::Any,
            interspersed: false,
            category: Category::Management,
            run: None,
            children,
            paths: &[],
        }
    }
    pub const fn flags(mut self, flags: &'static [&'static [Flag]]) -> Self {
        self.flags = flags;
        self
    }
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
    pub const fn paths(mut self, paths: &'static [&'static str]) -> Self {
        self.paths = paths;
        self
    }
    pub const fn common(mut self) -> Self {
        self.category = Category::Common;
        self
    }
    pub const fn hidden(mut self) -> Self {
        self.category = Category::Hidden;
        self
    }
    /// Flags end at the first argument.
    pub const fn stops_at_argument(mut self) -> Self {
        self.interspersed = false;
        self
    }

    fn check_arguments(&self, path: &str, count: usize) -> Outcome {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let wrong = match self.args {
            Args::None if count > 0 => "accepts no arguments".to_owned(),
            Args::Exactly(n) if count != n => format!("requires {n} {}", plural(n)),
            Args::AtLeast(n) if count < n => format!("requires at least {n} {}", plural(n)),
            Args::AtMost(n) if count > n => format!("requires at most {n} {}", plural(n)),
            Args::Between(least, most) if !(least..=most).contains(&count) => {
                format!("requires at least {least} and at most {most} arguments")
            }
            _ => return Ok(()),
        };
        Err(Failure::new(format!("knarr: '{path}' {wrong}\n\n{}", help::pointer(path, self.usage))))
    }
}

fn find(commands: &'static [&'static Command], name: &str) -> Option<&'static Command> {
    commands.iter().find(|c| c.name == name || c.aliases.contains(&name)).copied()
}

/// Flags before the command.
pub static GLOBAL_FLAGS: &[Flag] = &[
    Flag::new("config", Ty::Str, "Location of client config files (default \"~/.docker\")"),
    Flag::new(
        "context",
        Ty::Str,
        "Name of the context to use to connect to the engine (overrides DOCKER_HOST and the default context set with \"knarr context use\")",
    )
    .short('c'),
    Flag::new("debug", Ty::Bool, "Enable debug mode").short('D'),
    Flag::new("host", Ty::List, "Engine socket to connect to").short('H'),
    Flag::new("log-level", Ty::Str, "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("info"),
    Flag::new("tls", Ty::Bool, "Use TLS; implied by --tlsverify"),
    Flag::new("tlscacert", Ty::Str, "Trust certs signed only by this CA"),
    Flag::new("tlscert", Ty::Str, "Path to TLS certificate file"),
    Flag::new("tlskey", Ty::Str, "Path to TLS key file"),
    Flag::new("tlsverify", Ty::Bool, "Use TLS and verify the remote"),
    Flag::new("version", Ty::Bool, "Print version information and quit").short('v'),
];
pub static GLOBAL_TABLE: &[&[Flag]] = &[GLOBAL_FLAGS];

const LOG_LEVELS: [&str; 7] = ["debug", "info", "warn", "warning", "error", "fatal", "panic"];

/// Finds the command that `args` name and runs it.
pub async fn dispatch(args: &[String], starter: Option<Box<dyn EngineStarter>>) -> Outcome {
    let globals = Matches::parse(GLOBAL_TABLE, args, false).map_err(|message| {
        Failure::with_code(
            EXIT_USAGE,
            format!("{message}\n\n{}", help::pointer("knarr", "[OPTIONS] COMMAND [ARG...]")),
        )
    })?;
    if globals.flag("version") {
        println!("{}", help::version_line());
        return Ok(());
    }
    let level = globals.text("log-level");
    if !LOG_LEVELS.contains(&level) {
        let level = knarr_gotemplate::quote(level);
        return Err(Failure::new(format!(
            "unable to parse logging level: not a valid logrus Level: {level}"
        )));
    }
    let words = globals.args.clone();
    if globals.help || words.is_empty() {
        print!("{}", help::top());
        return Ok(());
    }
    let (command, path, rest) = resolve(&words)?;
    run(command, path, rest, globals, starter).await
}

type Resolved<'a> = (&'static Command, String, &'a [String]);

/// Walks from the root to the command; `help X` is `X --help`.
fn resolve(words: &[String]) -> Outcome<Resolved<'_>> {
    let mut path = "knarr".to_owned();
    let mut commands = cmd::ROOT;
    let mut found: Option<&'static Command> = None;
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if found.is_some_and(|c| c.children.is_empty()) || word.starts_with('-') {
            break;
        }
        let Some(command) = find(commands, word) else {
            return Err(unknown(&path, found, word));
        };
        path = format!("{path} {}", command.name);
        commands = command.children;
        found = Some(command);
        rest = after;
    }
    match found {
        Some(command) => Ok((command, path, rest)),
        None => Err(unknown(&path, None, words.first().map_or("", String::as_str))),
    }
}

fn unknown(path: &str, group: Option<&Command>, word: &str) -> Failure {
    let usage = match group {
        Some(_) => format!("Usage:  {path}\n\n"),
        None => String::new(),
    };
    Failure::new(format!(
        "knarr: unknown command: {path} {word}\n\n{usage}Run '{path} --help' for more information"
    ))
}

async fn run(
    command: &'static Command,
    path: String,
    args: &[String],
    globals: Matches,
    starter: Option<Box<dyn EngineStarter>>,
) -> Outcome {
    let usage = |message: String| {
        let usage = if command.run.is_some() { command.usage } else { "" };
        Failure::with_code(EXIT_USAGE, format!("{message}\n\n{}", help::pointer(&path, usage)))
    };
    // words to complete may look like flags
    let end = ["--".to_owned()];
    let raw: Vec<String>;
    let args = if command.category == Category::Hidden && command.name.starts_with('_') {
        raw = end.into_iter().chain(args.iter().cloned()).collect();
        &raw
    } else {
        args
    };
    let matches = Matches::parse(command.flags, args, command.interspersed).map_err(usage)?;
    if matches.help {
        print!("{}", help::of(command, &path));
        return Ok(());
    }
    let Some(run) = command.run else {
        // a group without a command is a question
        eprint!("{}", help::of(command, &path));
        return Ok(());
    };
    command.check_arguments(&path, matches.args.len())?;
    run(Cli::new(globals, starter), matches).await
}

/// `knarr help [COMMAND...]`.
pub fn show_help(words: &[String]) -> Outcome {
    if words.is_empty() {
        print!("{}", help::top());
        return Ok(());
    }
    match resolve(words) {
        Ok((command, path, _)) => {
            print!("{}", help::of(command, &path));
            Ok(())
        }
        Err(_) => Err(Failure::new(format!("unknown help topic: {}", words.join(" ")))),
    }
}
