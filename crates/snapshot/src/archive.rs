//! Reading tar streams: ustar, PAX and GNU, one entry after the other, with bounds on all that is held in memory.
//!
//! Standards: pax(1) of POSIX.1-2017, GNU tar's manual ("Basic Tar Format", "Sparse Formats"). Where readers differ, this
//! one refuses, or reads as GNU tar and Go's `archive/tar` do, which wrote and read images so far: a size in a PAX record wins
//! over the header's; hard links have no data whatever their size says. Invariant: the position of the next
//! header follows from this entry alone, and nothing in an extension header changes another extension header.
use crate::entry::{Entry, EntryKind, Extensions};
use crate::error::Error;
use crate::{number, sparse};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

pub(crate) const BLOCK_LEN: usize = 512;
/// Largest extension header (PAX records, GNU long name), as in Go.
pub const MAX_EXTENSION_LEN: u64 = 1 << 20;
/// Most extension headers before one entry.
const MAX_EXTENSIONS: usize = 8;

/// Bounds of one archive.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of the uncompressed stream, and of all files together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 8_000_000, bytes: 1 << 40 }
    }
}

/// A tar stream.
pub struct Archive<R> {
    source: R,
    limits: Limits,
    entries: u64,
    offset: u64,
    /// Data of the current entry that was not read yet.
    data: u64,
    padding: u64,
    ended: bool,
}

type Block = [u8; BLOCK_LEN];

impl<R: BufRead> Archive<R> {
    pub fn new(source: R, limits: Limits) -> Self {
        Self { source, limits, entries: 0, offset: 0, data: 0, padding: 0, ended: false }
    }

