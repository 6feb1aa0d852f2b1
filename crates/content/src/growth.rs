//! A blob that is read while it is still being written.
//!
//! Invariants: a follower sees bytes only from the beginning on and in order, as they lie in the file; it sees the end of
//! the file only after size and digest of the whole were right. So what it made of the bytes before counts for nothing
//! until then. A blob that is given up, or begun again, breaks its followers.
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Verified,
    Broken,
}

#[derive(Debug, Default)]
struct State {
    len: u64,
    end: Option<End>,
}

/// How far a blob has come.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

impl Growth {
    pub(crate) fn new(len: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { len, end: None }), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This many bytes are in the file.
    pub(crate) fn reach(&self, len: u64) {
        self.lock().len = len;
        self.changed.notify_all();
    }

    pub(crate) fn verified(&self) {
        self.end(End::Verified);
    }
    pub(crate) fn broken(&self) {
        self.end(End::Broken);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits for bytes after `at`: how far the file may be read, none at its verified end.
    fn after(&self, at: u64) -> io::Result<Option<u64>> {
        let mut state = self.lock();
        loop {
            match state.end {
                Some(End::Broken) => return Err(io::Error::other(Broken)),
                _ if state.len > at => return Ok(Some(state.len)),
                Some(End::Verified) => return Ok(None),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// What a follower is told when there will be no verified end.
#[derive(Debug, thiserror::Error)]
#[error("the transfer of the blob was given up or begun again")]
struct Broken;

/// Reads a blob while it grows. Waits where the blob ends so far.
#[derive(Debug)]
pub struct Follower {
    file: File,
    growth: Arc<Growth>,
    at: u64,
}

impl Follower {
    pub(crate) fn new(file: File, growth: Arc<Growth>) -> Self {
        Self { file, growth, at: 0 }
    }

    /// A watch on the same blob, to ask later whether it broke.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.growth))
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(reached) = self.growth.after(self.at)? else { return Ok(0) };
        let there = usize::try_from(reached - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..there], self.at)?;
        if read == 0 && there > 0 {
            // Cut short behind our back: begun again.
            return Err(io::Error::other(Broken));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// Tells whether the followers of a blob were broken.
#[derive(Debug)]
pub struct Watch(Arc<Growth>);

impl Watch {
    pub fn is_broken(&self) -> bool {
        self.0.lock().end == Some(End::Broken)
    }
}
