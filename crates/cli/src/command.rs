//! The tree of commands and the way from arguments to one of them.
use crate::arguments::Matches;
use crate::cli::{Cli, EngineStarter, Shared};
use crate::cmd;
use crate::failure::{EXIT_USAGE, Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::help;
use crate::plugin;
use crate::program;
use crate::term::output::{complain, print};
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
    /// Listed with the plain ones, unless the program's name is `docker`.
    Own,
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
    /// All paths of the command, as help lists them, where they are more than its aliases in one group.
    pub paths: &'static [&'static str],
    /// What help says instead of `about`.
    pub long: &'static str,
    /// Lines of help that show how it is used.
    pub examples: &'static str,
    pub experimental: bool,
    /// A group whose errors say COMMAND after its path, as some of Docker's do.
    pub says_command: bool,
    /// A command of Docker's that this engine does not have yet, and why.
    pub refused: &'static str,
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
            long: "",
            examples: "",
            experimental: false,
            says_command: false,
            refused: "",
        }
    }
    /// A command that is known and not there: it says why, whatever its arguments are.
    pub const fn refused(name: &'static str, why: &'static str) -> Self {
        let mut command = Self::group(name, "", &[]);
        command.category = Category::Hidden;
        command.refused = why;
        command
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
            long: "",
            examples: "",
            experimental: false,
            says_command: false,
            refused: "",
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
    pub const fn long(mut self, text: &'static str) -> Self {
        self.long = text;
        self
    }
    pub const fn examples(mut self, lines: &'static str) -> Self {
        self.examples = lines;
        self
    }
    pub const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }
    pub const fn says_command(mut self) -> Self {
        self.says_command = true;
        self
    }
    pub const fn common(mut self) -> Self {
        self.category = Category::Common;
        self
    }
    pub const fn own(mut self) -> Self {
        self.category = Category::Own;
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

    fn usage_in_errors(&self) -> &'static str {
        if self.run.is_some() || self.says_command { self.usage } else { "" }
    }

    /// The command's path and its other names.
    pub fn all_paths(&self, path: &str) -> Vec<String> {
        if !self.paths.is_empty() {
            return self.paths.iter().map(|text| program::renamed(text).into_owned()).collect();
        }
        let parent = path.rsplit_once(' ').map_or("", |(parent, _)| parent);
        let others = self.aliases.iter().map(|alias| format!("{parent} {alias}"));
        std::iter::once(path.to_owned()).chain(others).collect()
    }

    fn check_arguments(&self, path: &str, count: usize) -> Outcome {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let (wrong, verb) = match self.args {
            Args::None if count > 0 => ("accepts no arguments".to_owned(), "Run"),
            Args::Exactly(n) if count != n => (format!("requires {n} {}", plural(n)), "Run"),
            Args::AtLeast(n) if count < n => (format!("requires at least {n} {}", plural(n)), "See"),
            Args::AtMost(n) if count > n => (format!("requires at most {n} {}", plural(n)), "Run"),
            Args::Between(least, most) if !(least..=most).contains(&count) => {
                (format!("requires at least {least} and at most {most} {}", plural(most)), "Run")
            }
            _ => return Ok(()),
        };
        let (name, line) = (program::name(), help::use_line(path, self.usage));
        Err(Failure::new(format!(
            "{name}: '{path}' {wrong}\n\nUsage:  {line}\n\n{verb} '{path} --help' for more information"
        )))
    }
}

/// A command of a group by its name or another of its names.
pub fn find(commands: &'static [&'static Command], name: &str) -> Option<&'static Command> {
    commands.iter().find(|c| c.name == name || c.aliases.contains(&name)).copied()
}

