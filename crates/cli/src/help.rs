//! Help texts, made from the tables, in the layout of Docker's client (cobra's and pflag's).
use crate::cli::Cli;
use crate::cmd;
use crate::command::{Category, Command, GLOBAL_TABLE};
use crate::config_file;
use crate::flag::{Flag, PLATFORM_VARIABLE, Ty};
use crate::plugin::{self, Plugin};
use crate::program;
use std::borrow::Cow;
use std::fmt::Write;

/// Width of help without a terminal.
const DEFAULT_WIDTH: usize = 80;
/// Narrowest column of descriptions, and where they begin when they have less.
const MIN_TEXT: usize = 24;
const NARROW_INDENT: usize = 16;
/// A last line may be longer by as much.
const SLOP: usize = 5;
/// Least width of the column of commands' names.
const NAME_WIDTH: usize = 11;

pub fn version_line() -> String {
    format!("{} version {}", program::renamed("Knarr"), env!("CARGO_PKG_VERSION"))
}

/// The two lines that end a usage error.
pub fn pointer(path: &str, usage: &str) -> String {
    format!("Usage:  {}\n\nRun '{path} --help' for more information", use_line(path, usage))
}

/// `knarr ps [OPTIONS]`.
pub fn use_line(path: &str, usage: &str) -> String {
    if usage.is_empty() { path.to_owned() } else { format!("{path} {}", program::renamed(usage)) }
}

/// As Docker's client, by the terminal that standard input is.
fn width() -> usize {
    let columns = crate::term::columns_of_stdin().map_or(DEFAULT_WIDTH, usize::from);
    columns.saturating_sub(1)
}

/// Hides the commands that stand in a group as well, as in Docker's client.
const HIDE_LEGACY: &str = "DOCKER_HIDE_LEGACY_COMMANDS";

/// `knarr --help`.
pub fn top(cli: &Cli) -> String {
    let (plugins, unusable): (Vec<Plugin>, Vec<Plugin>) =
        plugin::list(cli).into_iter().partition(|plugin| plugin.problem.is_none());
    let name = program::name();
    let mut out = format!("Usage:  {name} [OPTIONS] COMMAND\n\n");
    out.push_str(if program::is_docker() {
        "A self-sufficient runtime for containers\n"
    } else {
        "Containers, from a laptop to a server, in one program\n"
    });
    let visible = |category: Category| -> Vec<(String, Cow<'static, str>)> {
        cmd::ROOT.iter().filter(|c| c.category == category).map(|c| row(c)).collect()
    };
    list(&mut out, "Common Commands", visible(Category::Common), false);
    let mut management = visible(Category::Management);
    // a star says that it is another program
    management.extend(plugins.into_iter().map(|plugin| (format!("{}*", plugin.name), plugin.about.into())));
    list(&mut out, "Management Commands", management, true);
    let mut plain = Vec::new();
    if std::env::var_os(HIDE_LEGACY).is_none_or(|value| value.is_empty()) {
        plain.extend(visible(Category::Plain));
    }
    if !program::is_docker() {
        plain.extend(visible(Category::Own));
    }
    list(&mut out, "Commands", plain, true);
    let unusable = unusable.into_iter().map(|p| (p.name, p.problem.unwrap_or_default().into())).collect();
    list(&mut out, "Invalid Plugins", unusable, true);
    if !program::is_docker() {
        out.push_str("\nOther Programs in this File:\n");
        for (name, about) in PROGRAMS {
            let _ = writeln!(out, "  {name:<NAME_WIDTH$} {about}");
        }
    }
    let _ = write!(
        out,
        "\nGlobal Options:\n{}\nRun '{name} COMMAND --help' for more information on a command.\n",
        flags(GLOBAL_TABLE, width())
    );
    if program::is_docker() {
        out.push_str("\nFor more help on how to use Docker, head to https://docs.docker.com/go/guides/\n");
    }
    out
}

/// What the binary is besides the client; `main` chooses before there is a client.
pub const PROGRAMS: [(&str, &str); 2] = [
    ("daemon", "The engine (also under the name knarrd)"),
    ("runtime", "OCI runtime (also under the name knarr-runtime)"),
];

/// `knarr COMMAND --help`.
pub fn of(command: &Command, path: &str) -> String {
    let about = if command.long.is_empty() { command.about } else { command.long };
    let mut out =
        format!("Usage:  {}\n\n{}\n", use_line(path, command.usage), program::renamed(about).trim());
    if command.experimental {
        let _ = write!(
            out,
            "\nEXPERIMENTAL:\n  {path} is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/\n"
        );
    }
    let aliases = command.all_paths(path);
    if aliases.len() > 1 {
        let _ = write!(out, "\nAliases:\n  {}\n", aliases.join(", "));
    }
    if !command.examples.is_empty() && !program::is_docker() {
        let _ = write!(out, "\nExamples:\n{}\n", command.examples);
    }
    let text = flags(command.flags, width());
    if !text.is_empty() {
        let _ = write!(out, "\nOptions:\n{text}");
    }
    if !command.children.is_empty() {
        let children = |group: bool| -> Vec<(String, Cow<'static, str>)> {
            let visible = command.children.iter().filter(|c| c.category != Category::Hidden);
            visible.filter(|c| c.children.is_empty() != group).map(|c| row(c)).collect()
        };
        list(&mut out, "Management Commands", children(true), true);
        list(&mut out, "Commands", children(false), true);
        let _ = write!(out, "\nRun '{path} COMMAND --help' for more information on a command.\n");
    }
    out
}

