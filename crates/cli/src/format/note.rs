//! Notes that Docker's client puts beside its output: a header, and lines set under each other.
use std::io::{IsTerminal, Write};

const PLAIN: &str = " Info -> ";
const FANCY: &str = "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m";
/// Columns of the fancy header.
const FANCY_WIDTH: usize = 9;

/// Prints a note to standard output, or to standard error.
pub fn print(text: &str, to_stderr: bool) -> std::io::Result<()> {
    let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if to_stderr {
        let out = std::io::stderr();
        let fancy = colors && out.is_terminal();
        out.lock().write_all(format(text, fancy).as_bytes())
    } else {
        let out = std::io::stdout();
        let fancy = colors && out.is_terminal();
        out.lock().write_all(format(text, fancy).as_bytes())
    }
}

fn format(text: &str, fancy: bool) -> String {
    let (header, width) = if fancy { (FANCY, FANCY_WIDTH) } else { (PLAIN, PLAIN.len()) };
    let mut out = format!("\n{header}");
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push_str(&" ".repeat(width));
        }
        if fancy {
            out.push_str(&format!("\x1b[3m{line}\x1b[0m\n"));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_under_each_other() {
        assert_eq!(format("one\ntwo", false), "\n Info -> one\n         two\n");
        assert!(format("one", true).contains("Info → "));
    }
}
