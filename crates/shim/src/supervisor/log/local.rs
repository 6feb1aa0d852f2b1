//! Messages as blocks of the format [`local_log`].
//!
//! A block takes what came from one read of one stream, so a container that prints fast costs a copy of its bytes and a
//! header for each 64 KiB.
use jiff::Timestamp;
use knarr_shim_proto::json_log;
use knarr_shim_proto::line::Message;
use knarr_shim_proto::local_log::{
    BLOCK_HEADER, FILE_HEADER, Header, Kind, MAX_ATTRS, MAX_PAYLOAD, file_header, nanoseconds,
    parse_file_header,
};
use knarr_shim_proto::stdcopy::Stream;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// More than a whole block: in so many bytes at a file's end a block begins.
const WINDOW: usize = 2 * (BLOCK_HEADER + MAX_ATTRS);

#[derive(Debug)]
pub struct Local {
    attrs: Vec<u8>,
    mark: u64,
    /// Messages of the file: written, and with those in the buffer.
    durable: u64,
    count: u64,
    attrs_at: u64,
    /// The block that still grows.
    open: Option<Open>,
    /// The buffer holds what begins the file or this run, and that is not written yet.
    unwritten: bool,
}

#[derive(Debug)]
struct Open {
    /// Where it begins in the buffer.
    at: usize,
    stream: Stream,
    time: Timestamp,
    messages: u32,
}

impl Local {
    pub fn new(attrs: &BTreeMap<String, String>) -> Self {
        let mut attrs = json_log::encode_attrs(attrs);
        if attrs.len() > MAX_ATTRS {
            attrs.clear();
        }
        Self { attrs, mark: 0, durable: 0, count: 0, attrs_at: 0, open: None, unwritten: false }
    }

    /// Goes on with a file: a torn block at its end is cut off; what is no such file is begun anew.
    pub fn begin(&mut self, file: &File, size: u64, buffer: &mut Vec<u8>) -> io::Result<u64> {
        self.open = None;
        let mut start = [0; FILE_HEADER];
        let known = file.read_exact_at(&mut start, 0).ok().and_then(|()| parse_file_header(&start));
        let end = match known {
            Some(mark) => {
                self.mark = mark;
                let (end, count) = end_of(file, size, mark)?;
                self.durable = count;
                end
            }
            None => {
                self.mark = random()?;
                self.durable = 0;
                0
            }
        };
        if end < size {
            file.set_len(end)?;
        }
        self.again(end, buffer);
        Ok(end)
    }

    /// Puts what begins the file, or this run's part of it, into the buffer; also when that could not be written before.
    fn again(&mut self, size: u64, buffer: &mut Vec<u8>) {
        self.count = self.durable;
        self.attrs_at = 0;
        let before = buffer.len();
        if size == 0 {
            buffer.extend_from_slice(&file_header(self.mark));
        }
        if !self.attrs.is_empty() {
            self.attrs_at = size + (buffer.len() - before) as u64;
            let header = Header {
                time: nanoseconds(Timestamp::now()),
                before: self.count,
                attrs_at: self.attrs_at,
                length: self.attrs.len() as u32,
                messages: 0,
                kind: Kind::Attributes,
                open_end: false,
            };
            buffer.extend_from_slice(&header.encode(self.mark));
            buffer.extend_from_slice(&self.attrs);
        }
        self.unwritten = buffer.len() > before;
    }

    pub fn written(&mut self) {
        self.durable = self.count;
        self.unwritten = false;
    }

    /// What was in the buffer is lost, but for what begins the file.
    pub fn failed(&mut self, size: u64, buffer: &mut Vec<u8>) {
        self.count = self.durable;
        if self.unwritten {
            self.again(size, buffer);
        }
    }

    pub fn append(&mut self, out: &mut Vec<u8>, stream: Stream, message: Message<'_, Timestamp>) {
        let length = message.bytes.len() + usize::from(message.ends);
        let fits = self.open.as_ref().is_some_and(|open| {
            open.stream == stream
                && open.time == message.time
                && out.len() - open.at - BLOCK_HEADER + length <= MAX_PAYLOAD
        });
        if !fits {
            self.seal(out);
            self.open = Some(Open { at: out.len(), stream, time: message.time, messages: 0 });
            out.extend_from_slice(&[0; BLOCK_HEADER]);
        }
        out.extend_from_slice(message.bytes);
        if let Some(open) = &mut self.open {
            open.messages += 1;
        }
        if message.ends {
            out.push(b'\n');
        } else {
            self.close(out, true);
        }
    }

    /// Completes the block that still grows.
    pub fn seal(&mut self, out: &mut [u8]) {
        self.close(out, false);
    }

    fn close(&mut self, out: &mut [u8], open_end: bool) {
        let Some(Open { at, stream, time, messages }) = self.open.take() else { return };
        let header = Header {
            time: nanoseconds(time),
            before: self.count,
            attrs_at: self.attrs_at,
            length: (out.len() - at - BLOCK_HEADER) as u32,
            messages,
            kind: Kind::Messages(stream),
            open_end,
        };
        out[at..at + BLOCK_HEADER].copy_from_slice(&header.encode(self.mark));
        self.count += u64::from(messages);
    }
}

/// The end of the last whole block, and how many messages there are.
fn end_of(file: &File, size: u64, mark: u64) -> io::Result<(u64, u64)> {
    let mut start = size.saturating_sub(WINDOW as u64).max(FILE_HEADER as u64);
    loop {
        let mut bytes = vec![0; size.saturating_sub(start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        let first = if start == FILE_HEADER as u64 {
            Some(0)
        } else {
            (0..bytes.len()).find(|at| Header::parse(&bytes[*at..], mark).is_some())
        };
        if let Some(mut at) = first {
            let mut count = 0;
            while let Some(header) =
                Header::parse(&bytes[at..], mark).filter(|h| at + h.size() <= bytes.len())
            {
                at += header.size();
                count = header.before + u64::from(header.messages);
            }
            return Ok((start + at as u64, count));
        }
        // Damaged: nothing that is known begins there.
        start = start.saturating_sub(WINDOW as u64).max(FILE_HEADER as u64);
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