/// A command's name and what it is for.
fn row(command: &Command) -> (String, Cow<'static, str>) {
    (command.name.to_owned(), program::renamed(command.about))
}

fn list(out: &mut String, title: &str, mut commands: Vec<(String, Cow<'_, str>)>, sorted: bool) {
    if commands.is_empty() {
        return;
    }
    let longest = commands.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(NAME_WIDTH);
    let _ = write!(out, "\n{title}:\n");
    if sorted {
        commands.sort();
    }
    for (name, about) in commands {
        let _ = writeln!(out, "  {name:<longest$} {about}");
    }
}

/// One line or more for each flag, wrapped at `width`.
pub fn flags(tables: &[&'static [Flag]], width: usize) -> String {
    let rows = rows(tables);
    let column = rows.iter().map(|(_, left)| left.len()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, left) in rows {
        let text = wrap(column, width, &described(flag));
        let _ = writeln!(out, "{left:<column$}{text}");
    }
    out
}

/// The flags that help shows, in order, with what stands left of their descriptions.
pub fn rows(tables: &[&'static [Flag]]) -> Vec<(&'static Flag, String)> {
    let all = tables.iter().flat_map(|table| table.iter());
    let mut rows: Vec<_> = all.filter(|flag| !flag.hidden).map(|flag| (flag, left(flag))).collect();
    rows.sort_by_key(|(flag, _)| flag.long);
    rows
}

/// Description and default.
pub fn described(flag: &Flag) -> String {
    let mut text = program::renamed(flag.help).into_owned();
    if let Some(default) = shown_default(flag) {
        let _ = write!(text, " (default {default})");
    }
    text
}

fn left(flag: &Flag) -> String {
    let names = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    match flag.ty.name() {
        "" => names,
        name => format!("{names} {name}"),
    }
}

fn shown_default(flag: &Flag) -> Option<String> {
    let file = |name: &str| {
        let dir = std::env::var_os("DOCKER_CERT_PATH").filter(|dir| !dir.is_empty());
        let dir = dir.map_or_else(|| config_file::directory(""), Into::into);
        Some(knarr_gotemplate::quote(&dir.join(name).display().to_string()))
    };
    match (flag.default, flag.ty) {
        // places that depend on the user
        ("<config>", _) => Some(knarr_gotemplate::quote(&config_file::directory("").display().to_string())),
        ("<ca>", _) => file("ca.pem"),
        ("<cert>", _) => file("cert.pem"),
        ("<key>", _) => file("key.pem"),
        (PLATFORM_VARIABLE, _) => {
            let platform = std::env::var(PLATFORM_VARIABLE).ok().filter(|platform| !platform.is_empty());
            platform.map(|platform| knarr_gotemplate::quote(&platform))
        }
        ("" | "0" | "false", _) => None,
        (text, Ty::Str) => Some(knarr_gotemplate::quote(text)),
        (text, _) => Some(text.to_owned()),
    }
}

/// Breaks a description into lines of at most `width` columns, of which `indent` are taken; pflag's rules, so that what
/// people compare is the same.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    let (mut indent, mut room) = (indent, width.saturating_sub(indent));
    let mut out = String::new();
    if room < MIN_TEXT {
        indent = NARROW_INDENT;
        room = width.saturating_sub(indent);
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    let margin = format!("\n{}", " ".repeat(indent));
    if room < MIN_TEXT {
        return text.replace('\n', &margin);
    }
    let room = room - SLOP;
    let (first, mut rest) = line(room, text);
    out.push_str(&first.replace('\n', &margin));
    while !rest.is_empty() {
        let (next, after) = line(room, rest);
        out.push_str(&margin);
        out.push_str(&next.replace('\n', &margin));
        rest = after;
    }
    out
}

/// The first line and what follows; a break of the text's own comes first.
fn line(room: usize, text: &str) -> (&str, &str) {
    if room + SLOP > text.len() {
        return (text, "");
    }
    let head = text.get(..room).unwrap_or(text);
    let Some(space) = head.rfind([' ', '\t', '\n']).filter(|at| *at > 0) else { return (text, "") };
    let at = head.rfind('\n').filter(|at| *at > 0 && *at < space).unwrap_or(space);
    (&text[..at], &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_as_pflags() {
        let text =
            "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")";
        assert_eq!(
            wrap(27, 79, text),
            "Set the logging level (\"debug\", \"info\",\n                           \"warn\", \"error\", \"fatal\") (default \"info\")"
        );
        assert_eq!(wrap(4, 79, "one\ntwo"), "one\n    two");
        assert_eq!(wrap(70, 79, "a text"), "\n                a text");
    }
}
