//! Writing tar streams: ustar headers, PAX records for what does not fit into them.
//! Standard: pax(1) of POSIX.1-2017; extended attributes as `SCHILY.xattr.` records. Times are cut to seconds, as Docker does.
use crate::archive::BLOCK_LEN;
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
use std::io::{Read, Write};

const COPY_BUFFER_LEN: usize = 256 << 10;
const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

/// A tar stream being written.
pub struct TarWriter<W> {
    sink: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub fn new(sink: W) -> Self {
        Self { sink, buffer: Vec::new() }
    }

    /// Writes an entry; a file's data follow from `data`, exactly `entry.size` bytes. A source that ends early, as a file
    /// does that is truncated meanwhile, is filled up with zeros.
    pub fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        let records = records(entry);
        if !records.is_empty() {
            let mut header = block();
            name(&mut header, b"././@PaxHeader");
            octal(&mut header[100..108], 0o644);
            finish(&mut header, b'x', records.len() as u64, 0);
            self.write(&header)?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.write(&header(entry))?;
        if entry.kind == EntryKind::File {
            self.copy(entry.size, data)?;
        }
        Ok(())
    }

    fn copy(&mut self, size: u64, data: &mut dyn Read) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(COPY_BUFFER_LEN, 0);
        let mut left = size;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let len = match data.read(&mut buffer[..want]) {
                Ok(0) => {
                    buffer[..want].fill(0);
                    want
                }
                Ok(len) => len,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Source(e)),
            };
            self.write(&buffer[..len])?;
            left -= len as u64;
        }
        self.buffer = buffer;
        self.pad(size)
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> Result<W, Error> {
        self.write(&[0; 2 * BLOCK_LEN])?;
        self.sink.flush().map_err(Error::Sink)?;
        Ok(self.sink)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(Error::Sink)
    }

    fn pad(&mut self, len: u64) -> Result<(), Error> {
        let over = usize::try_from(len % BLOCK_LEN as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.write(&[0; BLOCK_LEN][over..]) }
    }
}

fn block() -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

fn name(header: &mut [u8; BLOCK_LEN], name: &[u8]) {
    let len = name.len().min(100);
    header[..len].copy_from_slice(&name[..len]);
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() == digits {
        field[..digits].copy_from_slice(text.as_bytes());
    }
}

fn finish(header: &mut [u8; BLOCK_LEN], kind: u8, size: u64, mtime: i64) {
    octal(&mut header[124..136], if size <= MAX_OCTAL_11 { size } else { 0 });
    let seconds = u64::try_from(mtime).ok().filter(|t| *t <= MAX_OCTAL_11).unwrap_or(0);
    octal(&mut header[136..148], seconds);
    if kind == b'x' {
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
    }
    octal(&mut header[329..337], 0);
    octal(&mut header[337..345], 0);
    seal(header, kind);
}

