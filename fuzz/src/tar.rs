//! Tar streams, as they come and with right checksums, which a fuzzer does not find by itself; and compressed streams.
use knarr_snapshot::decompress::Decompressor;
use knarr_snapshot::{Archive, Entry, EntryKind, Limits, TarWriter};
use std::io::Read;

const BLOCK_LEN: usize = 512;
/// As a layer's, but small enough for thousands of runs a second.
const LIMITS: Limits = Limits { entries: 1000, bytes: 8 << 20 };
/// Files of up to this size are read whole.
const MAX_READ: u64 = 1 << 20;

pub fn raw(data: &[u8]) {
    let mut archive = Archive::new(data, LIMITS);
    let mut offset = 0;
    let mut entries = 0;
    while let Ok(Some(entry)) = archive.next_entry() {
        entries += 1;
        assert!(entries <= LIMITS.entries && archive.offset() > offset);
        offset = archive.offset();
        assert!(entry.size <= LIMITS.bytes && entry.mode <= 0o7777);
        assert!(entry.kind == EntryKind::File || entry.size == 0 && archive.remaining() == 0);
        let mut content = Vec::new();
        if entry.size <= MAX_READ {
            let whole = archive.file(&entry).read_to_end(&mut content).is_ok();
            if whole {
                assert_eq!(content.len() as u64, entry.size, "{entry:?}");
            } else {
                break;
            }
        }
        if entry.size == content.len() as u64 {
            round_trip(&entry, &content);
        }
    }
    let _ = archive.drain();
}

/// What was accepted can be written, and is then read as the same.
fn round_trip(entry: &Entry, content: &[u8]) {
    // Times before the epoch and beyond what fits are written in whole seconds.
    let mut writer = TarWriter::new(Vec::new());
    let Ok(()) = writer.entry(entry, &mut &*content) else { return };
    let Ok(bytes) = writer.finish() else { return };
    let mut archive = Archive::new(bytes.as_slice(), Limits::default());
    let again = match archive.next_entry() {
        Ok(Some(again)) => again,
        other => panic!("{other:?} instead of {entry:?}"),
    };
    let facts = |e: &Entry| {
        let mut path = e.path.clone();
        if e.kind == EntryKind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let is_link = matches!(e.kind, EntryKind::Symlink | EntryKind::HardLink);
        let is_device = matches!(e.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let link = if is_link { e.link.clone() } else { Vec::new() };
        let device = if is_device { e.device } else { (0, 0) };
        (e.kind, path, link, e.mode, e.uid, e.gid, e.mtime.0, e.size, device, e.xattrs.clone())
    };
    assert_eq!(facts(&again), facts(entry));
    let mut read = Vec::new();
    assert!(archive.file(&again).read_to_end(&mut read).is_ok() && read == content);
    assert!(matches!(archive.next_entry(), Ok(None)));
}

/// The same with the checksum of every block that looks like a header.
pub fn sealed(data: &[u8]) {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(BLOCK_LEN) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    raw(&data);
}

pub fn compressed(data: &[u8]) {
    let Ok(stream) = Decompressor::new(data) else { return };
    let mut out = Vec::new();
    let _ = stream.take(MAX_READ).read_to_end(&mut out);
}
