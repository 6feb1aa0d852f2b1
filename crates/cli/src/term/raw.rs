//! Raw mode of the terminal, always given back: on drop, so also when a panic unwinds.
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::cell::Cell;
use std::io::{self, stdin};

/// While it lives the terminal passes every byte on.
pub struct RawMode {
    saved: Termios,
    restored: Cell<bool>,
}

impl RawMode {
    pub fn enter() -> io::Result<Self> {
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { saved, restored: Cell::new(false) })
    }

    /// Gives the terminal back early; once.
    pub fn restore(&self) {
        if !self.restored.replace(true) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.saved);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.restore();
    }
}