/// Flags before the command.
pub static GLOBAL_FLAGS: &[Flag] = &[
    Flag::new("config", Ty::Str, "Location of client config files").default("<config>"),
    Flag::new(
        "context",
        Ty::Str,
        "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \"knarr context use\")",
    )
    .short('c'),
    Flag::new("debug", Ty::Bool, "Enable debug mode").short('D'),
    Flag::new("host", Ty::List, "Daemon socket to connect to").short('H'),
    Flag::new("log-level", Ty::Str, "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("info"),
    Flag::new("tls", Ty::Bool, "Use TLS; implied by --tlsverify"),
    Flag::new("tlscacert", Ty::Str, "Trust certs signed only by this CA").default("<ca>"),
    Flag::new("tlscert", Ty::Str, "Path to TLS certificate file").default("<cert>"),
    Flag::new("tlskey", Ty::Str, "Path to TLS key file").default("<key>"),
    Flag::new("tlsverify", Ty::Bool, "Use TLS and verify the remote"),
    Flag::new("version", Ty::Bool, "Print version information and quit").short('v'),
];
pub static GLOBAL_TABLE: &[&[Flag]] = &[GLOBAL_FLAGS];

const LOG_LEVELS: [&str; 7] = ["debug", "info", "warn", "warning", "error", "fatal", "panic"];

/// Finds the command that `args` name and runs it.
pub async fn dispatch(args: &[String], starter: Option<Box<dyn EngineStarter>>) -> Outcome {
    let name = program::name();
    let wrong = |message: String| {
        let pointer = help::pointer(name, "[OPTIONS] COMMAND [ARG...]");
        Failure::with_code(EXIT_USAGE, format!("{message}\n\n{pointer}"))
    };
    let globals = Matches::parse(GLOBAL_TABLE, args, false).map_err(wrong)?;
    if globals.flag("version") {
        return print(&format!("{}\n", help::version_line()));
    }
    let level = globals.text("log-level");
    if !LOG_LEVELS.contains(&level) {
        return Err(Failure::new(format!("Unable to parse logging level: {level}")));
    }
    if globals.help {
        return print(&help::top(&Cli::new(globals, Vec::new(), starter)));
    }
    let words = globals.args.clone();
    let Some(first) = words.first() else {
        // nothing asked is a mistake
        complain(help::top(&Cli::new(globals, Vec::new(), starter)).trim_end());
        return Ok(());
    };
    let before = args.len() - words.len();
    let cli = Cli::new(globals, args.get(..before).unwrap_or_default().to_vec(), starter);
    match resolve(&words) {
        Ok((command, path, rest)) => {
            if !command.refused.is_empty() {
                plugin::run(&cli, &words).await?;
                return Err(refuse(command, &path));
            }
            run(command, path, rest, cli).await
        }
        Err(failure) => {
            if find(cmd::ROOT, first).is_none() {
                plugin::run(&cli, &words).await?;
                // flags behind it are read as our own
                Matches::parse(GLOBAL_TABLE, &words, true).map_err(wrong)?;
            }
            Err(failure)
        }
    }
}

fn refuse(command: &Command, path: &str) -> Failure {
    Failure::new(format!("{}: '{path}' is not supported: {}", program::name(), command.refused))
}

type Resolved<'a> = (&'static Command, String, &'a [String]);

/// Walks from the root to the command; `help X` is `X --help`.
fn resolve(words: &[String]) -> Outcome<Resolved<'_>> {
    let mut path = program::name().to_owned();
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
        Some(group) => format!("Usage:  {}\n\n", help::use_line(path, group.usage_in_errors())),
        None => String::new(),
    };
    Failure::new(format!(
        "{}: unknown command: {path} {word}\n\n{usage}Run '{path} --help' for more information",
        program::name()
    ))
}

async fn run(command: &'static Command, path: String, args: &[String], cli: Shared) -> Outcome {
    let usage = |message: String| {
        let usage = command.usage_in_errors();
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
        if matches.short_help {
            complain("Flag shorthand -h has been deprecated, use --help");
        }
        return print(&help::of(command, &path));
    }
    let Some(run) = command.run else {
        // a group without a command is a question
        complain(help::of(command, &path).trim_end());
        return Ok(());
    };
    command.check_arguments(&path, matches.args.len())?;
    let windows: Vec<String> = matches.given().filter(|flag| flag.windows).map(|flag| {
        format!("\"--{}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux", flag.long)
    }).collect();
    if !windows.is_empty() {
        return Err(Failure::new(windows.join("\n")));
    }
    run(cli, matches).await
}

/// `knarr help [COMMAND...]`.
pub async fn show_help(cli: &Cli, words: &[String]) -> Outcome {
    let Some(first) = words.first() else {
        return print(&help::top(cli));
    };
    let mut unknown = words;
    match resolve(words) {
        Ok((command, path, rest)) if rest.is_empty() && command.refused.is_empty() => {
            return print(&help::of(command, &path));
        }
        Ok((command, path, [])) => {
            plugin::run(cli, &[words, &["--help".to_owned()]].concat()).await?;
            return Err(refuse(command, &path));
        }
        Ok((_, _, rest)) => unknown = rest,
        Err(_) => {
            while let Some((first, rest)) = unknown.split_first()
                && let Ok((_, _, [])) = resolve(&words[..words.len() - rest.len()])
                && !first.is_empty()
            {
                unknown = rest;
            }
        }
    }
    if let Some((name, about)) = help::PROGRAMS.iter().find(|(name, _)| name == first) {
        return print(&format!(
            "{name}: {about}\n\nRun '{} {name} --help' for more information\n",
            program::name()
        ));
    }
    if find(cmd::ROOT, first).is_none() {
        plugin::run(cli, &[words, &["--help".to_owned()]].concat()).await?;
    }
    Err(Failure::new(format!("unknown help topic: {}", unknown.join(" "))))
}