    /// The next entry; what was not read of the current one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        for _ in 0..=MAX_EXTENSIONS {
            let Some(block) = self.header()? else {
                if extensions.is_empty() {
                    return Ok(None);
                }
                return Err(self.malformed("extension header without an entry"));
            };
            match block[156] {
                kind @ (b'x' | b'g' | b'L' | b'K') => {
                    let data = self.extension(&block)?;
                    extensions.add(kind, &data).map_err(|reason| self.malformed(reason))?;
                }
                _ => return self.entry(&block, extensions).map(Some),
            }
        }
        Err(self.malformed("too many extension headers"))
    }

    /// Some of the data of the current entry; empty at its end.
    pub fn fill(&mut self) -> Result<&[u8], Error> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let buffer = fill(&mut self.source)?;
        if buffer.is_empty() {
            return Err(truncated(offset));
        }
        let len = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        Ok(&buffer[..len])
    }

    /// Marks bytes that [`Archive::fill`] gave as read.
    pub fn consume(&mut self, len: usize) {
        self.source.consume(len);
        self.data -= len as u64;
        self.offset += len as u64;
    }

    /// Bytes of the current entry that were not read yet.
    pub fn remaining(&self) -> u64 {
        self.data
    }

    /// Reads the rest of the current entry, at most `limit` bytes.
    pub fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        if self.data > limit {
            return Err(Error::Limit { what: "bytes in one member", limit });
        }
        let mut all = Vec::new();
        loop {
            let bytes = self.fill()?;
            let len = bytes.len();
            if len == 0 {
                return Ok(all);
            }
            all.extend_from_slice(bytes);
            self.consume(len);
        }
    }

    /// The current entry's file as it is in the end: where a sparse one has holes, zeros are read.
    pub fn file<'a>(&'a mut self, entry: &'a Entry) -> FileData<'a, R> {
        FileData { archive: self, size: entry.size, pieces: entry.sparse.as_deref(), at: 0 }
    }

    /// Writes the current entry's file into an empty one. Holes stay holes.
    pub fn write_file(&mut self, entry: &Entry, file: &mut (impl Write + Seek)) -> Result<(), Error> {
        match &entry.sparse {
            None => self.write_piece(u64::MAX, file),
            Some(map) => {
                for (offset, len) in map {
                    file.seek(SeekFrom::Start(*offset)).map_err(Error::Sink)?;
                    self.write_piece(*len, file)?;
                }
                Ok(())
            }
        }
    }

    fn write_piece(&mut self, mut len: u64, file: &mut impl Write) -> Result<(), Error> {
        while len > 0 {
            let bytes = self.fill()?;
            let part = bytes.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            if part == 0 {
                break;
            }
            file.write_all(&bytes[..part]).map_err(Error::Sink)?;
            self.consume(part);
            len -= part as u64;
        }
        Ok(())
    }

    /// Reads to the end of the stream, past the end of the archive, so that a hash covers all of it.
    pub fn drain(&mut self) -> Result<(), Error> {
        loop {
            let len = fill(&mut self.source)?.len();
            if len == 0 {
                return Ok(());
            }
            self.source.consume(len);
            self.advance(len as u64)?;
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn advance(&mut self, len: u64) -> Result<(), Error> {
        self.offset = self.offset.saturating_add(len);
        if self.offset > self.limits.bytes {
            return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
        }
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> Error {
        Error::Header { offset: self.offset.saturating_sub(BLOCK_LEN as u64), reason }
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        let mut left = self.data + self.padding;
        (self.data, self.padding) = (0, 0);
        while left > 0 {
            let len = fill(&mut self.source)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if len == 0 {
                return Err(truncated(self.offset));
            }
            self.source.consume(len);
            self.advance(len as u64)?;
            left -= len as u64;
        }
        Ok(())
    }

    /// Reads one block; none at a clean end of the stream.
    pub(crate) fn block(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0; BLOCK_LEN];
        let mut filled = 0;
        while filled < BLOCK_LEN {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated(self.offset)),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Source(e)),
            }
        }
        self.advance(BLOCK_LEN as u64)?;
        Ok(Some(block))
    }

    /// The next header block; none at the end of the archive: two zero blocks, or the end of the stream.
    fn header(&mut self) -> Result<Option<Block>, Error> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block.iter().all(|b| *b == 0) {
            self.ended = true;
            return match self.block()? {
                Some(second) if second.iter().any(|b| *b != 0) => {
                    Err(self.malformed("header after an end-of-archive block"))
                }
                _ => Ok(None),
            };
        }
        if !checksum_matches(&block) {
            return Err(self.malformed("checksum mismatch"));
        }
        Ok(Some(block))
    }

    fn extension(&mut self, block: &Block) -> Result<Vec<u8>, Error> {
        let size = self.size_field(block)?;
        if size > MAX_EXTENSION_LEN {
            return Err(Error::Limit { what: "bytes in one extension header", limit: MAX_EXTENSION_LEN });
        }
        self.set_data(size)?;
        let data = self.read_all(MAX_EXTENSION_LEN)?;
        self.skip_data()?;
        Ok(data)
    }

    fn size_field(&self, block: &Block) -> Result<u64, Error> {
        let size = number::parse(&block[124..136]).and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| self.malformed("size is not a number"))
    }

    fn set_data(&mut self, size: u64) -> Result<(), Error> {
        if size > self.limits.bytes.saturating_sub(self.offset) {
            return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
        }
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK_LEN as u64) - size;
        Ok(())
    }

    fn entry(&mut self, block: &Block, extensions: Extensions) -> Result<Entry, Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.entries });
        }
        let mut entry = Entry::from_header(block, &extensions).map_err(|reason| self.malformed(reason))?;
        // The header's has to be a number even if another one counts: GNU tar and libarchive read it in any case.
        let in_header = self.size_field(block)?;
        let stored = extensions.size.unwrap_or(in_header);
        let has_data = matches!(entry.kind, EntryKind::File);
        // Of a hard link every reader knows that no data follow. Of the others GNU tar skips data and others do not, so that
        // one takes for an entry what is data for the other.
        if !has_data && stored != 0 && entry.kind != EntryKind::HardLink {
            return Err(self.malformed("size of something that has no data"));
        }
        let stored = if has_data { stored } else { 0 };
        entry.size = stored;
        let in_header = if block[156] == b'S' { Some(self.gnu_sparse_map(block)?) } else { None };
        self.set_data(stored)?;
        if has_data {
            self.sparse_map(&mut entry, &extensions, in_header)?;
        }
        Ok(entry)
    }

    /// Finds the map of a sparse file and sets the entry's size to what the file is in the end.
    fn sparse_map(
        &mut self,
        entry: &mut Entry,
        extensions: &Extensions,
        in_header: Option<(sparse::Map, u64)>,
    ) -> Result<(), Error> {
        let (map, size) = if let Some(found) = in_header {
            found
        } else if extensions.sparse_version == Some((1, 0)) {
            let size =
                extensions.sparse_size.ok_or_else(|| self.malformed("sparse file without its size"))?;
            (self.leading_sparse_map()?, size)
        } else if let Some(map) = &extensions.sparse_map {
            let size =
                extensions.sparse_size.ok_or_else(|| self.malformed("sparse file without its size"))?;
            (map.clone(), size)
        } else {
            return Ok(());
        };
        if size > self.limits.bytes {
            return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
        }
        sparse::check(&map, size, self.data).map_err(|reason| self.malformed(reason))?;
        entry.size = size;
        entry.sparse = Some(map);
        Ok(())
    }

    /// Old GNU format: four pieces in the header, 21 in each block that follows.
    fn gnu_sparse_map(&mut self, block: &Block) -> Result<(sparse::Map, u64), Error> {
        let bad = "malformed sparse map";
        let size = number::parse(&block[483..495]).and_then(|n| u64::try_from(n).ok());
        let size = size.ok_or_else(|| self.malformed(bad))?;
        let mut map = sparse::Map::new();
        let mut more = block[482] != 0;
        let mut full =
            sparse::add_pairs(&mut map, &block[386..482]).map_err(|reason| self.malformed(reason))?;
        while more {
            // After a list that has ended GNU tar reads no more blocks of it, others do.
            if !full {
                return Err(self.malformed("sparse map goes on after its end"));
            }
            let block = self.block()?.ok_or_else(|| truncated(self.offset))?;
            full = sparse::add_pairs(&mut map, &block[..504]).map_err(|reason| self.malformed(reason))?;
            more = block[504] != 0;
        }
        Ok((map, size))
    }

    /// PAX format 1.0: decimal lines at the start of the data, padded to a block.
    fn leading_sparse_map(&mut self) -> Result<sparse::Map, Error> {
        let mut read = 0u64;
        let mut numbers = sparse::Numbers::default();
        while !numbers.is_complete() || !read.is_multiple_of(BLOCK_LEN as u64) {
            let (len, outcome) = {
                let bytes = self.fill()?;
                let Some(byte) = bytes.first() else { return Err(self.malformed("sparse map ends early")) };
                (1usize, if numbers.is_complete() { Ok(()) } else { numbers.push(*byte) })
            };
            outcome.map_err(|reason| self.malformed(reason))?;
            self.consume(len);
            read += len as u64;
        }
        numbers.into_map().map_err(|reason| self.malformed(reason))
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8], Error> {
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::Source(e)),
        }
    }
    source.fill_buf().map_err(Error::Source)
}

