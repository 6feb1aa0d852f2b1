//! Progress of pull, push, load and import: lines redrawn in place on a terminal, plain lines elsewhere.
use crate::failure::{Failure, Outcome};
use crate::format::units;
use knarr_docker_client::JsonLines;
use knarr_docker_types::jsonmessage::{Message, Progress};
use std::collections::HashMap;
use std::io::Write;

/// Terminal narrower than this gets no bar.
const MIN_BAR_WIDTH: usize = 110;
const BAR: usize = 50;

/// Where progress is printed.
pub struct Display<'a> {
    out: &'a mut dyn Write,
    /// Columns of the terminal, if it is one.
    width: Option<usize>,
    /// Lines from the newest one, by id.
    lines: HashMap<String, usize>,
}

impl<'a> Display<'a> {
    pub fn new(out: &'a mut dyn Write, width: Option<usize>) -> Self {
        Self { out, width, lines: HashMap::new() }
    }

    /// Prints messages until the stream ends; an error in the stream is the command's. `aux` sees what the engine
    /// reports beside progress.
    pub async fn follow(
        &mut self,
        mut stream: JsonLines,
        mut aux: impl FnMut(&serde_json::Value),
    ) -> Outcome {
        while let Some(message) = stream.next::<Message>().await? {
            if let Some(value) = &message.aux {
                aux(value);
                continue;
            }
            if let Some(error) = &message.error_detail {
                return Err(Failure::new(error.message.clone()));
            }
            if !message.error.is_empty() {
                return Err(Failure::new(message.error));
            }
            self.show(&message)?;
        }
        Ok(())
    }

    fn show(&mut self, message: &Message) -> Outcome {
        let redrawn =
            !message.id.is_empty() && (message.progress_detail.is_some() || !message.progress.is_empty());
        let Some(width) = self.width else {
            let bar = message.progress_detail.as_ref().map(|p| bar(p, 0)).unwrap_or_default();
            // in a pipe only what is not progress
            return if bar.is_empty() { self.plain(message) } else { Ok(()) };
        };
        if !redrawn {
            // other output ends the block of lines that are redrawn
            self.lines.clear();
            return self.plain(message);
        }
        let line = match self.lines.get(&message.id) {
            Some(line) => *line,
            None => {
                let line = self.lines.len();
                self.lines.insert(message.id.clone(), line);
                writeln!(self.out)?;
                line
            }
        };
        let back = self.lines.len() - line;
        let bar = message.progress_detail.as_ref().map(|p| bar(p, width)).unwrap_or_default();
        // up, erase the line, print, down again
        write!(self.out, "\x1b[{back}A\x1b[2K\r{}: {} {bar}\r\x1b[{back}B", message.id, message.status)?;
        Ok(self.out.flush()?)
    }

    fn plain(&mut self, message: &Message) -> Outcome {
        if !message.id.is_empty() {
            write!(self.out, "{}: ", message.id)?;
        }
        if message.stream.is_empty() {
            writeln!(self.out, "{}", message.status)?;
        } else {
            write!(self.out, "{}", message.stream)?;
        }
        Ok(self.out.flush()?)
    }
}

/// `[=====>     ]  1.2MB/3.4MB`.
fn bar(progress: &Progress, width: usize) -> String {
    let amount = |n: i64| match progress.units.as_str() {
        "" => units::size(n),
        unit => format!("{n} {unit}"),
    };
    if progress.current <= 0 && progress.total <= 0 {
        return String::new();
    }
    if progress.total <= 0 {
        return format!("{:>8}", amount(progress.current));
    }
    let mut text = String::new();
    if width > MIN_BAR_WIDTH {
        let filled = usize::try_from(progress.current.saturating_mul(BAR as i64) / progress.total)
            .unwrap_or(0)
            .min(BAR);
        let arrow = if filled < BAR { ">" } else { "" };
        let done = "=".repeat(filled);
        text = format!("[{:<BAR$}] ", format!("{done}{arrow}"));
    }
    if !progress.hide_counts {
        let current = progress.current.min(progress.total);
        text.push_str(&format!("{:>8}/{}", amount(current), amount(progress.total)));
    }
    text
}

/// Width for a display on standard error or output.
pub fn terminal_width(stderr: bool) -> Option<usize> {
    use std::io::IsTerminal;
    let size = if stderr {
        let err = std::io::stderr();
        err.is_terminal().then(|| rustix::termios::tcgetwinsize(&err).ok()).flatten()
    } else {
        let out = std::io::stdout();
        out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()
    };
    size.map(|s| usize::from(s.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_counts() {
        let half = Progress { current: 1_000_000, total: 2_000_000, ..Progress::default() };
        assert_eq!(bar(&half, 80), "     1MB/2MB");
        assert_eq!(bar(&half, 200), format!("[{}>{}]      1MB/2MB", "=".repeat(25), " ".repeat(24)));
    }

    #[test]
    fn a_pipe_gets_no_progress() {
        let mut out = Vec::new();
        let mut display = Display::new(&mut out, None);
        display.show(&Message::status("Downloading").with_id("a").with_progress(1, 2)).unwrap();
        display.show(&Message::status("Pull complete").with_id("a")).unwrap();
        display.show(&Message::status("Digest: x")).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a: Pull complete\nDigest: x\n");
    }
}
