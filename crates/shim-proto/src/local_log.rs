//! Knarr's own log format, `local`: blocks of messages, which are found from anywhere in a file.
//!
//! ```text
//! file    = "KNLOCAL1" mark block*
//! block   = mark time before attrs-at length messages flags check payload     (little-endian; 48 bytes before the payload)
//! payload = messages of one stream and one time, each with its newline; or the attributes as a JSON object
//! ```
//! `before` counts the messages of the file before the block: the last 1,000 are found by bisection, and so is a time. The
//! mark is a random number of the file's own, so what a container prints is never taken for the beginning of a block.
//! `attrs-at` is the offset of the attributes that the block's messages have, 0 for none. Bytes are kept as they are.
use crate::stdcopy::Stream;
use jiff::Timestamp;

pub const MAGIC: [u8; 8] = *b"KNLOCAL1";
/// Bytes before the first block.
pub const FILE_HEADER: usize = 16;
pub const BLOCK_HEADER: usize = 48;
/// Longest payload of messages.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Longest payload of attributes; more are left out.
pub const MAX_ATTRS: usize = 256 * 1024;

const STDERR: u32 = 1;
const OPEN_END: u32 = 2;
const ATTRS: u32 = 4;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Messages(Stream),
    Attributes,
}

/// The beginning of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Nanoseconds since the epoch.
    pub time: i64,
    pub before: u64,
    pub attrs_at: u64,
    pub length: u32,
    pub messages: u32,
    pub kind: Kind,
    /// The last message has no newline: it is a piece of a line.
    pub open_end: bool,
}

pub fn file_header(mark: u64) -> [u8; FILE_HEADER] {
    let mut out = [0; FILE_HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..].copy_from_slice(&mark.to_le_bytes());
    out
}

/// The file's mark; `None`: it is no file of this format.
pub fn parse_file_header(bytes: &[u8]) -> Option<u64> {
    let (magic, mark) = bytes.get(..FILE_HEADER)?.split_at(8);
    (magic == MAGIC).then(|| u64_at(mark, 0))
}

impl Header {
    pub fn encode(&self, mark: u64) -> [u8; BLOCK_HEADER] {
        let mut flags = match self.kind {
            Kind::Messages(Stream::Stdout) => 0,
            Kind::Messages(Stream::Stderr) => STDERR,
            Kind::Attributes => ATTRS,
        };
        if self.open_end {
            flags |= OPEN_END;
        }
        let mut out = [0; BLOCK_HEADER];
        out[..8].copy_from_slice(&mark.to_le_bytes());
        out[8..16].copy_from_slice(&self.time.to_le_bytes());
        out[16..24].copy_from_slice(&self.before.to_le_bytes());
        out[24..32].copy_from_slice(&self.attrs_at.to_le_bytes());
        out[32..36].copy_from_slice(&self.length.to_le_bytes());
        out[36..40].copy_from_slice(&self.messages.to_le_bytes());
        out[40..44].copy_from_slice(&flags.to_le_bytes());
        let check = check(&out[..44]);
        out[44..].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// `None`: no block of this file begins here, or what is there is damaged.
    pub fn parse(bytes: &[u8], mark: u64) -> Option<Self> {
        let bytes = bytes.get(..BLOCK_HEADER)?;
        if u64_at(bytes, 0) != mark || u32_at(bytes, 44) != check(&bytes[..44]) {
            return None;
        }
        let flags = u32_at(bytes, 40);
        let (kind, most) = match flags & (STDERR | ATTRS) {
            0 => (Kind::Messages(Stream::Stdout), MAX_PAYLOAD),
            STDERR => (Kind::Messages(Stream::Stderr), MAX_PAYLOAD),
            ATTRS => (Kind::Attributes, MAX_ATTRS),
            _ => return None,
        };
        let header = Self {
            time: u64_at(bytes, 8).cast_signed(),
            before: u64_at(bytes, 16),
            attrs_at: u64_at(bytes, 24),
            length: u32_at(bytes, 32),
            messages: u32_at(bytes, 36),
            kind,
            open_end: flags & OPEN_END != 0,
        };
        (header.length as usize <= most && header.messages as usize <= MAX_PAYLOAD).then_some(header)
    }

    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.time.into()).unwrap_or_default()
    }

    /// Bytes of the whole block.
    pub fn size(&self) -> usize {
        BLOCK_HEADER + self.length as usize
    }
}

/// A time as blocks have it; what does not fit is the nearest that does.
pub fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// FNV-1a.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let kind = Kind::Messages(Stream::Stderr);
        Header { time: -5, before: 7, attrs_at: 16, length: 9, messages: 2, kind, open_end: true }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header().encode(42);
        assert_eq!(Header::parse(&bytes, 42), Some(header()));
        assert_eq!(Header::parse(&bytes, 43), None);
        assert_eq!(Header::parse(&bytes[..47], 42), None);
        assert_eq!(parse_file_header(&file_header(42)), Some(42));
        assert_eq!(parse_file_header(b"{\"log\":\"not this format"), None);
    }

    #[test]
    fn a_damaged_header_is_none() {
        for at in 0..BLOCK_HEADER {
            let mut bytes = header().encode(42);
            bytes[at] ^= 0x10;
            assert_eq!(Header::parse(&bytes, 42), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), mark: u64) {
            let _ = Header::parse(&bytes, mark);
            let _ = parse_file_header(&bytes);
        }
    }
}