fn truncated(offset: u64) -> Error {
    Error::Source(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("unexpected end of archive after {offset} bytes"),
    ))
}

fn checksum_matches(block: &Block) -> bool {
    let Some(expected) = number::parse(&block[148..156]) else { return false };
    let others = block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = others.clone().map(|b| i64::from(*b)).sum::<i64>() + 8 * 32;
    let signed: i64 = others.map(|b| i64::from(b.cast_signed())).sum::<i64>() + 8 * 32;
    expected == unsigned || expected == signed
}

/// The file of an entry, holes included.
pub struct FileData<'a, R> {
    archive: &'a mut Archive<R>,
    size: u64,
    /// What is left of the map of a sparse file; the archive holds nothing else of it.
    pieces: Option<&'a [(u64, u64)]>,
    at: u64,
}

impl<R: BufRead> FileData<'_, R> {
    /// How many bytes come next, and whether the archive holds them.
    fn run(&mut self) -> (u64, bool) {
        let Some(pieces) = &mut self.pieces else { return (self.size - self.at, true) };
        while let Some((offset, len)) = pieces.first() {
            if self.at < *offset {
                return (offset - self.at, false);
            }
            if self.at < offset + len {
                return (offset + len - self.at, true);
            }
            *pieces = &pieces[1..];
        }
        (self.size - self.at, false)
    }
}

impl<R: BufRead> Read for FileData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (run, stored) = self.run();
        let mut len = buffer.len().min(usize::try_from(run).unwrap_or(usize::MAX));
        if stored && len > 0 {
            let bytes = self.archive.fill().map_err(|e| match e {
                Error::Source(e) => e,
                other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
            })?;
            len = len.min(bytes.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            self.archive.consume(len);
        } else {
            buffer[..len].fill(0);
        }
        self.at += len as u64;
        Ok(len)
    }
}
