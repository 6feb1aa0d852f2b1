//! An image whose layers do all that layers can do, and a container that does all that containers can do.
use knarr_linux::path::Dir;
use knarr_oci::digest::Digest;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use rustix::fs::{FileType, Timespec, Timestamps};
use std::fs;
use std::path::Path;

pub const TIME: i64 = 1_700_000_000;

/// Archives of layers.
pub struct Layer(TarWriter<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(TarWriter::new(Vec::new()))
    }
    pub fn put(&mut self, entry: Entry, data: &[u8]) {
        self.0.entry(&entry, &mut &data[..]).unwrap();
    }
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.put(entry(EntryKind::Directory, path, mode, 0), b"");
    }
    pub fn file(&mut self, path: &str, text: &str) {
        self.put(entry(EntryKind::File, path, 0o644, text.len()), text.as_bytes());
    }
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

fn entry(kind: EntryKind, path: &str, mode: u32, len: usize) -> Entry {
    let time = TIME + i64::try_from(path.len()).unwrap();
    Entry::new(kind, path.as_bytes().to_vec(), mode, len as u64, time)
}

fn link(kind: EntryKind, path: &str, target: &str) -> Entry {
    let mut link = entry(kind, path, 0o777, 0);
    link.link = target.as_bytes().to_vec();
    link
}

/// Bottom first.
pub fn layers() -> Vec<Vec<u8>> {
    let mut low = Layer::new();
    for (dir, mode) in
        [("bin", 0o755), ("tmp", 0o1777), ("var", 0o755), ("opaque", 0o750), ("was dir", 0o755)]
    {
        low.dir(dir, mode);
    }
    low.dir("var/deep", 0o700);
    low.put(entry(EntryKind::File, "bin/su", 0o4755, 4), b"suid");
    let capability = vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut ping = entry(EntryKind::File, "bin/ping", 0o755, 4);
    ping.xattrs = vec![(b"security.capability".to_vec(), capability)];
    low.put(ping, b"ping");
    let mut owned = entry(EntryKind::File, "var/owned", 0o640, 1);
    (owned.uid, owned.gid) = (1000, 100_000);
    low.put(owned, b"o");
    low.file("var/linked", "linked");
    low.put(link(EntryKind::HardLink, "var/deep/same", "var/linked"), b"");
    low.put(link(EntryKind::HardLink, "var/third", "var/linked"), b"");
    low.put(link(EntryKind::Symlink, "var/absolute", "/etc/passwd"), b"");
    low.put(link(EntryKind::Symlink, "var/nowhere", "nowhere"), b"");
    let devices =
        [(EntryKind::CharDevice, "var/null", (1, 3)), (EntryKind::BlockDevice, "var/block", (7, 9))];
    for (kind, path, numbers) in devices {
        let mut device = entry(kind, path, 0o660, 0);
        device.device = numbers;
        low.put(device, b"");
    }
    low.put(entry(EntryKind::Fifo, "var/fifo", 0o622, 0), b"");
    for (path, text) in [
        ("var/gone", "gone"),
        ("var/again", "first"),
        ("var/changed", "first"),
        ("var/same size", "first"),
        ("opaque/hidden", "hidden"),
        ("was dir/hidden", "hidden"),
        ("was file", "file"),
        ("var/empty", ""),
        ("var/name with \n newline", "n"),
    ] {
        low.file(path, text);
    }
    let large = vec![b'l'; 3 << 20];
    low.put(entry(EntryKind::File, "var/large", 0o644, large.len()), &large);

    let mut middle = Layer::new();
    middle.file("var/.wh.gone", "");
    middle.file("var/.wh.again", "");
    middle.dir("opaque", 0o711);
    middle.file("opaque/.wh..wh..opq", "");
    middle.file("opaque/seen", "seen");
    middle.file("was dir", "now a file");
    middle.dir("was file", 0o755);
    middle.file("was file/inner", "inner");
    middle.file("var/changed", "second");
    middle.file("new/without/parents", "x");

    let mut top = Layer::new();
    top.file("var/again", "back");
    let mut deep = entry(EntryKind::Directory, "var/deep", 0o2755, 0);
    deep.uid = 5;
    top.put(deep, b"");
    top.file("var/deep/own", "own");
    top.file("opaque/top", "top");
    [low, middle, top].map(Layer::finish).into()
}

/// An archive of `docker save` with these layers.
pub fn archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", Digest::sha256(layer))).collect();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["/x"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        knarr_oci::platform::Platform::host().architecture,
        ids.join(",")
    );
    let paths: Vec<String> = (0..layers.len()).map(|n| format!("\"{n}/layer.tar\"")).collect();
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":[{}]}}]"#, paths.join(","));
    let mut tar = Layer::new();
    for (number, layer) in layers.iter().enumerate() {
        let path = format!("{number}/layer.tar");
        tar.put(entry(EntryKind::File, &path, 0o644, layer.len()), layer);
    }
    tar.file("config.json", &config);
    tar.file("manifest.json", &manifest);
    tar.finish()
}

/// What a container does, in a directory that it is seen at.
pub fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::write(at("var/changed"), "third, and longer").unwrap();
    fs::remove_file(at("var/empty")).unwrap();
    fs::remove_dir_all(at("was file")).unwrap();
    fs::create_dir_all(at("added/inner")).unwrap();
    fs::write(at("added/inner/file"), "added").unwrap();
    fs::hard_link(at("added/inner/file"), at("added/link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", at("added/symlink")).unwrap();
    fs::remove_file(at("var/nowhere")).unwrap();
    std::os::unix::fs::symlink("somewhere", at("var/nowhere")).unwrap();
    rustix::fs::chown(at("var/owned"), Some(rustix::fs::Uid::from_raw(7)), None).unwrap();
    rustix::fs::chmod(at("tmp"), 0o1770.into()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("added/device"),
        FileType::CharacterDevice,
        0o600.into(),
        rustix::fs::makedev(1, 5),
    )
    .unwrap();
    rustix::fs::setxattr(at("bin/su"), "user.note", b"changed", rustix::fs::XattrFlags::empty()).unwrap();
    // Nothing but its content and its change time tells.
    let before = rustix::fs::stat(at("var/same size")).unwrap();
    fs::write(at("var/same size"), "FIRST").unwrap();
    let spec = Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ };
    let times = Timestamps { last_access: spec, last_modification: spec };
    rustix::fs::utimensat(rustix::fs::CWD, at("var/same size"), &times, rustix::fs::AtFlags::empty())
        .unwrap();
    settle_times(root);
}

/// Times of what was changed now become those of everywhere.
fn settle_times(root: &Path) {
    let top = knarr_linux::path::Root::open(root).unwrap().open_dir(".").unwrap();
    settle(&top);
}

fn settle(dir: &Dir) {
    for (name, kind) in dir.entries().unwrap() {
        if kind == FileType::Directory {
            settle(&dir.open_dir(&name).unwrap());
        }
        if dir.metadata(&name).unwrap().st_mtime > TIME + 100_000 {
            let spec = Timespec { tv_sec: TIME + 99, tv_nsec: 0 };
            dir.set_times(&name, &Timestamps { last_access: spec, last_modification: spec }).unwrap();
        }
    }
}
