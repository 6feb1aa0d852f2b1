//! Entries of a log, oldest first.
use crate::error::{Error, Result};
use crate::files::{self, LogFile};
use crate::follow::{Control, Watch};
use crate::lines::Lines;
use crate::query::{Query, Tail};
use crate::seek;
use jiff::Timestamp;
use knarr_shim_proto::json_log;
use knarr_shim_proto::stdcopy::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// Entries given out by one [`LogReader::read_batch`] at most.
const BATCH: usize = 512;

/// One message of the log; `log` has its newline if the line ends there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub time: Timestamp,
    pub stream: Stream,
    pub log: String,
    pub attrs: BTreeMap<String, String>,
}

/// Reads one log. As an iterator it blocks while it follows.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    query: Query,
    control: Control,
    /// What is being read, and what comes after it.
    current: Option<(LogFile, Lines)>,
    next: VecDeque<(LogFile, Lines)>,
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
        let starts = starts(&files, &query).map_err(Error::file("read", path))?;
        let skipped = files.len() - starts.len();
        let files = files.into_iter().skip(skipped);
        let mut next: VecDeque<_> = files.zip(starts.into_iter().map(Lines::at)).collect();
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
            self.take_lines();
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

    /// Takes lines that are in memory.
    fn take_lines(&mut self) {
        while self.ready.len() < BATCH
            && !self.over
            && let Some((_, lines)) = &mut self.current
            && let Some(line) = lines.next_line()
        {
            let entry = read_entry(line);
            self.consider(entry);
        }
    }

    /// Nothing more comes: an unfinished line counts if it can be read.
    fn take_rest(&mut self) {
        if let Some((_, lines)) = &mut self.current {
            let entry = read_entry(lines.rest());
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
        let Some((file, lines)) = &mut self.current else {
            // There was no log yet.
            self.current = LogFile::open(path)?.map(|file| (file, Lines::at(0)));
            return Ok(self.current.is_some());
        };
        if lines.fill(&file.file).map_err(fail())? {
            return Ok(true);
        }
        if file.size().map_err(fail())? < lines.offset() {
            // Emptied in its place: a log of one file that has reached its size.
            *lines = Lines::at(0);
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
        if lines.fill(&file.file).map_err(fail())? {
            return Ok(true);
        }
        match files::next_after(path, file.identity)? {
            Some(next) => {
                self.current = Some((next, Lines::at(0)));
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

fn read_entry(line: &[u8]) -> Option<Entry> {
    let json_log::Entry { log, stream, time, attrs } = json_log::decode(line).ok()?;
    Some(Entry { time, stream, log: log.into_owned(), attrs })
}

/// Where to begin in the newest files; older ones than there are offsets are not read.
fn starts(files: &[LogFile], query: &Query) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    let mut lines_left = match query.tail {
        Tail::All => None,
        Tail::Lines(lines) => Some(lines),
    };
    for (at, file) in files.iter().enumerate().rev() {
        let size = file.size()?;
        let by_tail = match lines_left {
            None => 0,
            Some(wanted) => match seek::last_lines(&file.file, size, wanted)? {
                Ok(offset) => {
                    lines_left = Some(0);
                    offset
                }
                Err(found) => {
                    lines_left = Some(wanted - found);
                    0
                }
            },
        };
        let by_time = match query.since {
            Some(since) => seek::since(&file.file, size, since)?,
            None => 0,
        };
        starts.push(by_tail.max(by_time));
        // A file that has something too early is the oldest one that matters; one block earlier may be all of it.
        let enough = lines_left == Some(0) || by_time > 0;
        if enough || at == 0 {
            break;
        }
    }
    starts.reverse();
    Ok(starts)
}
