//! Messages of one file in the format [`local_log`], forward from a block.
//!
//! Invariant: a message is given out only when its whole block was read; what is damaged is skipped up to the next block.
use crate::reader::Entry;
use crate::window::Window;
use knarr_shim_proto::local_log::{BLOCK_HEADER, FILE_HEADER, Header, Kind, MAX_ATTRS};
use knarr_shim_proto::stdcopy::Stream;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes read at a time; a block of messages and the beginning of the next fit.
pub const READ: usize = 128 * 1024;

/// Where reading begins: at a block, after some of its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub skip: u64,
}

#[derive(Debug)]
pub struct Blocks {
    mark: u64,
    window: Window,
    current: Option<Current>,
    /// Messages that are not wanted.
    skip: u64,
    attrs: (u64, Arc<BTreeMap<String, String>>),
}

/// The block whose messages are given out.
#[derive(Debug)]
struct Current {
    header: Header,
    stream: Stream,
    /// Bytes of it that are not given out.
    left: usize,
}

impl Blocks {
    pub fn at(place: Place, mark: u64) -> Self {
        Self {
            mark,
            window: Window::at(place.offset.max(FILE_HEADER as u64)),
            current: None,
            skip: place.skip,
            attrs: (0, Arc::default()),
        }
    }

    /// Where the next read starts.
    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// Goes on behind what was given out, with what the file has now.
    pub fn reread(&mut self) {
        self.window.cut(self.current.as_ref().map_or(0, |current| current.left));
    }

    /// What was given out so far.
    pub fn consumed(&self) -> u64 {
        self.window.consumed()
    }

    /// The next message that is in memory.
    pub fn next_entry(&mut self, file: &File) -> io::Result<Option<Entry>> {
        loop {
            if self.current.is_none() && !self.next_block(file)? {
                return Ok(None);
            }
            let Some(current) = &mut self.current else { continue };
            if current.left == 0 {
                self.current = None;
                continue;
            }
            let rest = &self.window.rest()[..current.left];
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (time, stream) = (current.header.timestamp(), current.stream);
            current.left -= length;
            let log = self.window.take(length);
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            return Ok(Some(Entry { time, stream, log: log.to_vec(), attrs: Arc::clone(&self.attrs.1) }));
        }
    }

    /// Goes to the next block of messages; false: it is not in memory as a whole.
    fn next_block(&mut self, file: &File) -> io::Result<bool> {
        loop {
            let bytes = self.window.rest();
            let Some(header) = Header::parse(bytes, self.mark) else {
                if bytes.len() < BLOCK_HEADER {
                    return Ok(false);
                }
                // Damaged.
                let next = memchr::memmem::find(&bytes[1..], &self.mark.to_le_bytes());
                self.window.take(next.map_or(bytes.len() - 7, |at| 1 + at));
                continue;
            };
            if bytes.len() < header.size() {
                return Ok(false);
            }
            self.window.take(BLOCK_HEADER);
            let length = header.length as usize;
            match header.kind {
                Kind::Attributes => drop(self.window.take(length)),
                Kind::Messages(_) if self.skip > 0 && self.skip >= u64::from(header.messages) => {
                    self.skip -= u64::from(header.messages);
                    self.window.take(length);
                }
                Kind::Messages(stream) => {
                    if header.attrs_at != self.attrs.0 {
                        self.attrs = (header.attrs_at, attributes(file, header.attrs_at, self.mark)?);
                    }
                    self.current = Some(Current { header, stream, left: length });
                    return Ok(true);
                }
            }
        }
    }

    /// Reads more; false at end-of-file.
    pub fn fill(&mut self, file: &File) -> io::Result<bool> {
        self.window.fill(file, READ)
    }
}

/// The attributes that lie at an offset; none if there is nothing of the kind.
fn attributes(file: &File, offset: u64, mark: u64) -> io::Result<Arc<BTreeMap<String, String>>> {
    if offset == 0 {
        return Ok(Arc::default());
    }
    let mut bytes = vec![0; BLOCK_HEADER + MAX_ATTRS];
    let count = file.read_at(&mut bytes, offset)?;
    bytes.truncate(count);
    let header = Header::parse(&bytes, mark).filter(|header| header.kind == Kind::Attributes);
    let json = header.and_then(|header| bytes.get(BLOCK_HEADER..header.size()));
    Ok(Arc::new(json.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default()))
}