fn seal(header: &mut [u8; BLOCK_LEN], kind: u8) {
    header[156] = kind;
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Name in the archive: a directory's ends in a slash.
fn shown_path(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

fn header(entry: &Entry) -> [u8; BLOCK_LEN] {
    let mut header = block();
    let path = shown_path(entry);
    match split(&path) {
        Some((prefix, rest)) => {
            header[345..345 + prefix.len()].copy_from_slice(prefix);
            name(&mut header, rest);
        }
        None => name(&mut header, &path),
    }
    octal(&mut header[100..108], u64::from(entry.mode));
    octal(&mut header[108..116], u64::from(entry.uid).min(MAX_OCTAL_7));
    octal(&mut header[116..124], u64::from(entry.gid).min(MAX_OCTAL_7));
    let link = entry.link.len().min(100);
    header[157..157 + link].copy_from_slice(&entry.link[..link]);
    let kind = match entry.kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
    finish(&mut header, kind, size, entry.mtime.0);
    octal(&mut header[329..337], u64::from(entry.device.0));
    octal(&mut header[337..345], u64::from(entry.device.1));
    seal(&mut header, kind);
    header
}

/// Prefix and name of a path that is too long for the name alone but fits into both; none otherwise.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 || path.len() > 256 {
        return None;
    }
    // A slash at the very end belongs to the name.
    let slash = (1..path.len() - 1).rev().find(|i| path[*i] == b'/' && *i <= 155)?;
    let (prefix, rest) = (&path[..slash], &path[slash + 1..]);
    (!rest.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

fn records(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    let path = shown_path(entry);
    if path.len() > 100 && split(&path).is_none() {
        record(&mut out, b"path", &path);
    }
    if entry.link.len() > 100 {
        record(&mut out, b"linkpath", &entry.link);
    }
    if entry.kind == EntryKind::File && entry.size > MAX_OCTAL_11 {
        record(&mut out, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if u64::from(id) > MAX_OCTAL_7 {
            record(&mut out, key, id.to_string().as_bytes());
        }
    }
    if u64::try_from(entry.mtime.0).is_ok_and(|t| t > MAX_OCTAL_11) || entry.mtime.0 < 0 {
        record(&mut out, b"mtime", entry.mtime.0.to_string().as_bytes());
    }
    for (attribute, value) in &entry.xattrs {
        record(&mut out, &[b"SCHILY.xattr.", attribute.as_slice()].concat(), value);
    }
    out
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, Limits};
    use proptest::prelude::*;

    fn entry(kind: EntryKind, path: &[u8]) -> Entry {
        Entry {
            kind,
            path: path.to_vec(),
            link: Vec::new(),
            mode: 0o4755,
            uid: 3_000_000,
            gid: 7,
            mtime: (-5, 0),
            atime: None,
            size: 0,
            device: (0, 0),
            xattrs: vec![(b"security.capability".to_vec(), b"\x01\n=\0".to_vec())],
            sparse: None,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            names in proptest::collection::vec("[a-zé/]{1,300}", 1..5),
            link in "[a-z/.]{1,200}", uid in 0u32..u32::MAX, mtime in -10_000_000_000i64..100_000_000_000,
            data in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut entries = Vec::new();
            for (n, name) in names.iter().enumerate() {
                let kinds = [EntryKind::File, EntryKind::Symlink, EntryKind::Directory, EntryKind::HardLink];
                let mut e = entry(kinds[n % 4], name.as_bytes());
                (e.uid, e.mtime.0) = (uid, mtime);
                match e.kind {
                    // A file with the name of a directory is one that readers do not agree on.
                    EntryKind::File => (e.size, e.path) = (data.len() as u64, [name.as_bytes(), b"f"].concat()),
                    EntryKind::Directory if !e.path.ends_with(b"/") => e.path.push(b'/'),
                    EntryKind::Symlink | EntryKind::HardLink => e.link = link.as_bytes().to_vec(),
                    _ => {}
                }
                entries.push(e);
            }
            let mut writer = TarWriter::new(Vec::new());
            for e in &entries {
                writer.entry(e, &mut data.as_slice()).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let mut archive = Archive::new(bytes.as_slice(), Limits::default());
            for e in &entries {
                prop_assert_eq!(&archive.next_entry().unwrap().unwrap(), e);
                let read = archive.read_all(1 << 20).unwrap();
                prop_assert!(e.kind != EntryKind::File || read == data);
            }
            prop_assert!(archive.next_entry().unwrap().is_none());
        }

        #[test]
        fn the_reader_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..3000), at in 0usize..1024, byte: u8) {
            let mut writer = TarWriter::new(Vec::new());
            let mut e = entry(EntryKind::File, &b"x/".repeat(80));
            e.size = bytes.len() as u64;
            writer.entry(&e, &mut bytes.as_slice()).unwrap();
            let mut damaged = writer.finish().unwrap();
            damaged[at] = byte;
            for stream in [&damaged, &bytes] {
                let mut archive = Archive::new(stream.as_slice(), Limits::default());
                while let Ok(Some(_)) = archive.next_entry() {
                    let _ = archive.read_all(1 << 20);
                }
            }
        }
    }
}
