//! `man`: manual pages, made from the tables that parse the command line.
//!
//! Standard: man(7) (<https://man7.org/linux/man-pages/man7/man.7.html>).
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd;
use crate::command::{Category, Command, GLOBAL_TABLE, find};
use crate::failure::{Failure, Outcome, os_text};
use crate::flag::{Flag, Ty};
use crate::{help, program};
use std::fmt::Write;
use std::path::Path;

pub static FLAGS: &[Flag] =
    &[Flag::new("directory", Ty::Str, "Write the pages of all commands into this directory").short('d')];

pub async fn man(cli: Shared, m: Matches) -> Outcome {
    let directory = m.text("directory");
    if !directory.is_empty() {
        return write_all(&cli, Path::new(directory));
    }
    let mut path = vec![program::name()];
    let (mut commands, mut found) = (cmd::ROOT, None);
    for word in &m.args {
        let Some(command) = find(commands, word).filter(|c| c.refused.is_empty()) else {
            return Err(Failure::new(format!("no manual page for {}", m.args.join(" "))));
        };
        path.push(command.name);
        (commands, found) = (command.children, Some(command));
    }
    cli.print(&page(&path, found))
}

fn write_all(cli: &Shared, directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::new(format!("mkdir {}: {}", directory.display(), os_text(&e))))?;
    let mut count = 0;
    let mut write = |path: &[&'static str], command: Option<&Command>| -> Outcome {
        let file = directory.join(format!("{}.1", path.join("-")));
        count += 1;
        std::fs::write(&file, page(path, command))
            .map_err(|e| Failure::new(format!("open {}: {}", file.display(), os_text(&e))))
    };
    let name = program::name();
    write(&[name], None)?;
    for command in visible(cmd::ROOT) {
        write(&[name, command.name], Some(command))?;
        for child in visible(command.children) {
            write(&[name, command.name, child.name], Some(child))?;
        }
    }
    cli.println(&format!("{count} pages in {}", directory.display()))
}

fn visible(commands: &'static [&'static Command]) -> impl Iterator<Item = &'static Command> {
    commands.iter().copied().filter(|c| c.category != Category::Hidden)
}

/// Text that roff takes as it is.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Paragraphs, of which those that are set out keep their lines.
fn paragraphs(out: &mut String, text: &str) {
    for paragraph in text.trim().split("\n\n") {
        let set_out = paragraph.contains("  ") || paragraph.starts_with('$');
        if set_out {
            let _ = write!(out, ".PP\n.nf\n{}\n.fi\n", plain(paragraph));
        } else {
            let _ = write!(out, ".PP\n{}\n", plain(paragraph));
        }
    }
}

fn page(path: &[&'static str], command: Option<&Command>) -> String {
    let (dashed, line) = (path.join("-"), path.join(" "));
    let about = command.map_or("containers, from a laptop to a server, in one program", |c| c.about);
    let mut out = format!(
        ".TH {} 1 \"\" \"{} {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
        plain(&dashed.to_uppercase()),
        program::renamed("Knarr"),
        env!("CARGO_PKG_VERSION"),
        plain(&dashed),
        plain(&program::renamed(about)),
    );
    let usage = command.map_or("[OPTIONS] COMMAND [ARG...]", |c| c.usage);
    for (i, text) in help::use_line(&line, usage).lines().enumerate() {
        let _ = writeln!(out, "{}\\fB{}\\fR", if i > 0 { ".br\n" } else { "" }, plain(text.trim()));
    }
    out.push_str(".SH DESCRIPTION\n");
    let long = command.map_or("", |c| if c.long.is_empty() { c.about } else { c.long });
    if long.is_empty() {
        out.push_str("Runs and manages containers, images, networks and volumes. A command without an engine to talk to starts one.\n");
    } else {
        paragraphs(&mut out, &program::renamed(long));
    }
    if let Some(command) = command {
        let names = command.all_paths(&line);
        if names.len() > 1 {
            let _ = write!(out, ".SH ALIASES\n{}\n", plain(&names.join(", ")));
        }
    }
    options(&mut out, command.map_or(GLOBAL_TABLE, |c| c.flags));
    let children: Vec<&Command> = visible(command.map_or(cmd::ROOT, |c| c.children)).collect();
    if !children.is_empty() {
        out.push_str(".SH COMMANDS\n");
        for child in &children {
            let name = format!("{dashed}-{}", child.name);
            let _ =
                write!(out, ".TP\n\\fB{}\\fR(1)\n{}\n", plain(&name), plain(&program::renamed(child.about)));
        }
    }
    if let Some(command) = command.filter(|c| !c.examples.is_empty()) {
        let _ = write!(out, ".SH EXAMPLES\n.nf\n{}\n.fi\n", plain(command.examples));
    }
    if let Some((_, parents)) = path.split_last().filter(|(_, parents)| !parents.is_empty()) {
        let _ = write!(out, ".SH SEE ALSO\n\\fB{}\\fR(1)\n", plain(&parents.join("-")));
    }
    out
}

fn options(out: &mut String, tables: &'static [&'static [Flag]]) {
    let rows = help::rows(tables);
    if rows.is_empty() {
        return;
    }
    out.push_str(".SH OPTIONS\n");
    for (flag, _) in rows {
        let short = flag.short.map(|short| format!("\\fB\\-{short}\\fR, ")).unwrap_or_default();
        let value = match flag.ty.name() {
            "" => String::new(),
            name => format!(" \\fI{}\\fR", plain(name)),
        };
        let text = plain(&help::described(flag)).replace('\n', "\n.br\n");
        let _ = write!(out, ".TP\n{short}\\fB\\-\\-{}\\fR{value}\n{text}\n", plain(flag.long));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        for command in visible(cmd::ROOT) {
            let page = page(&["knarr", command.name], Some(command));
            assert!(page.starts_with(".TH ") && page.contains(".SH SYNOPSIS"), "{}", command.name);
            // a line of text that begins with a dot would be a request
            let requests = [".TH", ".SH", ".TP", ".PP", ".nf", ".fi", ".br"];
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                assert!(requests.iter().any(|request| line.starts_with(request)), "{}: {line}", command.name);
            }
        }
    }
}
