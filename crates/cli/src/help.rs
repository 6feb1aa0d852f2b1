//! Help texts, made from the tables.
use crate::cmd;
use crate::command::{Category, Command, GLOBAL_TABLE};
use crate::flag::{Flag, Ty};
use std::fmt::Write;

/// Width of help that does not go to a terminal.
const DEFAULT_WIDTH: usize = 80;
/// Narrowest column of descriptions.
const MIN_TEXT: usize = 24;

pub fn version_line() -> String {
    format!("Knarr version {}", env!("CARGO_PKG_VERSION"))
}

/// The two lines that end a usage error.
pub fn pointer(path: &str, usage: &str) -> String {
    let usage = if usage.is_empty() { String::new() } else { format!(" {usage}") };
    format!("Usage:  {path}{usage}\n\nRun '{path} --help' for more information")
}

fn width() -> usize {
    crate::term::size_of_stdout().map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns).max(40))
}

/// `knarr --help`.
pub fn top() -> String {
    let mut out =
        "Usage:  knarr [OPTIONS] COMMAND\n\nContainers, from a laptop to a server, in one program\n"
            .to_owned();
    for (title, category) in [
        ("Common Commands", Category::Common),
        ("Management Commands", Category::Management),
        ("Commands", Category::Plain),
    ] {
        let commands: Vec<&Command> = cmd::ROOT.iter().copied().filter(|c| c.category == category).collect();
        list(&mut out, title, &commands);
    }
    out.push_str("\nGlobal Options:\n");
    out.push_str(&flags(GLOBAL_TABLE, width()));
    out.push_str("\nRun 'knarr COMMAND --help' for more information on a command.\n");
    out
}

/// `knarr COMMAND --help`.
pub fn of(command: &Command, path: &str) -> String {
    let mut out = format!("Usage:  {path} {}\n\n{}\n", command.usage, command.about);
    if command.paths.len() > 1 {
        let _ = write!(out, "\nAliases:\n  {}\n", command.paths.join(", "));
    }
    if !command.children.is_empty() {
        let children: Vec<&Command> =
            command.children.iter().copied().filter(|c| c.category != Category::Hidden).collect();
        list(&mut out, "Commands", &children);
    }
    let text = flags(command.flags, width());
    if !text.is_empty() {
        let _ = write!(out, "\nOptions:\n{text}");
    }
    if !command.children.is_empty() {
        let _ = write!(out, "\nRun '{path} COMMAND --help' for more information on a command.\n");
    }
    out
}

fn list(out: &mut String, title: &str, commands: &[&Command]) {
    let longest = commands.iter().map(|c| c.name.len()).max().unwrap_or(0).max(11);
    let _ = write!(out, "\n{title}:\n");
    let mut sorted: Vec<_> = commands.to_vec();
    if title != "Common Commands" {
        sorted.sort_by_key(|c| c.name);
    }
    for command in sorted {
        let _ = writeln!(out, "  {:<longest$} {}", command.name, command.about);
    }
}

/// One line or more for each flag, wrapped at `width`.
fn flags(tables: &[&[Flag]], width: usize) -> String {
    let mut rows: Vec<(&Flag, String)> = tables
        .iter()
        .flat_map(|table| table.iter())
        .filter(|flag| !flag.hidden)
        .map(|flag| (flag, left(flag)))
        .collect();
    rows.sort_by_key(|(flag, _)| flag.long);
    let column = rows.iter().map(|(_, left)| left.len()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, left) in rows {
        let mut text = flag.help.to_owned();
        if let Some(default) = shown_default(flag) {
            let _ = write!(text, " (default {default})");
        }
        let room = width.saturating_sub(column).max(MIN_TEXT);
        for (i, line) in wrap(&text, room).into_iter().enumerate() {
            let start = if i == 0 { left.as_str() } else { "" };
            let _ = writeln!(out, "{start:<column$}{line}");
        }
    }
    out
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
    match (flag.default, flag.ty) {
        ("" | "0" | "false", _) => None,
        (text, Ty::Str) => Some(knarr_gotemplate::quote(text)),
        (text, _) => Some(text.to_owned()),
    }
}

fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
