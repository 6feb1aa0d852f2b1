//! The terminal and the streams of a container that run through it.
pub mod escape;
pub mod input;
pub mod output;
pub mod raw;
pub mod resize;
pub mod signals;
pub mod stream;

use std::io::IsTerminal;

/// Rows and columns of the terminal that standard output is.
pub fn size_of_stdout() -> Option<(u16, u16)> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Columns of the terminal that standard input is.
pub fn columns_of_stdin() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
