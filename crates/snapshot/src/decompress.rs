//! Decompression, recognised by the first bytes and done in-process: gzip (all members), zstd (all frames), bzip2 and xz
//! (all streams), or none: what Docker reads.
//!
//! Standards: RFC 1952, RFC 8878, <https://tukaani.org/xz/xz-file-format.txt>. Invariants: no program is ever executed for it
//! (CVE-2026-41567); memory is bounded whatever the stream claims to need.
use crate::error::Error;
use std::io::{self, BufRead, BufReader, Read};

const INPUT_BUFFER_LEN: usize = 128 << 10;
/// Longest distance that a zstd stream may look back: 128 MiB, which is also the format's own advice to decoders.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Memory for one xz stream: a dictionary of 128 MiB (`xz -9` wants 64) and what belongs to it.
const MAX_XZ_KIB: u32 = (128 << 10) + 1024;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Recognises compression by magic numbers.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// A reader of the uncompressed stream.
pub struct Decompressor<R: Read>(Inner<R>);

enum Inner<R: Read> {
    Plain(Start<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Start<R>>>),
    Zstd(Box<zstd::Decoder<'static, Start<R>>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Start<R>>>),
    Xz(Box<lzma_rust2::XzReader<Start<R>>>),
}

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes.
    pub fn new(source: R) -> Result<Self, Error> {
        let mut source =
            Start { start: [0; 6], len: 0, at: 0, rest: BufReader::with_capacity(INPUT_BUFFER_LEN, source) };
        while source.len < source.start.len() {
            match source.rest.read(&mut source.start[source.len..]) {
                Ok(0) => break,
                Ok(n) => source.len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Source(e)),
            }
        }
        Ok(Self(match Compression::detect(&source.start[..source.len]) {
            Compression::None => Inner::Plain(source),
            Compression::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source).map_err(Error::Source)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(Error::Source)?;
                Inner::Zstd(Box::new(decoder))
            }
            Compression::Bzip2 => Inner::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(source))),
            Compression::Xz => {
                Inner::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, MAX_XZ_KIB)))
            }
        }))
    }

    pub fn compression(&self) -> Compression {
        match &self.0 {
            Inner::Plain(_) => Compression::None,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
            Inner::Bzip2(_) => Compression::Bzip2,
            Inner::Xz(_) => Compression::Xz,
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(r) => r.read(buffer),
            Inner::Gzip(r) => r.read(buffer),
            Inner::Zstd(r) => r.read(buffer),
            Inner::Bzip2(r) => r.read(buffer),
            Inner::Xz(r) => r.read(buffer),
        }
    }
}

/// The bytes that were looked at, then the rest.
struct Start<R> {
    start: [u8; 6],
    len: usize,
    at: usize,
    rest: BufReader<R>,
}

impl<R: Read> Read for Start<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.len {
            return self.rest.read(buffer);
        }
        let len = buffer.len().min(self.len - self.at);
        buffer[..len].copy_from_slice(&self.start[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

impl<R: Read> BufRead for Start<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.len { Ok(&self.start[self.at..self.len]) } else { self.rest.fill_buf() }
    }
    fn consume(&mut self, len: usize) {
        if self.at < self.len { self.at += len } else { self.rest.consume(len) }
    }
}
