//! Decompression, recognised by the first bytes and done in-process: gzip (all members), zstd (all frames), or none.
//! Standards: RFC 1952, RFC 8878.
use crate::error::Error;
use std::io::{self, BufRead, BufReader, Read};

const INPUT_BUFFER_LEN: usize = 128 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Recognises compression by magic numbers; those that are not supported are an error by name.
    pub fn detect(start: &[u8]) -> Result<Self, Error> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Compression("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Error::Compression("bzip2")),
            _ => Ok(Self::None),
        }
    }
}

/// A reader of the uncompressed stream.
pub struct Decompressor<R: Read>(Inner<R>);

enum Inner<R: Read> {
    Plain(Start<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Start<R>>>),
    Zstd(Box<zstd::Decoder<'static, Start<R>>>),
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
        Ok(Self(match Compression::detect(&source.start[..source.len])? {
            Compression::None => Inner::Plain(source),
            Compression::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Compression::Zstd => {
                Inner::Zstd(Box::new(zstd::Decoder::with_buffer(source).map_err(Error::Source)?))
            }
        }))
    }

    pub fn compression(&self) -> Compression {
        match &self.0 {
            Inner::Plain(_) => Compression::None,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(r) => r.read(buffer),
            Inner::Gzip(r) => r.read(buffer),
            Inner::Zstd(r) => r.read(buffer),
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
