//! One file of a log, forward, whatever its format.
use crate::blocks::{self, Blocks, Place};
use crate::lines::Lines;
use crate::query::{Query, Tail};
use crate::reader::Entry;
use crate::seek;
use knarr_shim_proto::{json_log, local_log};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

#[derive(Debug)]
pub enum Cursor {
    /// `json-file`.
    Lines(Lines),
    /// `local`.
    Blocks(Blocks),
    /// Nothing is in the file yet that would say.
    Unknown,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    pub place: Place,
    /// Lines of older files that are wanted, too; `None`: all.
    pub lines_left: Option<u64>,
    /// Nothing in older files is wanted.
    pub enough: bool,
}

enum Format {
    Json,
    Local(u64),
}

fn format(file: &File) -> io::Result<Option<Format>> {
    let mut bytes = [0; local_log::FILE_HEADER];
    let count = file.read_at(&mut bytes, 0)?;
    if count == 0 || (count < bytes.len() && local_log::MAGIC.starts_with(&bytes[..count.min(8)])) {
        return Ok(None);
    }
    Ok(Some(local_log::parse_file_header(&bytes[..count]).map_or(Format::Json, Format::Local)))
}

/// Finds where to begin in a file.
pub fn start(file: &File, size: u64, query: &Query, left: Option<u64>) -> io::Result<Start> {
    let format = format(file)?;
    let by_tail = match (left, &format) {
        (None, _) => Ok(Place::default()),
        (Some(wanted), None) => Err((0, wanted)),
        (Some(wanted), Some(Format::Json)) => {
            let found = seek::last_lines(file, size, wanted)?;
            found.map(|offset| Place { offset, skip: 0 }).map_err(|found| (found, wanted))
        }
        (Some(wanted), Some(Format::Local(mark))) => {
            blocks::last(file, size, *mark, wanted)?.map_err(|found| (found, wanted))
        }
    };
    let by_time = match (query.since, &format) {
        (None, _) | (_, None) => 0,
        (Some(since), Some(Format::Json)) => seek::since(file, size, since)?,
        (Some(since), Some(Format::Local(mark))) => {
            let at = blocks::since(file, size, *mark, local_log::nanoseconds(since))?;
            if at <= local_log::FILE_HEADER as u64 { 0 } else { at }
        }
    };
    let (place, lines_left) = match by_tail {
        Ok(place) => (place, left.map(|_| 0)),
        Err((found, wanted)) => (Place::default(), Some(wanted - found)),
    };
    let place = if by_time > place.offset { Place { offset: by_time, skip: 0 } } else { place };
    // A file that has something too early is the oldest one that matters; one block earlier may be all of it.
    Ok(Start { place, lines_left, enough: lines_left == Some(0) || by_time > 0 })
}

/// How many lines are wanted of all files.
pub fn wanted(query: &Query) -> Option<u64> {
    match query.tail {
        Tail::All => None,
        Tail::Lines(lines) => Some(lines),
    }
}

impl Cursor {
    pub fn open(file: &File, place: Place) -> io::Result<Self> {
        Ok(match format(file)? {
            None => Self::Unknown,
            Some(Format::Json) => Self::Lines(Lines::at(place.offset)),
            Some(Format::Local(mark)) => Self::Blocks(Blocks::at(place, mark)),
        })
    }

    /// The next entry that is in memory. `Some(None)`: something that cannot be read.
    pub fn next_entry(&mut self, file: &File) -> io::Result<Option<Option<Entry>>> {
        match self {
            Self::Lines(lines) => Ok(lines.next_line().map(read_line)),
            Self::Blocks(blocks) => Ok(blocks.next_entry(file)?.map(Some)),
            Self::Unknown => Ok(None),
        }
    }

    /// Reads more; false when there is nothing more now.
    pub fn fill(&mut self, file: &File) -> io::Result<bool> {
        match self {
            Self::Lines(lines) => lines.fill(file),
            Self::Blocks(blocks) => blocks.fill(file),
            Self::Unknown => {
                *self = Self::open(file, Place::default())?;
                Ok(!matches!(self, Self::Unknown))
            }
        }
    }

    /// The file has become shorter: what was torn was cut off, or all of it was. True: there is something to read again.
    pub fn shortened(&mut self, size: u64) -> bool {
        let (offset, consumed) = match self {
            Self::Lines(lines) => (lines.offset(), lines.consumed()),
            Self::Blocks(blocks) => (blocks.offset(), blocks.consumed()),
            Self::Unknown => return false,
        };
        if size >= offset {
            return false;
        }
        match self {
            _ if size < consumed => *self = Self::Unknown,
            Self::Lines(lines) => lines.reread(),
            Self::Blocks(blocks) => blocks.reread(),
            Self::Unknown => {}
        }
        size != consumed
    }

    /// What is left unfinished, when nothing more comes.
    pub fn rest(&mut self) -> Option<Entry> {
        match self {
            Self::Lines(lines) => read_line(lines.rest()),
            Self::Blocks(_) | Self::Unknown => None,
        }
    }
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let json_log::Entry { log, stream, time, attrs } = json_log::decode(line).ok()?;
    Some(Entry { time, stream, log: log.into_owned().into_bytes(), attrs: Arc::new(attrs) })
}
