//! Progress of pull, push, load and import: a block that is redrawn in place on a terminal, plain lines elsewhere.
use crate::failure::{Failure, Outcome};
use crate::format::board::{Board, Room};
use knarr_docker_client::JsonLines;
use knarr_docker_types::jsonmessage::Message;
use std::io::Write;
use std::time::{Duration, Instant};

/// Between two drawings: more often nobody can read.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// The terminal that a display draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    Stdout,
    Stderr,
}

impl Screen {
    pub fn stdout() -> Option<Self> {
        use std::io::IsTerminal;
        std::io::stdout().is_terminal().then_some(Self::Stdout)
    }
    pub fn stderr() -> Option<Self> {
        use std::io::IsTerminal;
        std::io::stderr().is_terminal().then_some(Self::Stderr)
    }

    /// As large as it is now: people change the size of their terminals.
    fn room(self) -> Room {
        let size = match self {
            Self::Stdout => rustix::termios::tcgetwinsize(std::io::stdout()),
            Self::Stderr => rustix::termios::tcgetwinsize(std::io::stderr()),
        };
        let (columns, rows) = size.map_or((0, 0), |s| (usize::from(s.ws_col), usize::from(s.ws_row)));
        // A serial line knows no size.
        Room { columns: if columns == 0 { 80 } else { columns }, rows: if rows == 0 { 24 } else { rows } }
    }
}

/// Where progress is printed.
pub struct Display<'a> {
    out: &'a mut dyn Write,
    screen: Option<Screen>,
    board: Board,
    /// Lines of the block that are on the screen, above the cursor.
    drawn: usize,
    began: Instant,
    drawn_at: Option<Duration>,
    /// Something was said since the block was drawn.
    pending: bool,
}

impl<'a> Display<'a> {
    pub fn new(out: &'a mut dyn Write, screen: Option<Screen>) -> Self {
        let (board, began) = (Board::default(), Instant::now());
        Self { out, screen, board, drawn: 0, began, drawn_at: None, pending: false }
    }

    /// Prints messages until the stream ends; an error in the stream is the command's. `aux` sees what the engine
    /// reports beside progress.
    pub async fn follow(
        &mut self,
        mut stream: JsonLines,
        mut aux: impl FnMut(&serde_json::Value),
    ) -> Outcome {
        let mut tick = tokio::time::interval(REDRAW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = stream.next::<Message>() => message,
                // Rates change when nothing comes, too.
                _ = tick.tick(), if !self.board.is_empty() => {
                    self.draw()?;
                    continue;
                }
            };
            let Some(message) = message? else { break };
            if let Some(value) = &message.aux {
                aux(value);
                continue;
            }
            let failed = match &message.error_detail {
                Some(error) => Some(error.message.clone()),
                None => Some(message.error.clone()).filter(|error| !error.is_empty()),
            };
            if let Some(error) = failed {
                self.end_block()?;
                return Err(Failure::new(error));
            }
            self.show(&message)?;
        }
        self.end_block()
    }

    fn show(&mut self, message: &Message) -> Outcome {
        if self.screen.is_none() {
            let moved = message.progress_detail.as_ref().is_some_and(|p| p.current > 0 || p.total > 0);
            // in a pipe only what is not progress
            return if moved { Ok(()) } else { self.plain(message) };
        }
        if message.id.is_empty() || message.progress_detail.is_none() && message.progress.is_empty() {
            // other output ends the block of lines that are redrawn
            self.end_block()?;
            return self.plain(message);
        }
        let now = self.began.elapsed();
        self.board.apply(message, now);
        self.pending = true;
        match self.drawn_at {
            Some(at) if now.saturating_sub(at) < REDRAW_EVERY => Ok(()),
            _ => self.draw(),
        }
    }

    /// Prints the block over the one before, in one piece, so that it does not flicker.
    fn draw(&mut self) -> Outcome {
        let Some(screen) = self.screen else { return Ok(()) };
        let now = self.began.elapsed();
        let frame = frame(&self.board.draw(now, screen.room()), &mut self.drawn);
        (self.drawn_at, self.pending) = (Some(now), false);
        self.out.write_all(frame.as_bytes())?;
        Ok(self.out.flush()?)
    }

    fn end_block(&mut self) -> Outcome {
        if self.pending {
            self.draw()?;
        }
        (self.board, self.drawn, self.drawn_at) = (Board::default(), 0, None);
        Ok(())
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

/// What puts these lines in the place of those that were drawn last; the cursor stays below them.
fn frame(lines: &[String], drawn: &mut usize) -> String {
    let mut text = String::new();
    if *drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        // At the beginning of the line; erase it.
        text.push_str(&format!("\r\x1b[2K{line}\n"));
    }
    // What is left of a block that had more lines.
    text.push_str("\x1b[J");
    *drawn = lines.len();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_no_progress() {
        let mut out = Vec::new();
        let mut display = Display::new(&mut out, None);
        display.show(&Message::status("Downloading").with_id("a").with_progress(1, 2)).unwrap();
        display.show(&Message::status("Pull complete").with_id("a")).unwrap();
        display.show(&Message::status("Digest: x")).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a: Pull complete\nDigest: x\n");
    }

    #[test]
    fn a_block_is_drawn_over_the_one_before() {
        let mut drawn = 0;
        let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(frame(&lines(&["a", "b"]), &mut drawn), "\r\x1b[2Ka\n\r\x1b[2Kb\n\x1b[J");
        assert_eq!(frame(&lines(&["c"]), &mut drawn), "\x1b[2A\r\x1b[2Kc\n\x1b[J");
        assert_eq!(drawn, 1);
    }

    #[test]
    fn on_a_terminal_the_last_state_stays_and_plain_lines_come_below() {
        let mut out = Vec::new();
        let mut display = Display::new(&mut out, Some(Screen::Stdout));
        display.show(&Message::status("Pulling from library/x").with_id("latest")).unwrap();
        let moved = |current| Message::status("Downloading").with_id("aaa").with_progress(current, 2);
        for current in 0..2 {
            display.show(&moved(current)).unwrap();
        }
        let done = Message {
            progress_detail: Some(Default::default()),
            ..Message::status("Pull complete").with_id("aaa")
        };
        display.show(&done).unwrap();
        display.show(&Message::status("Digest: x")).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("latest: Pulling from library/x\n"), "{text:?}");
        let (_, last) = text.rsplit_once("\x1b[2A").unwrap();
        assert!(last.starts_with("\r\x1b[2Kaaa: Pull complete\n"), "{text:?}");
        assert!(last.ends_with("\x1b[JDigest: x\n"), "{text:?}");
    }
}