/// Where the last `wanted` messages begin, or how many the file has, if those are fewer.
pub fn last(file: &File, size: u64, mark: u64, wanted: u64) -> io::Result<Result<Place, u64>> {
    let all = count(file, size, mark)?;
    if all < wanted {
        return Ok(Err(all));
    }
    if wanted == 0 {
        return Ok(Ok(Place { offset: end(file, size, mark)?, skip: 0 }));
    }
    let first = all - wanted;
    let (offset, header) = last_block(file, size, mark, |header| header.before <= first)?;
    let before = header.map_or(0, |header| header.before);
    Ok(Ok(Place { offset, skip: first - before }))
}

/// A block before which nothing is as late as `since`, in nanoseconds.
pub fn since(file: &File, size: u64, mark: u64, since: i64) -> io::Result<u64> {
    let (offset, _) = last_block(file, size, mark, |header| header.time < since)?;
    // Pieces of a long line have the time of its first, so a little before there may be something later.
    let earlier = offset.saturating_sub(READ as u64);
    if earlier <= FILE_HEADER as u64 {
        return Ok(FILE_HEADER as u64);
    }
    Ok(block_at(file, earlier, size, mark)?.map_or(FILE_HEADER as u64, |(at, _)| at))
}

/// How many messages the file has.
fn count(file: &File, size: u64, mark: u64) -> io::Result<u64> {
    let (_, header) = last_block(file, size, mark, |_| true)?;
    Ok(header.map_or(0, |header| header.before + u64::from(header.messages)))
}

/// Where the block after the last whole one will be.
fn end(file: &File, size: u64, mark: u64) -> io::Result<u64> {
    let (offset, header) = last_block(file, size, mark, |_| true)?;
    Ok(offset + header.map_or(0, |header| header.size() as u64))
}

/// The last whole block of which `early` is true, by bisection: of blocks before one of which it is true, it is true.
fn last_block(
    file: &File,
    size: u64,
    mark: u64,
    early: impl Fn(&Header) -> bool,
) -> io::Result<(u64, Option<Header>)> {
    let (mut low, mut high) = (FILE_HEADER as u64, size);
    // `low` begins a block that is early, or the file; no block from `high` on is.
    while high - low.min(high) > READ as u64 {
        let middle = low + (high - low) / 2;
        match block_at(file, middle, high, mark)? {
            Some((at, header)) if early(&header) => low = at,
            _ => high = middle,
        }
    }
    let mut found = (low, None);
    let mut next = low;
    while let Some((at, header)) = block_at(file, next, size, mark)? {
        if !early(&header) || at + header.size() as u64 > size {
            break;
        }
        next = at + header.size() as u64;
        found = (at, Some(header));
    }
    Ok(found)
}

/// The first block that begins at `offset` or later, and before `limit`.
fn block_at(file: &File, offset: u64, limit: u64, mark: u64) -> io::Result<Option<(u64, Header)>> {
    let mut start = offset;
    // A short look first: mostly it begins right there.
    let mut length = 512;
    while start < limit {
        let mut bytes = vec![0; length];
        let count = file.read_at(&mut bytes, start)?;
        bytes.truncate(count);
        let mut from = 0;
        while let Some(at) = memchr::memmem::find(&bytes[from..], &mark.to_le_bytes()) {
            let at = from + at;
            if start + at as u64 >= limit {
                return Ok(None);
            }
            if bytes.len() - at < BLOCK_HEADER && count == length {
                break;
            }
            if let Some(header) = Header::parse(&bytes[at..], mark) {
                return Ok(Some((start + at as u64, header)));
            }
            from = at + 1;
        }
        if count < length {
            return Ok(None);
        }
        // A header may lie across the end of what was read.
        start += (count - (BLOCK_HEADER - 1)) as u64;
        length = READ;
    }
    Ok(None)
}
