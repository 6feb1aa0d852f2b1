//! The part of a file that is in memory: read forward, given out from its beginning.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[derive(Debug)]
pub struct Window {
    /// Where the next read starts.
    offset: u64,
    buffer: Vec<u8>,
    /// What is given out already.
    start: usize,
}

impl Window {
    pub fn at(offset: u64) -> Self {
        Self { offset, buffer: Vec::new(), start: 0 }
    }

    /// Where the next read starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Up to where the file was given out.
    pub fn consumed(&self) -> u64 {
        self.offset - self.rest().len() as u64
    }

    /// What is not given out yet.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Gives out the first bytes of the rest.
    pub fn take(&mut self, count: usize) -> &[u8] {
        let end = self.start + count;
        let from = std::mem::replace(&mut self.start, end);
        &self.buffer[from..end]
    }

    /// Keeps only this much of the rest: what comes after it is read again.
    pub fn cut(&mut self, keep: usize) {
        self.offset -= (self.rest().len() - keep) as u64;
        self.buffer.truncate(self.start + keep);
    }

    /// Reads more, `size` bytes at most; false at end-of-file.
    pub fn fill(&mut self, file: &File, size: usize) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + size, 0);
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
}
