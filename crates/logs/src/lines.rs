//! Lines of one file, forward from an offset.
//!
//! Invariant: a line is given out only when its newline was read; the unfinished rest stays until there is more.
use crate::window::Window;
use std::fs::File;
use std::io;

/// Bytes read at a time.
pub const BLOCK: usize = 64 * 1024;
/// Longest line; what is longer is damaged and skipped.
const LINE_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Lines {
    window: Window,
    /// How much of the rest has no newline.
    searched: usize,
    /// In the middle of a line that is too long.
    skipping: bool,
}

impl Lines {
    pub fn at(offset: u64) -> Self {
        Self { window: Window::at(offset), searched: 0, skipping: false }
    }

    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// What was given out so far.
    pub fn consumed(&self) -> u64 {
        self.window.consumed()
    }

    /// Goes on behind what was given out, with what the file has now.
    pub fn reread(&mut self) {
        *self = Self::at(self.consumed());
    }

    /// The next whole line that is in memory, without its newline.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let rest = self.window.rest();
            let Some(at) = memchr::memchr(b'\n', &rest[self.searched..]) else {
                self.searched = rest.len();
                return None;
            };
            let length = std::mem::take(&mut self.searched) + at;
            if std::mem::take(&mut self.skipping) {
                self.window.take(length + 1);
                continue;
            }
            return Some(&self.window.take(length + 1)[..length]);
        }
    }

    /// Reads more; false at end-of-file.
    pub fn fill(&mut self, file: &File) -> io::Result<bool> {
        if self.window.rest().len() > LINE_MAX {
            self.drop_rest();
            self.skipping = true;
        }
        self.window.fill(file, BLOCK)
    }

    fn drop_rest(&mut self) -> &[u8] {
        self.searched = 0;
        self.window.take(self.window.rest().len())
    }

    /// What is left without a newline, when nothing more comes.
    pub fn rest(&mut self) -> &[u8] {
        let skipping = self.skipping;
        let rest = self.drop_rest();
        if skipping { &[] } else { rest }
    }
}
