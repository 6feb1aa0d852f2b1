//! Lines of one file, forward from an offset.
//!
//! Invariant: a line is given out only when its newline was read; the unfinished rest stays until there is more.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
pub const BLOCK: usize = 64 * 1024;
/// Longest line; what is longer is damaged and skipped.
const LINE_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Lines {
    /// Where the next read starts.
    offset: u64,
    buffer: Vec<u8>,
    /// What is given out already.
    start: usize,
    /// Where the search for a newline goes on.
    searched: usize,
    /// In the middle of a line that is too long.
    skipping: bool,
}

impl Lines {
    pub fn at(offset: u64) -> Self {
        Self { offset, buffer: Vec::new(), start: 0, searched: 0, skipping: false }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What was given out so far.
    pub fn consumed(&self) -> u64 {
        self.offset - (self.buffer.len() - self.start) as u64
    }

    /// Goes on behind what was given out, with what the file has now.
    pub fn reread(&mut self) {
        *self = Self::at(self.consumed());
    }

    /// The next whole line that is in memory, without its newline.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let at = memchr::memchr(b'\n', &self.buffer[self.searched..]);
            let Some(at) = at.map(|at| at + self.searched) else {
                self.searched = self.buffer.len();
                return None;
            };
            let start = std::mem::replace(&mut self.start, at + 1);
            self.searched = self.start;
            if !std::mem::take(&mut self.skipping) {
                return Some(&self.buffer[start..at]);
            }
        }
    }

    /// Reads more; false at end-of-file.
    pub fn fill(&mut self, file: &File) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() > LINE_MAX {
            self.buffer.clear();
            self.searched = 0;
            self.skipping = true;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + BLOCK, 0);
        let read = loop {
            match file.read_at(&mut self.buffer[length..], self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(length + count);
        self.offset += count as u64;
        read.map(|count| count > 0)
    }

    /// What is left without a newline, when nothing more comes.
    pub fn rest(&mut self) -> &[u8] {
        let start = self.start;
        self.start = self.buffer.len();
        self.searched = self.start;
        if self.skipping { &[] } else { &self.buffer[start..] }
    }
}
