//! Layers: whiteouts, links, and names that come again, unpacked for real.
//!
//! The input is a list of entries rather than a tar stream: two bytes choose a name, one a kind, one a link's target.
use knarr_linux::path::Root;
use knarr_snapshot::apply::apply;
use knarr_snapshot::{Entry, EntryKind, Limits, TarWriter, Whiteouts};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

const LIMITS: Limits = Limits { entries: 64, bytes: 1 << 20 };
/// Longest list.
const MAX_ENTRIES: usize = 24;
const COMPONENTS: [&str; 16] = [
    "a",
    "b",
    "c",
    "l",
    ".",
    "..",
    "",
    ".wh.a",
    ".wh.b",
    ".wh.l",
    ".wh..wh..opq",
    ".wh.",
    ".wh..",
    ".wh...",
    ".wh..wh.x",
    "outside",
];
const TARGETS: [&str; 8] = ["a", "l", "../outside", "/", "a/b", "../../outside/marker", ".wh.a", "b/l/a"];
const KINDS: [EntryKind; 8] = [
    EntryKind::File,
    EntryKind::Directory,
    EntryKind::Symlink,
    EntryKind::HardLink,
    EntryKind::CharDevice,
    EntryKind::Fifo,
    EntryKind::File,
    EntryKind::Directory,
];

/// Unpacked as a layer in both forms, and as a tree: nothing is outside, and what overlayfs reads is only what whiteouts say.
pub fn layer(data: &[u8]) {
    let tar = archive(data);
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Listed, Whiteouts::Literal] {
        let Ok(scratch) = tempfile::tempdir() else { return };
        let (root, outside) = (scratch.path().join("root"), scratch.path().join("outside"));
        for dir in [&root, &outside] {
            std::fs::create_dir(dir).unwrap_or_else(|e| panic!("{e}"));
        }
        std::fs::write(outside.join("marker"), "secret").unwrap_or_else(|e| panic!("{e}"));
        let before = facts(&outside.join("marker"));
        let Ok(dir) = Root::open(&root).and_then(|root| root.open_dir(".")) else { return };
        let _ = apply(tar.as_slice(), dir, whiteouts, LIMITS);
        assert_eq!(facts(&outside.join("marker")), before, "the file outside was touched");
        assert_eq!(names(&outside), ["marker"], "something came outside");
        assert_eq!(names(scratch.path()), ["outside", "root"], "something came outside");
        look(&root, whiteouts);
    }
}

fn archive(data: &[u8]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for item in data.chunks_exact(4).take(MAX_ENTRIES) {
        let pick = |byte: u8| COMPONENTS[usize::from(byte) % COMPONENTS.len()];
        let path = match item[0] >> 6 {
            0 => pick(item[0]).to_owned(),
            1 => format!("{}/{}", pick(item[0]), pick(item[1])),
            2 => format!("/{}", pick(item[1])),
            _ => format!("{}/{}/{}", pick(item[0]), pick(item[1]), pick(item[1] >> 4)),
        };
        let kind = KINDS[usize::from(item[2]) % KINDS.len()];
        let mut entry = Entry::new(kind, path.into_bytes(), u32::from(item[3]) << 4, 0, 1);
        entry.link = TARGETS[usize::from(item[3]) % TARGETS.len()].into();
        if item[2] & 0x80 != 0 {
            let name = [&b"trusted.overlay.opaque"[..], b"trusted.overlay.redirect", b"user.x"];
            entry.xattrs = vec![(name[usize::from(item[2] >> 4) % 3].to_vec(), b"x".to_vec())];
        }
        if kind == EntryKind::File {
            entry.size = u64::from(item[3] % 4);
        }
        let _ = writer.entry(&entry, &mut &b"data"[..]);
    }
    writer.finish().unwrap_or_default()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn facts(file: &Path) -> (String, u32, u64, i64, i64) {
    let m = file.symlink_metadata().unwrap_or_else(|e| panic!("the file outside is gone: {e}"));
    (std::fs::read_to_string(file).unwrap_or_default(), m.mode(), m.nlink(), m.ctime(), m.ctime_nsec())
}

fn look(dir: &Path, whiteouts: Whiteouts) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        assert!(whiteouts == Whiteouts::Literal || !name.starts_with(".wh."), "{name}");
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.file_type().is_char_device() && whiteouts == Whiteouts::Listed {
            // Only what the archive holds as a device.
            assert_eq!(meta.rdev(), 0);
        }
        if meta.is_dir() {
            look(&path, whiteouts);
        }
    }
}
