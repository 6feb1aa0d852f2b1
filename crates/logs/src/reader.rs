//! Entries of a log, oldest first.
use crate::cursor::{self, Cursor};
use crate::error::{Error, Result};
use crate::files::{self, LogFile};
use crate::follow::{Control, Watch};
use crate::query::Query;
use jiff::Timestamp;
use knarr_shim_proto::stdcopy::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries given out by one [`LogReader::read_batch`] at most.
const BATCH: usize = 512;

/// One message of the log; `log` has its newline if the line ends there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub time: Timestamp,
    pub stream: Stream,
    pub log: Vec<u8>,
    pub attrs: Arc<BTreeMap<String, String>>,
}

/// Reads one log. As an iterator it blocks while it follows.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    query: Query,
    control: Control,
    /// What is being read, and what comes after it.
    current: Option<(LogFile, Cursor)>,
    next: VecDeque<(LogFile, Cursor)>,
    watch: Option<Watch>,
    ready: VecDeque<Entry>,
    over: bool,
}

impl LogReader {
    /// Finds the beginning. A log that does not exist is empty (and may come into being while it is followed).
    pub fn open(path: &Path, query: Query, control: Control) -> Result<Self> {
        // Watching begins before looking, so that nothing happens unseen between the two.
        let watch = query.follow.then(|| Watch::new(path));
        let files = files::open_all(path)?;
        let mut next = begin(files, &query).map_err(Error::file("read", path))?;
        let current = next.pop_front();
        Ok(Self {
            path: path.to_owned(),
            query,
            control,
            current,
            next,
            watch,
            ready: VecDeque::new(),
            over: false,
        })
    }

    /// Adds the next entries to `batch`. Waits, if it follows, until there is at least one; false when there are no more.
    pub fn read_batch(&mut self, batch: &mut Vec<Entry>) -> Result<bool> {
        while self.ready.is_empty() && !self.over {
            if self.control.is_stopped() {
                self.over = true;
                self.ready.clear();
                return Ok(false);
            }
            // Before the files are read: what is written before the writer ended is seen then.
            let finished = self.control.is_finished();
            self.take_entries()?;
            if self.ready.is_empty() && !self.over && !self.advance()? {
                match &self.watch {
                    Some(watch) if !finished => watch.wait(&self.control)?,
                    _ => self.take_rest(),
                }
            }
        }
        let more = !self.ready.is_empty();
        batch.extend(self.ready.drain(..));
        Ok(more)
    }

    /// Takes entries that are in memory.
    fn take_entries(&mut self) -> Result<()> {
        while self.ready.len() < BATCH
            && !self.over
            && let Some((file, cursor)) = &mut self.current
            && let Some(entry) = cursor.next_entry(&file.file).map_err(Error::file("read", &self.path))?
        {
            self.consider(entry);
        }
        Ok(())
    }

    /// Nothing more comes: an unfinished line counts if it can be read.
    fn take_rest(&mut self) {
        if let Some((_, cursor)) = &mut self.current {
            let entry = cursor.rest();
            self.consider(entry);
        }
        self.over = true;
    }

    fn consider(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        if self.query.until.is_some_and(|until| entry.time > until) {
            self.over = true;
        } else if self.query.since.is_none_or(|since| entry.time >= since) && self.query.wants(entry.stream) {
            self.ready.push_back(entry);
        }
    }

    /// Gets more bytes into memory, from this file or from the one after it; false when there are none now.
    fn advance(&mut self) -> Result<bool> {
        let path = &self.path;
        let fail = || Error::file("read", path);
        let Some((file, cursor)) = &mut self.current else {
            // There was no log yet.
            self.current = LogFile::open(path)?.map(|file| (file, Cursor::Unknown));
            return Ok(self.current.is_some());
        };
        if cursor.fill(&file.file).map_err(fail())? {
            return Ok(true);
        }
        // Emptied in its place, or a torn message was cut off.
        if cursor.shortened(file.size().map_err(fail())?) {
            return Ok(true);
        }
        if let Some(next) = self.next.pop_front() {
            self.current = Some(next);
            return Ok(true);
        }
        if !self.query.follow || files::identity(path) == Some(file.identity) {
            return Ok(false);
        }
        // Rotated. What was written to the old file before it was renamed comes first.
        if cursor.fill(&file.file).map_err(fail())? {
            return Ok(true);
        }
        match files::next_after(path, file.identity)? {
            Some(next) => {
                self.current = Some((next, Cursor::Unknown));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let mut batch = Vec::new();
            if let Err(error) = self.read_batch(&mut batch) {
                self.over = true;
                return Some(Err(error));
            }
            self.ready.extend(batch);
        }
        self.ready.pop_front().map(Ok)
    }
}

/// Where to begin; older files than there are cursors are not read.
fn begin(mut files: Vec<LogFile>, query: &Query) -> io::Result<VecDeque<(LogFile, Cursor)>> {
    let mut next = VecDeque::new();
    let mut left = cursor::wanted(query);
    while let Some(mut file) = files.pop() {
        file.expand()?;
        let start = cursor::start(&file.file, file.size()?, query, left)?;
        left = start.lines_left;
        let cursor = Cursor::open(&file.file, start.place)?;
        next.push_front((file, cursor));
        if start.enough {
            break;
        }
    }
    Ok(next)
}
